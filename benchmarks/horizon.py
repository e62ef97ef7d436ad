"""Forecasts beyond the follow-up: trained on at most 3 years, asked for 5 to 9 years after the first visit.

    python benchmarks/horizon.py [--seeds 0 1 2] [--cohort ../shared/data/leaspy/alzheimer.csv] [--complete]

Simulated: 500 ADNI-like subjects with up to 12 visits and 6 regions, of whom 150 train crow; of a table (``--cohort``)
100 subjects do. Of all others the visits up to 3.3 years are given, and those from 5 to 9.2 years are forecast, with
covariates carried forward. ``within`` are the later half of the given visits, forecast from the earlier half. CRPS is
in standard deviations of the training visits. ``as before`` has the same model without the growth of uncertainty beyond
the follow-up. By default the model is the mixed model that crow is initialised at, which takes seconds; with
``--complete`` it is crow.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from seeds import Row, add_seeds, rows_of_seeds
from timing import write

from crow import Cohort, CRow
from crow.cohort import read_cohort
from crow.cohort.split import Purpose, ranked
from crow.evaluation.forecasts import value_scores
from crow.simulate import simulate_adni

YEARS, FROM, TO = 3.3, 5.0, 9.2
SIZE = {"subjects": 500, "visits": 12, "regions": 6}
SIMULATED_TRAINING, TABLE_TRAINING = 150, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_seeds(parser, [0, 1, 2])
    parser.add_argument("--cohort", type=Path, help="a table instead of a simulation")
    parser.add_argument("--complete", action="store_true", help="crow instead of the mixed model")
    arguments = parser.parse_args()
    rows = rows_of_seeds(of_seed, arguments, arguments.cohort, arguments.complete)
    name = arguments.cohort.stem if arguments.cohort else "simulated"
    model = "crow" if arguments.complete else "mixed_model"
    write(f"horizon_{name}_{model}", f"Forecasts of 5 to 9 years, trained on 3: {name}, {model}", rows)


def of_seed(seed: int, table: Path | None, complete: bool) -> list[Row]:
    cohort = read_cohort(table) if table else simulated(seed)
    return evaluate(cohort, TABLE_TRAINING if table else SIMULATED_TRAINING, seed, complete)


def simulated(seed: int) -> Cohort:
    simulation = simulate_adni(**SIZE, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.csv"
        simulation.table.to_csv(path, index=False)
        return read_cohort(path, regions=list(simulation.parameters["regions"]))


def evaluate(cohort: Cohort, count: int, seed: int, complete: bool) -> list[Row]:
    """Rows of the model as it is, and without the growth beyond the follow-up."""
    order = [cohort.subjects[k] for k in ranked(cohort.subjects, seed, Purpose.TEST)]
    early = replace(cohort, visits=cohort.visits[cohort.visits["time"] <= YEARS])
    mixed = {} if complete else {
        "model": {"members": 1, "initialise": "mixed_model"}, "training": {"max_epochs": 0}
    }  # fmt: skip
    model = CRow(seed=seed, **mixed).fit(early.of(order[:count]))
    test = early.of(order[count:])
    grouped = test.visits.groupby("subject")["subject"]
    number, count_of = grouped.cumcount(), grouped.transform("size")
    test = replace(test, visits=test.visits[count_of >= 2])
    first = (number < (count_of + 1) // 2)[count_of >= 2]
    far = cohort.visits[cohort.visits["time"].between(FROM, TO) & cohort.visits["subject"].isin(test.subjects)]
    tasks = {
        "5 to 9 years": (test, far), "within": (replace(test, visits=test.visits[first]), test.visits[~first])
    }  # fmt: skip
    rows: list[Row] = []
    for name, follow_up in {"crow": model.table.follow_up, "as before": 0.0}.items():
        model.fitted().set_follow_up(follow_up)
        rows += [{"intervals": name, "visits": task, **scores(model, *both)} for task, both in tasks.items()]
    return rows


def scores(model: CRow, history: Cohort, targets: pd.DataFrame) -> Row:
    targets = targets.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
    found = value_scores(model.forecast(history, targets[["subject", "time"]]), targets, history)
    sd = found["region"].map(pd.Series(model.table.sd, model.table.regions)).astype(float)
    by_region = found.groupby("region")["inside_90"].mean()
    return {
        "count": len(targets), "CRPS": round(float((found["crps"] / sd).mean()), 4),
        "50 %": round(float(found["inside_50"].mean()), 3), "90 %": round(float(found["inside_90"].mean()), 3),
        "90 %, worst region": round(float(by_region.min()), 3),
    }  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
