"""The published experiment on an invented cohort whose group effects are known: synthetic against true Cohen's d.

    python benchmarks/group_effects.py [--seeds 20 21 22] [--published 20]

Each cohort is TADPOLE's AV45 table of people who do not exist: 279 subjects, 3 visits, 82 regions, CDR-SB the only
covariate (and the age). CRow is trained with the defaults, and, for the seeds of ``--published``, with the published
objective and settings (`configs/published.yaml`; about ten minutes of one core). People are generated on two paths of
CDR-SB, 0-0-0 and 0-5-10, two years apart, at one age; d is that of 2,000 a group, and the truth is exact
(`crow.simulate.av45.true_effects`). ``significant``: regions at .05 after Bonferroni's correction in groups of 40,
about as many as one in six of the cohort, and, in brackets, in groups of 100 at .01, as published. The row ``real`` is
d of as many real people on the paths: what a perfect model of groups of 40 would show.
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
from timing import write

from crow import CRow
from crow.cohort import read_cohort
from crow.evaluation.groups import cohens_d, concordance, p_values, significant
from crow.run.config import load_config
from crow.simulate import simulate_av45
from crow.simulate.av45 import Uptake, true_effects

PATHS = [0.0, 0.0, 0.0], [0.0, 5.0, 10.0]
YEARS, AGE, PEOPLE, STUDY, PRINTED = [0.0, 2.0, 4.0], 73.0, 2000, 40, 100
PUBLISHED = Path(__file__).parents[1] / "configs" / "published.yaml"
Values = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21, 22])
    parser.add_argument("--published", type=int, nargs="*", default=[20])
    arguments = parser.parse_args()
    rows: list[dict[str, str | int | float]] = []
    for seed in arguments.seeds:
        simulation = simulate_av45(seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "av45.csv"
            simulation.table.to_csv(path, index=False)
            cohort = read_cohort(path, covariates=["CDRSB"])
        truth = true_effects(simulation.parameters, *PATHS)
        regions, rng = cohort.regions, np.random.default_rng(seed)
        real = [Uptake.of(simulation.parameters).draw(rng, path, STUDY, YEARS) for path in PATHS]
        rows += _rows("real, 40 a group", seed, 0.0, real, truth, list(Uptake.of(simulation.parameters).names))
        models = {"likelihood": lambda: CRow(seed=seed)}  # noqa: B023
        if seed in arguments.published:
            models["published objective"] = lambda: CRow(load_config(PUBLISHED))
        for name, make in models.items():
            began = time.process_time()
            model = make().fit(cohort)
            seconds = time.process_time() - began
            rows += _rows(
                name, seed, seconds, [generated(model, path, k) for k, path in enumerate(PATHS)], truth, regions
            )
            print(pd.DataFrame(rows).to_string(index=False), flush=True)
    write("group_effects", "Cohen's d of CDR-SB 0-5-10 against 0-0-0, synthetic against true, 82 regions", rows)


def generated(model: CRow, path: list[float], seed: int) -> Values:
    """``[person, visit, region]`` of new people on a path."""
    who = [f"s{k:05d}" for k in range(PEOPLE)]
    visits = pd.DataFrame({
        "subject": np.repeat(who, len(path)), "time": np.tile(YEARS, PEOPLE), "age": AGE + np.tile(YEARS, PEOPLE),
        "CDRSB": np.tile(path, PEOPLE),
    })  # fmt: skip
    return model.sample(visits, seed=seed).values.reshape(PEOPLE, len(path), -1)


def _rows(
    name: str, seed: int, seconds: float, groups: list[Values], truth: pd.DataFrame, regions: list[str]
) -> list[dict[str, str | int | float]]:
    rows: list[dict[str, str | int | float]] = []
    for at in ("2", "3", "3-1"):
        visits = [int(part) - 1 for part in at.split("-")]
        first, second = (g[:, visits[0]] - (g[:, visits[1]] if len(visits) > 1 else 0) for g in groups)
        true = truth[truth["at"] == at].set_index("region")["d"].loc[regions].to_numpy()
        d = cohens_d(first, second)
        counts = [_count(first, second, STUDY, 0.05), _count(first, second, PRINTED, 0.01)]
        rows.append({
            "model": name, "seed": seed, "at": at, "concordance": round(concordance(true, d), 3),
            "correlation": round(float(np.corrcoef(true, d)[0, 1]), 3),
            "median |d|": round(float(np.median(abs(d))), 3),
            "median |d|, true": round(float(np.median(abs(true))), 3),
            "significant": f"{counts[0]}" + (f" ({counts[1]})" if counts[1] is not None else ""),
            "seconds": round(seconds),
        })  # fmt: skip
    return rows


def _count(first: Values, second: Values, people: int, alpha: float) -> int | None:
    if min(len(first), len(second)) < people:
        return None
    return significant(p_values(first[:people], second[:people]), alpha)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
