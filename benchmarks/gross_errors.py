"""Gross errors in training and in histories: how far they move intervals and forecasts.

    python benchmarks/gross_errors.py [--seeds 0] [--members 4]

A cohort is simulated twice with one seed; of the second copy one value, or 2 % of all values, are multiplied by 10 or
by .1. ``width`` is the mean width of the 90 % interval of each region's forecasts over that of the clean cohort, for
the region that changes most. Coverage and CRPS (in sd of the training) are of true values of the second half of the
test subjects' visits, given first halves with the same kind of errors.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from seeds import Row, add_seeds, rows_of_seeds
from timing import write

from crow import Cohort, CRow
from crow.cohort import read_cohort
from crow.data.forecast import quantiles_of
from crow.evaluation.forecasts import split_history, value_scores
from crow.simulate import simulate_adni

REGIONS = ["Ventricles", "Hippocampus", "WholeBrain", "Entorhinal", "Fusiform", "MidTemp"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_seeds(parser)
    parser.add_argument("--members", type=int, default=4)
    arguments = parser.parse_args()
    rows = rows_of_seeds(of_seed, arguments, arguments.members)
    write("gross_errors", "Gross errors in training and histories, simulated cohort of 200 subjects", rows)


def of_seed(seed: int, members: int) -> list[Row]:
    rows: list[Row] = []
    clean = cohort(seed)
    usual: np.ndarray | None = None
    for label, share in (("clean", 0.0), ("one value x 10", None), ("2 % of values", 0.02)):
        found, width = evaluate(with_errors(clean, share, seed), clean, seed, members)
        usual = width if usual is None else usual
        rows.append({"errors": label, **found, "width": round(float((width / usual).max()), 3)})
    return rows


def cohort(seed: int) -> Cohort:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.csv"
        simulate_adni(subjects=200, seed=seed).table.to_csv(path, index=False)
        return read_cohort(path, regions=REGIONS)


def with_errors(clean: Cohort, share: float | None, seed: int) -> Cohort:
    """A copy in which a share of the values, or one value (None), is ten times as large or small."""
    rng, visits = np.random.default_rng([seed, 7]), clean.visits.copy()
    values = visits[REGIONS].to_numpy(float, copy=True)
    if share is None:
        values[len(values) // 3, REGIONS.index("Hippocampus")] *= 10
    else:
        wrong = rng.random(values.shape) < share
        values[wrong] *= np.where(rng.random(int(wrong.sum())) < 0.5, 10, 0.1)
    visits[REGIONS] = values
    return replace(clean, visits=visits)


def evaluate(cohort: Cohort, clean: Cohort, seed: int, members: int) -> tuple[dict[str, float], np.ndarray]:
    subjects = clean.subjects
    model = CRow(seed=seed, model={"members": members}).fit(cohort.of(subjects[:150]))
    history, _ = split_history(cohort.of(subjects[150:]))
    _, targets = split_history(clean.of(subjects[150:]))
    forecast = model.forecast(history, targets.drop(columns=REGIONS), draws=400, seed=seed)
    scores = value_scores(forecast, targets, history)
    low, high = quantiles_of(forecast.values, [0.05, 0.95], axis=1)
    sd = clean.of(subjects[:150]).visits[REGIONS].std()
    found = {
        "CRPS": round(float((scores["crps"] / scores["region"].map(sd)).mean()), 4),
        "coverage 50 %": round(float(scores["inside_50"].mean()), 3),
        "coverage 90 %": round(float(scores["inside_90"].mean()), 3),
        "found": int(sum(model.metrics.get("gross_errors", {}).values())),
    }
    return found, (high - low).mean(0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
