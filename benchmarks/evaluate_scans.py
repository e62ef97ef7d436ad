"""`crow evaluate` of a run of scans with the defaults: the last scan of test subjects, given the earlier ones.

    python benchmarks/evaluate_scans.py [--modality pet] [--subjects 80] [--visits 4] [--resolution 4] [--seeds 0]
        [--folds 4] [--work DIR]

Simulates and prepares scans, trains with the defaults on 70 % of the subjects and evaluates on the others, or on all
subjects with ``--folds``. Each of the ``--seeds`` is another cohort, and the scores are means over all of them. crow is
compared with the last scan, and with the last scan plus the mean change of the training subjects, each with the sd of
its own errors. NLL (nats) and CRPS are means over voxels, in units of white matter (T1w) or of the cerebellum (PET);
"correlation" is that of the expected with the true noise-free change, over voxels. The rows of regions are about
changes of the template's structures, compared with the true volumes (T1w, percent) or with the means of the real scan
(PET); there "correlation" is over subjects (mean of structures), and "individual correlation" the same of what differs
from the mean change. ``reached`` tells whether crow has the lowest NLL, CRPS and MAE, and 90 % intervals with a
coverage of 87 to 93 %. The last rows are those of crow by structure.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from evaluate_cohorts import reached
from timing import write

from crow.evaluation.scan_evaluation import NOISE_FREE
from crow.evaluation.scan_regions import region_summary
from crow.pipelines.evaluate import evaluate
from crow.pipelines.prepare import prepare
from crow.pipelines.simulate_scans import write_scans
from crow.pipelines.train import train

MODALITIES = ("T1w", "pet")
TABLES = ("scan_regions", "scans")
VOXELS = ("MAE", "CRPS", "NLL", "coverage 90 %", "SSIM")
REGIONS = ("MAE", "CRPS", "NLL", "coverage 50 %", "coverage 90 %", "correlation", "individual correlation")
Row = dict[str, str | int | float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modality", choices=MODALITIES, help="without it, both")
    parser.add_argument("--subjects", type=int, default=80)
    parser.add_argument("--visits", type=int, default=4)
    parser.add_argument("--resolution", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", type=int)
    parser.add_argument("--work", type=Path, help="keeps cohorts, stores and runs, and uses those that exist")
    arguments = parser.parse_args()
    size = arguments.subjects, arguments.visits, arguments.resolution
    for modality in MODALITIES:
        if arguments.modality in (None, modality):
            found: list[tuple[pd.DataFrame, pd.DataFrame]] = []
            with tempfile.TemporaryDirectory() as temporary:
                for seed in arguments.seeds:
                    work = (arguments.work or Path(temporary)) / modality / str(seed)
                    evaluated(work, modality, *size, seed, arguments.folds)
                    tables = (pd.read_csv(work / "run_evaluation" / f"{name}.csv") for name in TABLES)
                    found.append(tuple(one.assign(subject=f"{seed} " + one["subject"]) for one in tables))
            regions, scans = (pd.concat(tables, ignore_index=True) for tables in zip(*found, strict=True))
            folds = f", {arguments.folds} folds" if arguments.folds else ""
            title = (
                f"crow evaluate: {modality}, {arguments.subjects} subjects with {arguments.visits} scans at "
                f"{arguments.resolution:g} mm, seeds {arguments.seeds}{folds}, {scans['subject'].nunique()} tested"
            )
            write(f"evaluate_scans_{modality.lower()}", title, table(regions, scans))


def evaluated(
    work: Path, modality: str, subjects: int, visits: int, resolution: float, seed: int, folds: int | None
) -> None:
    """A cohort that is simulated, prepared, modelled and evaluated in the folder ``work``."""
    if not (work / "cohort").exists():
        write_scans(work / "cohort", subjects, visits, resolution, modality, seed, jobs=1)
    if not (work / "store").exists():
        prepare(work / "cohort", work / "store", resolution=resolution, jobs=1, echo=print)
    if not (work / "run").exists():
        train(work / "store", work / "run", sets=["split.test=0.3", "training.threads=1", f"seed={seed}"], echo=print)
    evaluate(work / "run", folds=folds, seed=seed, overwrite=True, echo=print)


def table(regions: pd.DataFrame, scans: pd.DataFrame) -> list[Row]:
    """One row per model for regions, and one for voxels, crow first; then one per structure."""
    by_model = region_summary(regions)
    of_voxels = scans.groupby("model", sort=False)[[*VOXELS, NOISE_FREE]].mean().to_dict("index")
    rows = [scored("regions", name, found) for name, found in by_model.items()]
    for model, found in of_voxels.items():
        rows.append(scored("voxels", str(model), found, VOXELS) | {"correlation": round(found[NOISE_FREE], 3)})
    for row in rows:
        if row["model"] == "crow":
            row["reached"] = reached(of_voxels if row["target"] == "voxels" else by_model)
    for name, own in regions.groupby("region", sort=False):
        rows.append(scored(str(name), "crow", region_summary(own)["crow"]))
    return rows


def scored(target: str, model: str, found: dict[str, float], names: Sequence[str] = REGIONS) -> Row:
    return {"target": target, "model": model} | {name: round(found[name], 4) for name in names if name in found}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
