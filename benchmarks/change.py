"""Bias of measured change: volumes of structures that registration finds, against the true ones.

    python benchmarks/change.py [--subjects 24] [--visits 3] [--resolution 3] [--work DIR]

Simulates T1w scans (3 % noise, a bias field, gain and head position for each visit), prepares them with the defaults,
and compares the change of every structure from the first scan to each later one with the true change of its volume:

"slope": measured on true log ratio, through 0; "correlation" over pairs of scans; "RMSE (%)" of the change.
"corrected": the same of changes divided by the share that registration finds (`crow.scans.unbiased`), here the slope
in the other half of the subjects. "error (%)" is the sd of corrected minus true changes.
"inverse (%)": mean absolute sum of the changes there and back (the scans exchanged), of the last scans of 4 subjects.

Structures that do not change in the simulation have no slope.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from timing import write

from crow.evaluation.scan_truth import SimulatedTruth
from crow.pipelines.prepare import prepare
from crow.pipelines.simulate_scans import write_scans
from crow.scans.atlas import built_in
from crow.scans.change import ChangeRegistration, in_template_space
from crow.scans.region_values import label_volumes, volumes
from crow.scans.store import ScanStore
from crow.scans.template import load_template

STABLE = ("cerebellum", "brainstem")
SIDES = ("_left", "_right")
EXCHANGED = 4  # subjects whose scans are also registered the other way round
Values = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=24)
    parser.add_argument("--visits", type=int, default=3)
    parser.add_argument("--resolution", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keeps cohort and store, and uses those that exist")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = arguments.work or Path(tempfile.mkdtemp(prefix="crow-change-"))
    size = arguments.subjects, arguments.visits, arguments.resolution
    if not (work / "cohort").exists():
        write_scans(work / "cohort", *size, "T1w", arguments.seed, jobs=1)
    if not (work / "store").exists():
        prepare(work / "cohort", work / "store", resolution=arguments.resolution, jobs=1, echo=print)
    store = ScanStore.open(work / "store")
    rows = table(changes(store), exchanged(store))
    print(pd.DataFrame(rows).to_string(index=False))
    visits = store.cohort().visits  # those that are prepared
    what = f"{visits['subject'].nunique()} subjects with {arguments.visits} scans at {arguments.resolution:g} mm"
    title = f"Change of structures, measured and true: {what}"
    seed = f"_seed_{arguments.seed}" if arguments.seed else ""
    write(f"change_{arguments.resolution:g}mm{seed}", title, rows)


def changes(store: ScanStore) -> pd.DataFrame:
    """``subject``, ``structure``, ``true`` and ``measured`` log ratio of volume, from the first scan to each later."""
    truth = SimulatedTruth.find(store)
    assert truth is not None
    resolution = float(store.info.settings["resolution"])
    atlas = built_in(store.info.grid, resolution)
    names = list(atlas.names.values())
    rows = []
    for subject, own in store.cohort().visits.groupby("subject"):
        measured = [_both_sides(volumes(store, int(row), atlas), names) for row in own.index]
        true = [_both_sides(truth.volumes(int(row), names), names) for row in own.index]
        for t in range(1, len(own)):
            rows += [
                {"subject": subject, "structure": name, "true": np.log(true[t][name] / true[0][name]),
                 "measured": np.log(measured[t][name] / measured[0][name])}
                for name in true[0]
            ]  # fmt: skip
    return pd.DataFrame(rows)


def exchanged(store: ScanStore) -> dict[str, float]:
    """By structure: mean absolute sum of the log ratios from the first to the last scan and back."""
    resolution, nodes, grid = float(store.info.settings["resolution"]), store.info.velocity_grid, store.info.grid
    assert nodes is not None
    template, names = load_template(resolution), list(built_in(grid, resolution).names.values())
    sums = []
    for _, own in list(store.cohort().visits.groupby("subject"))[:EXCHANGED]:
        psi = np.asarray(store.array("anatomy")[store.subject_index(int(own.index[0]))])
        pair = [
            in_template_space(np.asarray(store.array("intensity")[int(row)]), grid, psi, nodes)
            for row in (own.index[0], own.index[-1])
        ]
        there = ChangeRegistration(pair[0], template, nodes).velocity(pair[1])
        back = ChangeRegistration(pair[1], template, nodes).velocity(pair[0])
        still, first, second = (
            _both_sides(label_volumes(psi, w, nodes, template.structures, grid, len(names))[1:], names)
            for w in (np.zeros_like(there), there, back)
        )
        sums.append({name: abs(np.log(first[name] * second[name] / still[name] ** 2)) for name in still})
    return {str(name): float(value) for name, value in pd.DataFrame(sums).mean().items()}


def table(found: pd.DataFrame, inverse: dict[str, float]) -> list[dict[str, str | int | float]]:
    rows: list[dict[str, str | int | float]] = []
    halves = found["subject"].map({name: k % 2 for k, name in enumerate(found["subject"].unique())})
    for name, pairs in found.groupby("structure", sort=False):
        true, measured = pairs["true"].to_numpy(), pairs["measured"].to_numpy()
        stable, half = name in STABLE, halves[pairs.index].to_numpy()
        corrected = measured / np.where(half, slope(true[half == 0], measured[half == 0]),
                                        slope(true[half == 1], measured[half == 1]))  # fmt: skip
        corrected = measured if stable else corrected
        rows.append({
            "structure": str(name),
            "true change (%)": round(100 * float(true.mean()), 2),
            "measured (%)": round(100 * float(measured.mean()), 2),
            "slope": float("nan") if stable else round(slope(true, measured), 2),
            "correlation": float("nan") if stable else round(float(np.corrcoef(true, measured)[0, 1]), 2),
            "RMSE (%)": round(100 * float(np.sqrt(((measured - true) ** 2).mean())), 2),
            "corrected (%)": round(100 * float(corrected.mean()), 2),
            "corrected slope": float("nan") if stable else round(slope(true, corrected), 2),
            "error (%)": round(100 * float((corrected - true).std()), 2),
            "inverse (%)": round(100 * inverse[str(name)], 2),
        })  # fmt: skip
    return rows


def slope(true: Values, measured: Values) -> float:
    """Of the line through 0."""
    return float((true * measured).sum() / (true**2).sum())


def _both_sides(values: Values, names: list[str]) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, value in zip(names, values, strict=True):
        whole = name.removesuffix(SIDES[0]).removesuffix(SIDES[1])
        out[whole] = out.get(whole, 0.0) + float(value)
    return out


if __name__ == "__main__":
    main()
