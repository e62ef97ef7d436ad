"""Dates, visit codes and units: a table's own time as numbers or days."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

import pandas as pd

from crow.cohort.values import is_blank, numbers

TimeKind = Literal["age", "years", "months", "days", "date", "visit"]
DateOrder = Literal["ymd", "mdy", "dmy"]

PER_YEAR = {"age": 1.0, "years": 1.0, "months": 12.0, "days": 365.25, "visit": 12.0}
SOME_DAY = pd.Timestamp(2000, 1, 1)
YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?|(\d{4})(\d{2})(\d{2})")
YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})[-/.](\d{4}|\d{2})(?: .*)?")
NAMED_MONTH = ("%d-%b-%Y", "%d %b %Y", "%d%b%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y")

NO_VISIT = frozenset({"nv", "no visit"})
SCREENING = frozenset({"sc", "scmri", "screening"})
BASELINE = frozenset({"bl", "baseline"})
ADNI2_MONTHS = {"v01": 0, "v02": 0, "v03": 0, "v04": 3, "v05": 6, "v11": 12, "v21": 24, "v31": 36, "v41": 48, "v51": 60}
PREFIX = r"(?:.*[_\-\s])?"
COUNTED = (
    (re.compile(PREFIX + r"m(?:onth)?s?[\s_-]?(\d+(?:\.\d+)?)"), 1.0),
    (re.compile(r"(\d+(?:\.\d+)?)[\s_-]?m(?:onth)?s?"), 1.0),
    (re.compile(PREFIX + r"y(?:ear)?s?[\s_-]?(\d+(?:\.\d+)?)"), 12.0),
    (re.compile(PREFIX + r"d(\d{4,5})"), 12 / 365.25),
)


def parse_dates(cells: pd.Series, order: DateOrder | None = None) -> tuple[pd.Series, DateOrder, bool]:
    """Days (NaT where not a date), the order of day, month and year, and whether that order was a guess.

    ``2011-03-05`` (any time of day is cut off), ``20110305``, ``3/5/2011``, ``5.3.2011``, ``05-Mar-2011``. Without
    ``order``, a first number above 12 anywhere means the day comes first; with nothing to tell, the month does.
    """
    unique = [cell for cell in cells.unique() if cell]
    found, guessed = (order, False) if order else _order(unique)
    days = {cell: _day(cell, found) for cell in unique}
    return pd.Series([days.get(cell) for cell in cells], cells.index, dtype="datetime64[us]"), found, guessed


def visit_months(code: str, adni: bool = False) -> float | None:
    """Months since baseline that a visit code tells; None for a code that tells no time (``nv``, ``uns1``, ``init``).

    ``bl``, ``sc``, ``scmri`` -> 0; ``m06``, ``M012``, ``6 months``; ``y1``, ``year 1``; OASIS-3's ``d0757`` (days). In
    ADNI tables also ADNI-2's ``v03``. A label like ``wave2`` or ``pre`` tells no time.
    """
    code = code.strip().lower().removeprefix("ses-")
    if code in SCREENING or code in BASELINE:
        return 0.0
    if adni and code in ADNI2_MONTHS:
        return float(ADNI2_MONTHS[code])
    for pattern, months in COUNTED:
        if match := pattern.fullmatch(code):
            return float(match[1]) * months
    return None


def own_times(
    cells: pd.Series, kind: TimeKind, decimal: str = ".", adni: bool = False, order: DateOrder | None = None
) -> pd.Series:
    """A time column in its own terms: Timestamps of dates, months of visit codes, else numbers; NaN where unread."""
    if kind == "date":
        return parse_dates(cells, order)[0]
    if kind == "visit":
        months = {code: visit_months(code, adni) for code in cells.unique()}
        return cells.map(months).astype(float)
    return numbers(cells, decimal, adni).values


def years_between(start: pd.Series, end: pd.Series, kind: TimeKind) -> pd.Series:
    """(end - start) in years of 365.25 days."""
    if kind == "date":
        return (end - start).dt.days / 365.25
    return (end - start) / PER_YEAR[kind]


def is_dates(cells: pd.Series) -> bool:
    """Whether nearly every filled cell (of the first thousand different ones) is a date."""
    filled = cells[~is_blank(cells)].drop_duplicates()[:1000]
    return len(filled) > 0 and parse_dates(filled)[0].notna().mean() >= 0.9


def is_visit_codes(cells: pd.Series, adni: bool = False) -> bool:
    """Whether most filled cells are visit codes that tell a time, at more than one time."""
    filled = cells[~is_blank(cells)]
    months = own_times(filled, "visit", adni=adni)
    return len(filled) > 0 and months.notna().mean() >= 0.5 and len(months.dropna().unique()) > 1


def _order(unique: list[str]) -> tuple[DateOrder, bool]:
    parts = [match for cell in unique if (match := YEAR_LAST.fullmatch(cell))]
    if len(parts) < len(unique) / 2:
        return "ymd", False
    if any(int(part[1]) > 12 for part in parts):
        return "dmy", False
    if any(int(part[3]) > 12 for part in parts):
        return "mdy", False
    dotted = all(part[2] == "." for part in parts)
    return ("dmy" if dotted else "mdy"), not dotted


def _day(cell: str, order: DateOrder) -> datetime | None:
    try:
        if match := YEAR_FIRST.fullmatch(cell):
            year, month, day = (int(part) for part in match.groups() if part)
            return datetime(year, month, day)
        if match := YEAR_LAST.fullmatch(cell):
            first, second, year = int(match[1]), int(match[3]), int(match[4])
            year += (1900 if year >= 69 else 2000) if len(match[4]) == 2 else 0
            return datetime(year, second, first) if order == "dmy" else datetime(year, first, second)
    except ValueError:
        return None
    for form in NAMED_MONTH:
        try:
            return datetime.strptime(cell, form)
        except ValueError:
            continue
    return None
