"""`crow evaluate` of a run of scans with the defaults: the last scan of test subjects, given the earlier ones.

    python benchmarks/evaluate_scans.py [--modality pet] [--subjects 80] [--visits 4] [--resolution 4] [--work DIR]

Simulates and prepares scans, trains with the defaults on 70 % of the subjects and evaluates on the others. crow is
compared with the last scan, and with the last scan plus the mean change of the training subjects, each with the sd of
its own errors. NLL (nats) and CRPS are means over voxels, in units of white matter (T1w) or of the cerebellum (PET);
"correlation" is that of the expected with the true noise-free change, over voxels. The rows of regions are about
changes of the template's structures, compared with the true volumes (T1w, percent) or with the means of the real scan
(PET); there "correlation" is over subjects (mean of structures), and "individual correlation" the same of what differs
from the mean change. ``reached`` tells whether crow has the lowest NLL,
CRPS and MAE, and 90 % intervals with a coverage of 87 to 93 %.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from evaluate_cohorts import reached
from timing import write

from crow.evaluation.scan_evaluation import NOISE_FREE
from crow.pipelines.evaluate import evaluate
from crow.pipelines.prepare import prepare
from crow.pipelines.simulate_scans import write_scans
from crow.pipelines.train import train

MODALITIES = ("T1w", "pet")
VOXELS = ("MAE", "CRPS", "NLL", "coverage 90 %", "SSIM")
REGIONS = ("MAE", "CRPS", "NLL", "coverage 50 %", "coverage 90 %", "correlation", "individual correlation")
Row = dict[str, str | int | float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modality", choices=MODALITIES, help="without it, both")
    parser.add_argument("--subjects", type=int, default=80)
    parser.add_argument("--visits", type=int, default=4)
    parser.add_argument("--resolution", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keeps cohort, store and run, and uses those that exist")
    arguments = parser.parse_args()
    size = arguments.subjects, arguments.visits, arguments.resolution
    for modality in MODALITIES:
        if arguments.modality in (None, modality):
            with tempfile.TemporaryDirectory() as temporary:
                work = (arguments.work or Path(temporary)) / modality
                metrics = evaluated(work, modality, *size, arguments.seed)["scans"]
            title = (
                f"crow evaluate: {modality}, {arguments.subjects} subjects with {arguments.visits} scans at "
                f"{arguments.resolution:g} mm, {metrics['subjects']} test subjects, {metrics['voxels']:,} voxels"
            )
            seed = f"_seed_{arguments.seed}" if arguments.seed else ""
            write(f"evaluate_scans_{modality.lower()}{seed}", title, table(metrics))


def evaluated(work: Path, modality: str, subjects: int, visits: int, resolution: float, seed: int) -> dict[str, Any]:
    """metrics.json of a cohort that is simulated, prepared, modelled and evaluated in the folder ``work``."""
    if not (work / "cohort").exists():
        write_scans(work / "cohort", subjects, visits, resolution, modality, seed, jobs=1)
    if not (work / "store").exists():
        prepare(work / "cohort", work / "store", resolution=resolution, jobs=1, echo=print)
    if not (work / "run").exists():
        train(work / "store", work / "run", sets=["split.test=0.3", "training.threads=1", f"seed={seed}"], echo=print)
    return evaluate(work / "run", seed=seed, overwrite=True, echo=print).metrics


def table(scans: dict[str, Any]) -> list[Row]:
    """One row per model for regions, and one for voxels; crow first."""
    rows: list[Row] = []
    for model, found in scans["regions"]["forecast"].items():
        row: Row = {"target": f"regions ({scans['regions']['unit']})", "model": model}
        rows.append(row | {name: round(found[name], 4) for name in REGIONS if name in found})
    for model, found in scans["forecast"].items():
        row = {"target": "voxels", "model": model} | {name: round(found[name], 4) for name in VOXELS}
        rows.append(row | {"correlation": round(found[NOISE_FREE], 3)})
    for row in rows:
        if row["model"] == "crow":
            own = scans["forecast"] if row["target"] == "voxels" else scans["regions"]["forecast"]
            row["reached"] = reached(own)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
