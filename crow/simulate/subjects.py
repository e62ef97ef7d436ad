"""Simulated subjects: demographics, disease time at baseline, and rate of progression."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import truncnorm

MCI_FROM = -6.0
DEMENTIA_FROM = 0.0
RATE_APOE = 0.25
RATE_SPREAD = 0.30
# share of the cohort; disease time at baseline: mean, sd, minimum, maximum (years); median rate without APOE4;
# probabilities of 0, 1, 2 APOE4 alleles; age at baseline: mean, sd.
GROUPS: dict[str, Any] = {
    "CN": {"share": 0.35, "disease_time": (-13.0, 4.0, -25.0, MCI_FROM), "rate": 0.30, "apoe4": (0.72, 0.26, 0.02),
           "age": (73.5, 6.0)},
    "MCI": {"share": 0.45, "disease_time": (-3.0, 2.0, MCI_FROM, DEMENTIA_FROM), "rate": 0.75,
            "apoe4": (0.50, 0.39, 0.11), "age": (73.0, 7.0)},
    "AD": {"share": 0.20, "disease_time": (2.0, 1.5, DEMENTIA_FROM, 8.0), "rate": 1.20, "apoe4": (0.33, 0.47, 0.20),
           "age": (75.0, 7.5)},
}  # fmt: skip


def draw_subjects(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Draw one row per subject: group, apoe4, age, sex, education, icv (mm3), disease_time (years at baseline), rate.

    log rate = log rate of the group + 0.25 APOE4 + 0.30 e, e ~ N(0, 1).
    """
    names = list(GROUPS)
    subjects = pd.DataFrame({"group": rng.choice(names, size=count, p=[GROUPS[name]["share"] for name in names])})
    for column in ("apoe4", "age", "disease_time", "rate"):
        subjects[column] = 0.0
    for name, group in GROUPS.items():
        here = subjects["group"] == name
        subjects.loc[here, "apoe4"] = rng.choice(3, size=here.sum(), p=group["apoe4"]).astype(float)
        subjects.loc[here, "age"] = _within(rng, (*group["age"], 55.0, 91.0), here.sum())
        subjects.loc[here, "disease_time"] = _within(rng, group["disease_time"], here.sum())
        subjects.loc[here, "rate"] = group["rate"]
    subjects["apoe4"] = subjects["apoe4"].astype(int)
    subjects["rate"] *= np.exp(RATE_APOE * subjects["apoe4"] + RATE_SPREAD * rng.normal(size=count))
    subjects["sex"] = rng.choice(["Male", "Female"], size=count, p=[0.55, 0.45])
    subjects["education"] = np.clip(np.round(rng.normal(16.0, 2.8, size=count)), 6, 20).astype(int)
    typical = np.where(subjects["sex"] == "Male", 1_610_000.0, 1_420_000.0)
    subjects["icv"] = typical * np.exp(0.08 * rng.normal(size=count))
    return subjects


def diagnosis(disease_time: pd.Series) -> pd.Series:
    """The diagnosis at a disease time: CN before -6, MCI before 0, then Dementia."""
    bins = [-np.inf, MCI_FROM, DEMENTIA_FROM, np.inf]
    return pd.cut(disease_time, bins, labels=["CN", "MCI", "Dementia"], right=False).astype(str)


def _within(rng: np.random.Generator, shape: tuple[float, float, float, float], count: int) -> np.ndarray:
    """Draws of a truncated normal distribution (mean, sd, minimum, maximum)."""
    mean, sd, low, high = shape
    return truncnorm.rvs((low - mean) / sd, (high - mean) / sd, mean, sd, size=count, random_state=rng)
