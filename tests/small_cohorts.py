"""Invented cohorts in memory, small enough to learn from in a second."""

from __future__ import annotations

import pandas as pd

from crow.cohort import Cohort, Schema
from crow.simulate import simulate_wide


def small_cohort(subjects: int = 14, regions: int = 2, seed: int = 0) -> Cohort:
    """One to four visits a subject; CDRSB changes, sex does not, and CDRSB lacks a value in every seventh row."""
    table = simulate_wide(subjects, 4, regions, seed).table
    table["CDRSB"] = table["CDRSB"].where(table.index % 7 != 3)
    number = table["subject"].str[1:].astype(int)
    visit = table.groupby("subject").cumcount()
    table["sex"] = number.map(lambda n: "FM"[n % 2])
    table = table[visit < 4 - number % 3 * (number % 4 == 1)].reset_index(drop=True)
    names = [name for name in table if name.startswith("ROI")]
    return in_memory(table, names, {"sex": "categorical", "CDRSB": "numeric"})


def in_memory(table: pd.DataFrame, regions: list[str], covariates: dict[str, str]) -> Cohort:
    """The cohort of a table with ``subject`` and ``age``."""
    start = table.groupby("subject")["age"].first()
    visits = pd.DataFrame({
        "subject": table["subject"], "session": (table.groupby("subject").cumcount() + 1).astype(str),
        "time": table["age"] - table["subject"].map(start), "age": table["age"],
    })  # fmt: skip
    schema = Schema(layout="plain", subject="subject", time="age", time_kind="age", age="age",
                    covariates=covariates, regions=regions, fixed=["sex"] if "sex" in covariates else [])  # fmt: skip
    return Cohort(pd.concat([visits, table[[*covariates, *regions]]], axis=1), schema, start)


def with_visits(cohort: Cohort, visits: pd.DataFrame) -> Cohort:
    """The same cohort with other visits."""
    return Cohort(visits.reset_index(drop=True), cohort.schema, visits.groupby("subject")["age"].first())
