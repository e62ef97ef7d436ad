"""Simulated cohorts whose sites shift and scale what they measure, with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crow.cohort import Cohort, Schema

SLOPE, LEVEL_SD, SLOPE_SD, NOISE = -0.1, 1.0, 0.1, 0.2


@dataclass(frozen=True)
class SiteCohort:
    """A cohort with a column ``site``, and the true ``level`` and ``log_scale [site, region]`` of its sites."""

    cohort: Cohort
    level: np.ndarray
    log_scale: np.ndarray


def site_cohort(
    subjects: int = 60,
    sites: int = 3,
    regions: int = 2,
    visits: int = 4,
    seed: int = 0,
    spread: float = 0.5,
    scale_spread: float = 0.0,
    older: float = 0.0,
    change: float = 0.5,
) -> SiteCohort:
    """Of each region ``value = level + exp(log_scale) (a0 + age effect + slope t + b0 + b1 t + noise)``.

    A share ``change`` of the subjects changes to another site at a visit of its own. Subjects of each later site are
    ``older`` years older than those of the one before, and the values fall with age.
    """
    rng = np.random.default_rng(seed)
    level, log_scale = rng.normal(0, spread, (sites, regions)), rng.normal(0, scale_spread, (sites, regions))
    first = rng.integers(0, sites, subjects)
    changes, at = rng.random(subjects) < change, rng.integers(1, visits, subjects)
    second = (first + rng.integers(1, sites, subjects)) % sites if sites > 1 else first
    subject, visit = np.repeat(np.arange(subjects), visits), np.tile(np.arange(visits), subjects)
    site = np.where(changes[subject] & (visit >= at[subject]), second[subject], first[subject])
    t = visit + rng.uniform(-0.2, 0.2, len(visit)) * (visit > 0)
    age = (70 + older * first + rng.normal(0, 5, subjects))[subject] + t
    b0, b1 = rng.normal(0, LEVEL_SD, (2, subjects, regions))
    truth = -0.05 * (age - 70)[:, None] + SLOPE * t[:, None] + b0[subject] + SLOPE_SD * b1[subject] * t[:, None]
    y = level[site] + np.exp(log_scale[site]) * (truth + rng.normal(0, NOISE, truth.shape))
    names = [f"ROI{d + 1}" for d in range(regions)]
    table = pd.DataFrame(
        {"subject": [f"s{k:03d}" for k in subject], "session": (visit + 1).astype(str), "time": t, "age": age,
         "site": [f"site{k}" for k in site]}
    )  # fmt: skip
    table[names] = y
    schema = Schema(layout="plain", subject="subject", time="age", time_kind="age", age="age", sites=["site"],
                    covariates={"site": "categorical"}, regions=names, missing="model")  # fmt: skip
    return SiteCohort(Cohort(table, schema, table.groupby("subject")["age"].first()), level, log_scale)
