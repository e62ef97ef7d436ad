"""How `crow evaluate` judges a run of scans with the defaults: the last scan of people kept out, given earlier ones.

    python benchmarks/evaluate_scans.py [--modality pet] [--subjects 80] [--visits 4] [--resolution 4] [--work DIR]

Simulates scans, prepares them, trains with the defaults on 70 % of the people and evaluates on the others. Compared with crow:
the last scan, and the last scan with the mean change of the training people, each with the sd of its own errors. NLL
(nats) and CRPS are means over voxels, in units of white matter (T1w) or of the cerebellum (PET); "told" is the
correlation over voxels of the expected change with the true one, which has no noise. Below, changes of the template's
structures, against the true volumes (T1w, percent) or the means of the real scan (PET); "told" is there the correlation
across people, mean over structures. ``reached`` says of crow: the lowest NLL, CRPS and MAE, and 90 % intervals that
cover 87 to 93 %.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from evaluate_cohorts import reached
from timing import write

from crow.evaluation.scan_evaluation import CLEAN
from crow.pipelines.evaluate import evaluate
from crow.pipelines.prepare import prepare
from crow.pipelines.simulate_scans import write_scans
from crow.pipelines.train import train

MODALITIES = ("T1w", "pet")
VOXELS = ("MAE", "CRPS", "NLL", "covers 90 %", "SSIM")
REGIONS = {"MAE": "MAE", "CRPS": "CRPS", "NLL": "NLL", "covers 90 %": "covers 90 %", "correlation": "told"}
Row = dict[str, str | int | float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modality", choices=MODALITIES, help="without it, both")
    parser.add_argument("--subjects", type=int, default=80)
    parser.add_argument("--visits", type=int, default=4)
    parser.add_argument("--resolution", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keeps cohort, store and run; what is there is used again")
    arguments = parser.parse_args()
    size = arguments.subjects, arguments.visits, arguments.resolution
    for modality in MODALITIES:
        if arguments.modality in (None, modality):
            with tempfile.TemporaryDirectory() as temporary:
                work = (arguments.work or Path(temporary)) / modality
                metrics = judged(work, modality, *size, arguments.seed)["scans"]
            title = (
                f"crow evaluate: {modality}, {arguments.subjects} people with {arguments.visits} scans at "
                f"{arguments.resolution:g} mm, {metrics['subjects']} test people, {metrics['voxels']:,} voxels"
            )
            write(f"evaluate_scans_{modality.lower()}", title, table(metrics))


def judged(work: Path, modality: str, subjects: int, visits: int, resolution: float, seed: int) -> dict[str, Any]:
    """metrics.json of a cohort that is simulated, prepared, learned and evaluated in the folder ``work``."""
    if not (work / "cohort").exists():
        write_scans(work / "cohort", subjects, visits, resolution, modality, seed, jobs=1)
    if not (work / "store").exists():
        prepare(work / "cohort", work / "store", resolution=resolution, jobs=1, echo=print)
    if not (work / "run").exists():
        train(work / "store", work / "run", sets=["split.test=0.3", "training.threads=1", f"seed={seed}"], echo=print)
    return evaluate(work / "run", seed=seed, overwrite=True, echo=print).metrics


def table(scans: dict[str, Any]) -> list[Row]:
    """A row a model for voxels, and one for regions; crow first."""
    rows: list[Row] = []
    for model, found in scans["forecast"].items():
        row: Row = {"of": "voxels", "model": model} | {name: round(found[name], 4) for name in VOXELS}
        rows.append(row | {"told": round(found[CLEAN], 3)})
    for model, found in scans["regions"]["forecast"].items():
        row = {"of": f"regions ({scans['regions']['unit']})", "model": model}
        rows.append(row | {REGIONS[name]: round(found[name], 4) for name in REGIONS})
    for row in rows:
        if row["model"] == "crow":
            own = scans["forecast"] if row["of"] == "voxels" else scans["regions"]["forecast"]
            row["reached"] = reached(own)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
