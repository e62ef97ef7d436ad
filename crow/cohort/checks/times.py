"""Visits in the future or before any study, follow-ups longer than a study, ages of nobody."""

from __future__ import annotations

import pandas as pd

from crow.cohort.catalogue import AGE_RANGE, EARLY_DATE, FUTURE_DATE, LONG_FOLLOW_UP
from crow.cohort.checks.rows_by_subject import Mask, RowsBySubject
from crow.cohort.options import listed
from crow.cohort.parameters import FIRST_YEAR, MAX_AGE, MAX_ERROR_SHARE, MAX_FOLLOW_UP
from crow.cohort.rows import OWN


def check_times(rows: RowsBySubject) -> None:
    """Findings about dates, follow-ups and ages that cannot be."""
    schema, findings = rows.schema, rows.findings
    if schema.time_kind == "date":
        today = pd.Timestamp.now() + pd.Timedelta(days=1)
        early = (rows.own < pd.Timestamp(FIRST_YEAR, 1, 1)).to_numpy()
        for kind, where in (
            (FUTURE_DATE, (rows.own > today).to_numpy()),
            (EARLY_DATE, early if early.mean() < MAX_ERROR_SHARE else early & False),  # all early: shifted dates
        ):
            if where.any():
                findings.add(kind, schema.time, rows.lines[where], year=FIRST_YEAR, cells=_days(rows, where))
    late = rows.years > MAX_FOLLOW_UP
    if late.any():
        findings.add(LONG_FOLLOW_UP, schema.time, rows.lines[late], years=MAX_FOLLOW_UP)
    column = "age" if "age" in rows.rows else OWN if schema.time_kind == "age" else None
    if column is None:
        return
    ages = rows.values(column)
    wrong = (ages < 0) | (ages > MAX_AGE)
    if wrong.any():
        findings.add(AGE_RANGE, schema.age or schema.time, rows.lines[wrong], values=rows.cells(column, wrong))


def _days(rows: RowsBySubject, where: Mask) -> str:
    days = rows.own[where].dt.strftime("%Y-%m-%d").unique()
    return listed(days, 3)
