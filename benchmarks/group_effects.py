"""The published experiment on a simulated cohort with known group effects: synthetic against true Cohen's d.

    python benchmarks/group_effects.py [--seeds 20 21 22] [--published 20]

Each cohort is a simulated version of TADPOLE's AV45 table: 279 subjects, 3 visits, 82 regions, with CDR-SB and the age
as covariates. CRow is trained with the defaults and, for the seeds of ``--published``, with the published objective and
settings (`configs/published.yaml`; about ten minutes of one core). Synthetic subjects are generated on two paths of
CDR-SB, 0-0-0 and 0-5-10, with visits two years apart, at the same age. d is that of groups of 2,000, and the true d is
exact (`crow.simulate.av45.true_effects`). ``significant`` is the number of regions at .05 after Bonferroni correction
in groups of 40 (a sixth of the cohort) and, in brackets, in groups of 100 at .01, as published. The row ``real`` is d
of 40 real subjects on each path: what a perfect model would show for groups of that size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from seeds import Row, add_seeds, rows_of_seeds
from timing import write

from crow import CRow
from crow.cohort import read_cohort
from crow.evaluation.groups import cohens_d, concordance, p_values, significant
from crow.run.config import load_config
from crow.simulate import simulate_av45
from crow.simulate.av45 import Uptake, true_effects

PATHS = [0.0, 0.0, 0.0], [0.0, 5.0, 10.0]
YEARS, AGE = [0.0, 2.0, 4.0], 73.0
N_SUBJECTS, N_STUDY, N_PUBLISHED = 2000, 40, 100  # per group
PUBLISHED = Path(__file__).parents[1] / "configs" / "published.yaml"
Values = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_seeds(parser, [20, 21, 22])
    parser.add_argument("--published", type=int, nargs="*", default=[20])
    arguments = parser.parse_args()
    rows = rows_of_seeds(of_seed, arguments, arguments.published)
    write("group_effects", "Cohen's d of CDR-SB 0-5-10 against 0-0-0, synthetic against true, 82 regions", rows)


def of_seed(seed: int, published: list[int]) -> list[Row]:
    simulation = simulate_av45(seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "av45.csv"
        simulation.table.to_csv(path, index=False)
        cohort = read_cohort(path, covariates=["CDRSB"])
    truth = true_effects(simulation.parameters, *PATHS)
    regions, rng = cohort.regions, np.random.default_rng(seed)
    real = [Uptake.of(simulation.parameters).draw(rng, path, N_STUDY, YEARS) for path in PATHS]
    rows = _rows("real, 40 per group", seed, 0.0, real, truth, list(Uptake.of(simulation.parameters).names))
    models = {"likelihood": lambda: CRow(seed=seed)}
    if seed in published:
        models["published objective"] = lambda: CRow(load_config(PUBLISHED))
    for name, make in models.items():
        began = time.process_time()
        model = make().fit(cohort)
        seconds = time.process_time() - began
        rows += _rows(
            name, seed, seconds, [generated(model, path, k) for k, path in enumerate(PATHS)], truth, regions
        )
    return rows


def generated(model: CRow, path: list[float], seed: int) -> Values:
    """``[subject, visit, region]`` of synthetic subjects on a path."""
    subjects = [f"s{k:05d}" for k in range(N_SUBJECTS)]
    visits = pd.DataFrame({
        "subject": np.repeat(subjects, len(path)), "time": np.tile(YEARS, N_SUBJECTS),
        "age": AGE + np.tile(YEARS, N_SUBJECTS), "CDRSB": np.tile(path, N_SUBJECTS),
    })  # fmt: skip
    return model.sample(visits, seed=seed).values.reshape(N_SUBJECTS, len(path), -1)


def _rows(
    name: str, seed: int, seconds: float, groups: list[Values], truth: pd.DataFrame, regions: list[str]
) -> list[dict[str, str | int | float]]:
    rows: list[dict[str, str | int | float]] = []
    for at in ("2", "3", "3-1"):
        visits = [int(part) - 1 for part in at.split("-")]
        first, second = (g[:, visits[0]] - (g[:, visits[1]] if len(visits) > 1 else 0) for g in groups)
        true = truth[truth["at"] == at].set_index("region")["d"].loc[regions].to_numpy()
        d = cohens_d(first, second)
        counts = [_count(first, second, N_STUDY, 0.05), _count(first, second, N_PUBLISHED, 0.01)]
        rows.append({
            "model": name, "seed": seed, "at": at, "concordance": round(concordance(true, d), 3),
            "correlation": round(float(np.corrcoef(true, d)[0, 1]), 3),
            "median |d|": round(float(np.median(abs(d))), 3),
            "median |d|, true": round(float(np.median(abs(true))), 3),
            "significant": f"{counts[0]}" + (f" ({counts[1]})" if counts[1] is not None else ""),
            "seconds": round(seconds),
        })  # fmt: skip
    return rows


def _count(first: Values, second: Values, subjects: int, alpha: float) -> int | None:
    if min(len(first), len(second)) < subjects:
        return None
    return significant(p_values(first[:subjects], second[:subjects]), alpha)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
