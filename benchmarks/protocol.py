"""The forecasting task of the benchmarks: which subjects learn, what is given of the others, how forecasts are judged.

Subjects sorted by name: the 4th, 8th, 12th, ... are test subjects. Of each with at least 4 visits the first ceil(n / 2)
are given and all later ones are the targets, whose covariates are known to every model that uses covariates.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scoringrules

from crow import Cohort
from crow.cohort import read_cohort
from crow.simulate import simulate_adni

DRAWS = 200
PUBLIC = Path(__file__).parents[2] / "shared" / "data" / "leaspy" / "alzheimer.csv"
SIMULATED = {"subjects": 200, "visits": 8, "regions": 10}
Values = np.ndarray


class Task(NamedTuple):
    """Subjects to learn from, those to judge, and of the latter: the visits given and the visits to forecast.

    ``scale [region]`` divides all errors; ``name`` is that of the table.
    """

    name: str
    training: Cohort
    test: Cohort
    history: Cohort
    targets: pd.DataFrame
    scale: Values

    @property
    def truth(self) -> Values:
        """Values to forecast ``[visit, region]``."""
        return self.targets[self.training.regions].to_numpy()


def options(summary: str) -> argparse.ArgumentParser:
    """The arguments that say which table."""
    parser = argparse.ArgumentParser(description=summary)
    table = parser.add_mutually_exclusive_group()
    table.add_argument("--cohort", type=Path, default=PUBLIC, help="a table, judged in its own units")
    table.add_argument("--simulate", type=int, metavar="SEED", help="an invented ADNI-like table, judged standardised")
    parser.add_argument("--standardised", action="store_true", help="divide errors by each region's training sd")
    return parser


def read_task(arguments: argparse.Namespace) -> Task:
    """The task on the table that was asked for."""
    if arguments.simulate is None:
        return task(read_cohort(arguments.cohort), arguments.cohort.stem, arguments.standardised)
    return task(simulated(arguments.simulate), f"adni_like_{arguments.simulate}", standardised=True)


def task(cohort: Cohort, name: str, standardised: bool) -> Task:
    """Splits a cohort; standardised errors are in units of each region's sd over training visits."""
    names = sorted(cohort.subjects)
    training, test = _only(cohort, set(names) - set(names[3::4])), _only(cohort, set(names[3::4]))
    history, targets = split(test)
    scale = training.visits[cohort.regions].std().to_numpy() if standardised else np.ones(len(cohort.regions))
    return Task(name, training, test, history, targets, scale)


def simulated(seed: int) -> Cohort:
    """An invented ADNI-like cohort: 200 subjects, up to 8 visits, 10 regions in mm3, six covariates."""
    simulation = simulate_adni(**SIMULATED, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.csv"
        simulation.table.to_csv(path, index=False)
        return read_cohort(path, regions=list(simulation.parameters["regions"]))


def split(cohort: Cohort) -> tuple[Cohort, pd.DataFrame]:
    """The first ceil(n / 2) visits of subjects with at least 4, and all their later visits."""
    visits = cohort.visits
    n = visits.groupby("subject")["time"].transform("size")
    given = visits.groupby("subject").cumcount() < (n + 1) // 2
    history = Cohort(visits[given & (n >= 4)], cohort.schema, cohort.start)
    return history, visits[~given & (n >= 4)].reset_index(drop=True)


def judge(draws: Values, truth: Values, scale: Values) -> dict[str, float]:
    """MAE of the median, CRPS, and how much the central 50 and 90 % cover; ``draws [visit, sample, region]``.

    Means over visits and regions, of values divided by ``scale [region]``.
    """
    draws, truth = np.moveaxis(draws / scale, 1, -1), truth / scale
    low, q25, median, q75, high = np.quantile(draws, [0.05, 0.25, 0.5, 0.75, 0.95], axis=-1)
    scores = {
        "MAE": np.abs(median - truth).mean(),
        "CRPS": np.mean(scoringrules.crps_ensemble(truth, draws)),
        "50 %": ((q25 <= truth) & (truth <= q75)).mean(),
        "90 %": ((low <= truth) & (truth <= high)).mean(),
    }
    return {name: round(float(value), 5) for name, value in scores.items()}


def _only(cohort: Cohort, subjects: set[str]) -> Cohort:
    visits = cohort.visits[cohort.visits["subject"].isin(subjects)].reset_index(drop=True)
    return Cohort(visits, cohort.schema, cohort.start)
