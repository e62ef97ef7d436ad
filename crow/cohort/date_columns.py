"""Dates that are no text: day numbers, seconds and years, and dates that stand for a missing one."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort import names
from crow.cohort.catalogue import NUMBERED_DATE, PLACEHOLDER_DATE
from crow.cohort.dates import parse_dates
from crow.cohort.findings import Findings
from crow.cohort.options import listed
from crow.cohort.parameters import MIN_PLACEHOLDER_YEARS, MIN_SHARE
from crow.cohort.table import Table
from crow.cohort.values import is_blank, parsed

DAY, SECOND, MILLISECOND = 86_400_000, 1000, 1
COUNTS = (
    ("days since 1899-12-30, as in Excel", datetime(1899, 12, 30), DAY),
    ("days since 1960-01-01, as in SAS and Stata", datetime(1960, 1, 1), DAY),
    ("days since 1970-01-01, as in R", datetime(1970, 1, 1), DAY),
    ("days since year 0, as in MATLAB", datetime(1970, 1, 1), (DAY, 719_529)),
    ("seconds since 1970-01-01, as in Unix", datetime(1970, 1, 1), SECOND),
    ("milliseconds since 1970-01-01", datetime(1970, 1, 1), MILLISECOND),
    ("seconds since 1582-10-14, as in SPSS", datetime(1582, 10, 14), SECOND),
)
"""The counts in the order of preference, their start, and their unit in milliseconds (with a shift of the start)."""
FIRST_YEAR = 1985
"""Counts are chosen so that most dates lie between this year and the present."""
PLACEHOLDERS = frozenset(
    f"{year:04d}-{month:02d}-{day:02d}"
    for year, month, day in (
        (1, 1, 1), (1111, 11, 11), (1582, 10, 14), (1582, 10, 15), (1753, 1, 1), (1800, 1, 1), (1899, 12, 30),
        (1899, 12, 31), (1900, 1, 1), (1901, 1, 1), (1960, 1, 1), (1970, 1, 1), (2099, 12, 31), (2999, 12, 31),
        (8888, 8, 8), (9999, 1, 1), (9999, 9, 9), (9999, 12, 31),
    )
)  # fmt: skip


def plain_dates(table: Table, findings: Findings) -> Table:
    """The table with its dates in numbers as text, and without dates that stand for a missing one."""
    found: dict[str, pd.Series] = {}
    for name in table.header:
        if names.matches(names.DATE, name) or names.matches(names.BIRTH, name):
            cells = table.column(name)
            made = _counted(name, cells, findings)
            made = _without_placeholders(name, cells if made is None else made, findings)
            if made is not cells:
                found[name] = made
    return table.with_frame(table.frame().assign(**found)) if found else table


def _counted(name: str, cells: pd.Series, findings: Findings) -> pd.Series | None:
    """Dates instead of the numbers of a column, None if it holds other things, or numbers that are read as dates."""
    values = parsed(cells)
    known = np.isfinite(values)
    if not known.any() or known.sum() < MIN_SHARE * int((~is_blank(cells, values)).sum()):
        return None
    if (made := _from_digits(cells, values, known)) is not None:
        return made
    last = datetime.now().timestamp() * 1000 + 366 * DAY
    first = datetime(FIRST_YEAR, 1, 1).timestamp() * 1000
    for number, (what, start, unit) in enumerate(COUNTS):
        size, shift = unit if isinstance(unit, tuple) else (unit, 0)
        times = (values - shift) * size + (start - datetime(1970, 1, 1)).total_seconds() * 1000
        if np.mean((times[known] >= first) & (times[known] <= last)) < MIN_SHARE:
            continue
        if number == 0:
            return None  # `crow.cohort.dates` reads the day numbers of a spreadsheet
        stamps = pd.to_datetime(pd.Series(np.where(known, times, np.nan), cells.index), unit="ms", errors="coerce")
        text = stamps.dt.strftime("%Y-%m-%dT%H:%M:%S").str.removesuffix("T00:00:00")
        findings.add(NUMBERED_DATE, name, example=f"{cells[known].iloc[0]} is {text[known].iloc[0]}", what=what)
        return text.where(text.notna(), "")
    return None


def _from_digits(cells: pd.Series, values: NDArray[np.float64], known: NDArray[np.bool_]) -> pd.Series | None:
    """``05032011`` and ``5032011``, day and month before the year, with marks; None for all else, also ``20110305``."""
    whole = cells[known]
    if not whole.str.fullmatch(r"\d{7,8}").all():
        return None
    digits = whole.str.zfill(8)
    year, one, two = (digits.str.slice(*part).astype(int) for part in ((4, 8), (0, 2), (2, 4)))
    last_first = digits.str.slice(0, 4).astype(int).between(1900, 2100) & digits.str.slice(4, 6).astype(int).between(
        1, 12
    )
    fits = year.between(1900, 2100) & one.between(1, 31) & two.between(1, 31) & ((one <= 12) | (two <= 12))
    if fits.mean() < MIN_SHARE or last_first.mean() >= MIN_SHARE:
        return None
    made = cells.copy()
    made[known] = digits.str.replace(r"(..)(..)(....)", r"\1/\2/\3", regex=True)
    return made


def _without_placeholders(name: str, cells: pd.Series, findings: Findings) -> pd.Series:
    """The dates without 1900-01-01, 9999-12-31 and similar ones if those lie far from all others."""
    levels = pd.Series(cells.unique(), dtype=object)
    candidates = levels[
        levels.str.contains(r"0001|1111|1582|1753|1800|1899|190[01]|19[67]0|2099|2999|8888|9999|^0$|^1$")
    ]
    if candidates.empty:
        return cells
    times = parse_dates(levels).values
    days = times.dt.strftime("%Y-%m-%d")
    suspect = days.isin(PLACEHOLDERS) & levels.isin(candidates)
    rest = times[~suspect].dropna().dt.year
    if not suspect.any() or rest.empty:
        return cells
    low, high = rest.quantile([0.01, 0.99], interpolation="linear")
    low, high = low - MIN_PLACEHOLDER_YEARS, high + MIN_PLACEHOLDER_YEARS
    codes = levels[suspect & ~times.dt.year.between(low, high)]
    where = cells.isin(codes)
    if not where.any():
        return cells
    findings.add(PLACEHOLDER_DATE, name, cells.index[where.to_numpy()], codes=listed(codes, 3))
    return cells.mask(where, "")
