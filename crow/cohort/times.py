"""A table's own time: its kinds, its units, and the years between two times."""

from __future__ import annotations

import re
from typing import Literal

import pandas as pd

from crow.cohort.dates import DateOrder, parse_dates
from crow.cohort.values import numbers
from crow.cohort.visit_codes import VisitCodes, code_months

TimeKind = Literal["age", "years", "months", "weeks", "days", "hours", "date", "visit"]
AgeUnit = Literal["years", "months", "weeks", "days"]

DAYS_PER_YEAR = 365.25
PER_YEAR = {
    "age": 1.0, "years": 1.0, "months": 12.0, "weeks": DAYS_PER_YEAR / 7, "days": DAYS_PER_YEAR,
    "hours": 24 * DAYS_PER_YEAR, "visit": 12.0,
}  # fmt: skip
AGES_PER_YEAR: dict[AgeUnit, float] = {
    "years": 1.0, "months": 12.0, "weeks": DAYS_PER_YEAR / 7, "days": DAYS_PER_YEAR,
}  # fmt: skip
MISSING_TIMES = {
    "age": (-1.0, -4.0, -9.0, -99.0, -999.0, -9999.0),
    "years": (-99.0, -999.0, -9999.0),
    "months": (-999.0, -9999.0),
    "weeks": (-999.0, -9999.0),
    "hours": (-9999.0, -99999.0),
    "days": (-9999.0, -99999.0),
}
"""Numbers that mean missing: only those that no time before baseline can be. An age is never negative."""
DATE_FORMATS: dict[DateOrder, str] = {"ymd": "%Y-%m-%d", "mdy": "%m/%d/%Y", "dmy": "%d/%m/%Y"}
SOME_DAY = pd.Timestamp(2000, 1, 1)


def own_times(
    cells: pd.Series,
    kind: TimeKind,
    decimal: str = ".",
    codes: VisitCodes = "plain",
    order: DateOrder | None = None,
    age_unit: AgeUnit = "years",
) -> pd.Series:
    """A time column in its own terms: Timestamps of dates, months of visit codes, ages in years, else plain numbers.

    NaN where a cell cannot be read.
    """
    if kind == "date":
        return parse_dates(cells, order).values
    if kind == "visit":
        return code_months(cells, codes)
    values = numbers(cells, decimal, codes=MISSING_TIMES[kind]).values
    return values / AGES_PER_YEAR[age_unit] if kind == "age" else values


def years_between(start: pd.Series, end: pd.Series, kind: TimeKind) -> pd.Series:
    """(end - start) in years of 365.25 days; dates count with their time of day."""
    if kind == "date":
        return (end - start).dt.total_seconds() / (DAYS_PER_YEAR * 86400)
    return (end - start) / PER_YEAR[kind]


def years_later(start: pd.Series, years: pd.Series, kind: TimeKind) -> pd.Series:
    """The reverse of `years_between`: the time that lies ``years`` after ``start``, dates to the second."""
    if kind == "date":
        return start + pd.to_timedelta((years * DAYS_PER_YEAR * 86400).round(), unit="s")
    return start + years * PER_YEAR[kind]


def whole_days(times: pd.Series, subject: pd.Series, start: pd.Series) -> pd.Series:
    """Timestamps rounded to days, unless a ``start`` has a time of day or two times of a subject share a day."""
    if (start.dropna() != start.dropna().dt.normalize()).any():
        return times
    rounded = times.dt.round("D")
    known = pd.DataFrame({"subject": subject, "day": rounded, "time": times}).dropna().drop_duplicates()
    return times if known.duplicated(["subject", "day"]).any() else rounded


def date_text(times: pd.Series, order: DateOrder | None = None, mark: str | None = None) -> pd.Series:
    """Timestamps as text, in days if all are whole days, else to the second; ``mark`` is between day and month."""
    known = times.dropna()
    clock = "" if (known == known.dt.normalize()).all() else "T%H:%M:%S" if order in (None, "ymd") else " %H:%M:%S"
    dates = DATE_FORMATS[order or "ymd"]
    dates = dates if mark is None else re.sub(r"[-/]", mark, dates)
    return times.dt.strftime(dates + clock)


def date_mark(cells: pd.Series) -> str | None:
    """What most dates have between day and month: ``.``, ``/`` or ``-``; None if they have none of these."""
    marks = cells.astype("string").str.extract(r"^\s*\d{1,4}([./-])\d{1,2}\1\d{1,4}", expand=False).dropna().mode()
    return str(marks.iloc[0]) if len(marks) else None
