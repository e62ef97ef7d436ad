"""Ages from a date or year of birth and the date of a visit, and ages that contradict these."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from crow.cohort import names
from crow.cohort.catalogue import AGE_AGAINST_BIRTH, AGE_FROM_BIRTH
from crow.cohort.dates import is_dates, parse_dates
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.options import ReadOptions
from crow.cohort.parameters import MAX_AGE, MAX_AGE_DISAGREEMENT, MAX_ERROR_SHARE, MIN_SHARE
from crow.cohort.table import Table
from crow.cohort.times import AGES_PER_YEAR, DAYS_PER_YEAR
from crow.cohort.values import is_blank

AGE = "age"
YEARS = (1850, 2100)
MONTHS = (1, 12)
MONTH = re.compile(r"(.*_)?(birth_?)?(months?|mob|monat|geburtsmonat|mois|mes|mm|mo)(_.*)?")
MID_YEAR, MID_MONTH = (7, 2), 15
SLACK = {"date": 0.0, "month": 0.05, "year": 0.5}
"""Years by which a birth may differ from what the column tells."""
EXACT = {"date": "exact", "month": "exact to a month", "year": "exact to half a year"}


class Birth(NamedTuple):
    """When subjects were born: the columns, the days by row, and how exact they are."""

    columns: tuple[str, ...]
    days: pd.Series
    exact: str


def with_ages(table: Table, options: ReadOptions, findings: Findings) -> Table:
    """The table with a column of ages if it has none but a birth and a date; a finding for ages that contradict them.

    The columns of the birth are then no covariates any more.
    """
    birth = find_birth(table, options)
    date = _date(table, options) if birth else None
    if birth is None or date is None:
        return table
    visit = _days(table, date, options)
    years = (visit - birth.days).dt.total_seconds() / (DAYS_PER_YEAR * 86400)
    if not years.between(0, MAX_AGE).sum() >= MIN_SHARE * years.notna().sum() > 0:
        return table  # the dates are shifted, or are no births
    layout = table.layout or Layout("plain")
    left_out = dict.fromkeys(birth.columns, "a birth, from which the age is known")
    layout = replace(layout, left_out={**layout.left_out, **left_out})
    given = options.age or layout.age or next((name for name in table.header if names.is_age(name)), None)
    if given is not None and given in table.header:
        _compare(table, given, years, SLACK[birth.exact], findings)
        return replace(table, layout=layout)
    cells = years.map("{:.4f}".format).where(years.notna(), "").str.replace(".", table.decimal, regex=False).tolist()
    findings.add(AGE_FROM_BIRTH, AGE, birth=" and ".join(birth.columns), date=date, exact=EXACT[birth.exact])
    return replace(
        table.with_columns({AGE: cells}), layout=replace(layout, age_units={**layout.age_units, AGE: "years"})
    )


def find_birth(table: Table, options: ReadOptions) -> Birth | None:
    """A date of birth, else a year (with a month, if there is one), by name and values; None if there is none."""
    named = [name for name in table.header if names.matches(names.BIRTH, name)]
    for name in named:
        cells = table.column(name)
        if not _whole(cells, YEARS).notna().any() and is_dates(cells):
            return Birth((name,), _days(table, name, options), "date")
    parts = {name: table.column(name).str.lstrip("/") for name in named}  # AIBL writes /1940
    years = next((name for name, cells in parts.items() if _is_part(cells, YEARS)), None)
    if years is None:
        return None
    months = next(
        (n for n, cells in parts.items() if MONTH.fullmatch(names.normal(n)) and _is_part(cells, MONTHS)), None
    )
    year = _whole(parts[years], YEARS)
    month = _whole(parts[months], MONTHS) if months is not None else pd.Series(float("nan"), year.index)
    dates = pd.DataFrame({"year": year, "month": month.fillna(MID_YEAR[0]), "day": MID_MONTH})
    dates.loc[month.isna(), "day"] = MID_YEAR[1]
    days = pd.to_datetime(dates.dropna()).reindex(year.index)
    return Birth((years,) if months is None else (years, months), days, "year" if months is None else "month")


def _date(table: Table, options: ReadOptions) -> str | None:
    """The date of the visits: the one that a flag or the layout names, else the only one."""
    layout = table.layout or Layout("plain")
    for name in (options.time, *layout.times):
        if name is not None:
            return name if name in table.header and is_dates(table.column(name)) else None
    found = [name for name in table.header if names.is_date(name) and is_dates(table.column(name))]
    return found[0] if len(found) == 1 else None


def _days(table: Table, name: str, options: ReadOptions) -> pd.Series:
    cells = table.column(name)
    words = cells.mask(is_blank(cells), "")
    return parse_dates(words, options.date_order, day_first=table.decimal == ",").values


def _compare(table: Table, name: str, years: pd.Series, slack: float, findings: Findings) -> None:
    """A finding for ages that differ from those since birth, in the unit in which most agree.

    If most differ, the age is one at baseline or the dates are shifted, and nothing is reported.
    """
    ages = pd.to_numeric(table.column(name).str.replace(",", "."), errors="coerce")
    apart = pd.DataFrame({unit: (ages / per_year - years).abs() for unit, per_year in AGES_PER_YEAR.items()})
    unit = apart.median().idxmin()
    late = apart[unit] > MAX_AGE_DISAGREEMENT + slack
    if 0 < late.sum() < MAX_ERROR_SHARE * apart[unit].notna().sum():
        findings.add(AGE_AGAINST_BIRTH, name, ages.index[late])


def _is_part(cells: pd.Series, limits: tuple[int, int]) -> bool:
    filled = ~is_blank(cells)
    return bool(filled.any()) and bool(_whole(cells[filled], limits).notna().mean() >= MIN_SHARE)


def _whole(cells: pd.Series, limits: tuple[int, int]) -> pd.Series:
    values = pd.to_numeric(cells, errors="coerce")
    return values.where(values.between(*limits) & (values % 1 == 0))
