"""The tables of the forecasting benchmarks, and their split into training and test subjects."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from crow import Cohort
from crow.cohort import read_cohort
from crow.cohort.split import test_subjects
from crow.simulate import simulate_adni

PUBLIC = Path(__file__).parents[2] / "shared" / "data" / "leaspy" / "alzheimer.csv"
SIMULATED = {"subjects": 200, "visits": 8, "regions": 10}
TEST = 0.25  # of the subjects; the split is that of crow train --test 0.25 with seed 0


def options(summary: str) -> argparse.ArgumentParser:
    """The arguments that choose a table."""
    parser = argparse.ArgumentParser(description=summary)
    table = parser.add_mutually_exclusive_group()
    table.add_argument("--cohort", type=Path, default=PUBLIC, help="a table of regions")
    table.add_argument("--simulate", type=int, metavar="SEED", help="a simulated ADNI-like table")
    return parser


def read_table(arguments: argparse.Namespace) -> tuple[str, Cohort]:
    """Name and cohort of the chosen table."""
    if arguments.simulate is None:
        return arguments.cohort.stem, read_cohort(arguments.cohort)
    return f"adni_like_{arguments.simulate}", simulated(arguments.simulate)


def split(cohort: Cohort) -> tuple[Cohort, Cohort]:
    """Training and test subjects."""
    test = set(test_subjects(cohort, TEST, 0))
    return cohort.of(name for name in cohort.subjects if name not in test), cohort.of(test)


def simulated(seed: int, **size: int) -> Cohort:
    """A simulated ADNI-like cohort: 200 subjects, up to 8 visits, 10 regions in mm3 by default; six covariates."""
    simulation = simulate_adni(**(SIMULATED | size), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.csv"
        simulation.table.to_csv(path, index=False)
        return replace(read_cohort(path, regions=list(simulation.parameters["regions"])), path=None)
