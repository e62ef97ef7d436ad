"""New multiple sclerosis lesions in a follow-up: the z map of `crow score` and the difference of the scans.

    python benchmarks/lesion_change.py [--data ../shared/data/open_ms] [--resolution 2] [--subjects 10] [--work DIR]

Patient 01 of the longitudinal MS database of Lesjak et al. (Neuroinformatics, 2016): T1w and FLAIR of two visits 203
days apart, with a mask of the lesions that changed. Its space is half-way between both visits; the rigid map between
them is that of crow, which does not see the mask. A voxel is a lesion if at least half of it lies in the mask.

One patient cannot train a model. The run is trained on simulated subjects without lesions, 2 visits each: T1w scans,
and for FLAIR the same with the contrast of FLAIR (`FLAIR`). Their change, noise and errors of registration are those of
the simulation, so that only the order of |z| within the scan has a meaning here, not its size.

AUC of |z|, and of |follow-up - baseline|, both aligned and normalised by `crow prepare`, on its grid, over the voxels
of the brain mask of the database that both scans show. Intervals: 95 %, bootstrap over lesions (connected components)
and over blocks of 20 mm of the other voxels.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from scipy.linalg import sqrtm
from timing import write

from crow import ScanModel
from crow.pipelines.prepare import prepare
from crow.pipelines.train import train
from crow.scans.store import ScanStore
from crow.simulate import ScanSimulation, simulate_scans

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

VISITS, DAYS = 2, 203
WHITE = 800.0  # intensity of white matter in the simulated T1w scans
FLAIR = ([0.0, 0.2, 0.43, 0.6, 0.75, 0.85, 1.0, 1.3], [0.0, 0.2, 0.4, 0.9, 1.1, 1.05, 1.0, 1.0])  # of T1w
FILES = {"FLAIR": "FLAIR", "T1w": "T1W"}
BLOCK_MM, DRAWS = 20.0, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/open_ms"))
    parser.add_argument("--resolution", type=float, default=2.0)
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keeps stores and runs, and uses those that exist")
    arguments = parser.parse_args()
    rows: list[dict[str, str | int | float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for modality in FILES:
            work = (arguments.work or Path(temporary)) / modality
            run = trained(work, modality, arguments.subjects, arguments.resolution, arguments.seed)
            store, z = scored(work, run, arguments.data, modality, arguments.resolution)
            rows += evaluated(store, z, arguments.data, modality)
    title = f"New lesions of one MS patient at {arguments.resolution:g} mm: AUC of the sizes of z and of the difference"
    write("lesion_change", title, rows)


def trained(work: Path, modality: str, subjects: int, resolution: float, seed: int) -> Path:
    """The run of a simulated cohort, with the defaults but one member: z maps need the representation, not the flow."""
    run, table = work / "run", work / "cohort" / "cohort.csv"
    if not table.exists():
        write_cohort(table, simulate_scans(subjects, VISITS, resolution, "T1w", seed), modality)
    if not (work / "store" / "template.nii.gz").exists():
        prepare(table, work / "store", resolution=resolution, modality=modality, jobs=1, echo=print)
    if not run.exists():
        train(work / "store", run, sets=["model.members=1", "training.threads=1", f"seed={seed}"], echo=print)
    return run


def write_cohort(table: Path, simulation: ScanSimulation, modality: str) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for visit in simulation.visits.itertuples():
        image = simulation.render(visit.subject, visit.session)
        if modality == "FLAIR":
            image = (WHITE * np.interp(image / WHITE, *FLAIR)).astype(np.float32)
        scan = table.with_name(f"{visit.subject}_{visit.session}_{modality}.nii.gz")
        measured = np.rint(simulation.measured(visit.subject, visit.session, image)).astype(np.int16)
        nib.save(nib.Nifti1Image(measured, simulation.grid.matrix), scan)
        rows.append({"subject": visit.subject, "years": visit.years, "scan": scan.name})
    pd.DataFrame(rows).to_csv(table, index=False)


def scored(work: Path, run: Path, data: Path, modality: str, resolution: float) -> tuple[ScanStore, Volume]:
    """The store of the patient, and the z map of `crow score` for the second visit, before it is moved to the scan."""
    scans = [(data / "raw" / "patient01" / f"study{k}_{FILES[modality]}.nii.gz").resolve() for k in (1, 2)]
    table, out = work / "patient.csv", work / "patient_store"
    patient = pd.DataFrame({"subject": "patient01", "years": [0, DAYS / 365.25], "scan": scans})
    patient.to_csv(table, index=False)
    prepare(table, out, resolution=resolution, modality=modality, jobs=1, echo=print)
    store = ScanStore.open(out)
    ((_, z),) = ScanModel.load(run).z_maps(store, [1])
    return store, z


def evaluated(store: ScanStore, z: Volume, data: Path, modality: str) -> list[dict[str, str | int | float]]:
    lesion, brain = truth(store, data)
    first, last = (np.asarray(store.array("intensity")[row], np.float32) for row in (0, 1))
    inside = brain & (first > 0) & (last > 0) & store.mask
    lesions, count = ndimage.label(lesion & inside)
    maps = {"z": np.abs(z), "difference": np.abs(last - first)}
    found = {name: auc(values[inside], (lesions > 0)[inside]) for name, values in maps.items()}
    draws = bootstrap(maps, lesions, inside, store.info.grid.spacing)
    rows: list[dict[str, str | int | float]] = []
    for name in maps:
        row: dict[str, str | int | float] = {
            "modality": modality, "lesions": count, "lesion voxels": int((lesions > 0).sum()), "map": name,
            "AUC": round(found[name], 3), "95 %": interval(draws[name]),
        }  # fmt: skip
        if name == "z":
            row["z less difference, 95 %"] = interval(draws["z"] - draws["difference"])
        rows.append(row)
    return rows


def truth(store: ScanStore, data: Path) -> tuple[Mask, Mask]:
    """Lesions that changed, and the brain, on the store's grid."""
    first, last = (np.asarray(store.array("to_scan")[row], np.float64) for row in (0, 1))
    to_middle = np.real(sqrtm(last @ np.linalg.inv(first))) @ first
    found = []
    for name in ("gt", "brainmask"):
        image = nib.load(data / "coregistered" / "patient01" / f"{name}.nii.gz")
        matrix = np.linalg.inv(image.affine) @ to_middle @ store.info.grid.matrix
        values = (np.asarray(image.dataobj) > 0).astype(np.float32)
        step = np.linalg.norm(matrix[:3, :3], axis=1)
        smooth = ndimage.gaussian_filter(values, 0.4 * np.sqrt(np.maximum(step**2 - 1, 0)))
        found.append(resampled(smooth, matrix, store.info.grid.shape) > 0.5)
    return found[0], found[1]


def resampled(values: Volume, matrix: NDArray[np.float64], shape: tuple[int, ...]) -> Volume:
    return ndimage.affine_transform(values, matrix[:3, :3], matrix[:3, 3], output_shape=shape, order=1)


def auc(score: Volume, lesion: Mask) -> float:
    ranks, n = stats.rankdata(score), int(lesion.sum())
    return float((ranks[lesion].sum() - n * (n + 1) / 2) / (n * (len(lesion) - n)))


def bootstrap(
    maps: dict[str, Volume], lesions: NDArray[np.int32], inside: Mask, spacing: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """AUC of each map in draws of lesions and of blocks of other voxels, the same draws for all maps."""
    x = np.indices(inside.shape)
    blocks = np.ravel_multi_index((x * spacing[:, None, None, None] // BLOCK_MM).astype(int), (64, 64, 64))
    other = inside & (lesions == 0)
    _, block = np.unique(blocks[other], return_inverse=True)
    lesion = lesions[lesions > 0] - 1
    rng = np.random.default_rng(0)
    weights = [[drawn(rng, lesion), drawn(rng, block)] for _ in range(DRAWS)]
    return {
        name: np.array([weighted_auc(values[lesions > 0], values[other], *pair) for pair in weights])
        for name, values in maps.items()
    }


def drawn(rng: np.random.Generator, group: NDArray[np.integer]) -> NDArray[np.int64]:
    """How often each value's group is drawn, with replacement."""
    count = int(group.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count))[group]


def weighted_auc(a: Volume, b: Volume, weight_a: NDArray[np.int64], weight_b: NDArray[np.int64]) -> float:
    """Share of pairs with a > b (half of ties), each value as often as its weight."""
    order = np.argsort(b)
    below = np.concatenate([[0], np.cumsum(weight_b[order])])
    left, right = (below[np.searchsorted(b[order], a, side)] for side in ("left", "right"))
    return float((weight_a * (left + right)).sum() / 2 / (weight_a.sum() * weight_b.sum()))


def interval(draws: NDArray[np.float64]) -> str:
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
