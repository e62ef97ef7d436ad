"""Dates whose year, month and day, or time of day, stand in columns of their own."""

from __future__ import annotations

import re
from collections import defaultdict

import pandas as pd

from crow.cohort.catalogue import SPLIT_DATE
from crow.cohort.findings import Findings
from crow.cohort.names import normal
from crow.cohort.table import Table
from crow.cohort.values import is_blank

PART = re.compile(
    r"(?P<before>.*?)_?(?P<part>year|yr|month|mon|mo|mth|day|dy|dd|mm|yyyy|jahr|monat|tag|annee|mois|jour|ano|mes|dia)(?P<after>(_.*)?)"
)
KINDS = {
    "year": "year", "yr": "year", "yyyy": "year", "jahr": "year", "annee": "year", "ano": "year",
    "month": "month", "mon": "month", "mo": "month", "mth": "month", "mm": "month", "monat": "month", "mois": "month",
    "mes": "month", "day": "day", "dy": "day", "dd": "day", "tag": "day", "jour": "day", "dia": "day",
}  # fmt: skip
LIMITS = {"year": (1850, 2150), "month": (1, 12), "day": (1, 31)}
BIRTH = re.compile(r"(.*_)?(birth|dob|geburts?|naissance|nacimiento)(_.*)?|birth.*|geburts.*")
DAY_NAME = re.compile(r"(?P<before>.*?)_?(?:date|datum|fecha|day)(?P<after>(_.*)?)")
CLOCK_NAME = re.compile(r"(?P<before>.*?)_?(?:time|uhrzeit|zeit|heure|hora|clock|time_of_day)(?P<after>(_.*)?)")
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?")
MIDDLE = 15
VALID = 0.8


def join_dates(table: Table, findings: Findings) -> Table:
    """The table with one date instead of the columns of a year, a month and (if there is one) a day.

    Parts belong together if their names differ only in the word for the part: ``VISITYR, VISITMO, VISITDAY``. Without a
    day, or with an impossible one, the date is the 15th. A date of birth stays as it is.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for name in table.header:
        if (match := PART.fullmatch(normal(name))) and not BIRTH.fullmatch(normal(name)):
            groups[match["before"] + match["after"]].setdefault(KINDS[match["part"]], name)
    for stem, parts in groups.items():
        if {"year", "month"} <= parts.keys() and _are_parts(table, parts):
            table = _joined(table, stem, parts, findings)
    return _with_clocks(table, findings)


def _with_clocks(table: Table, findings: Findings) -> Table:
    """The table with the time of day behind its date: ``scan_date, scan_time``."""
    days = {match["before"] + match["after"]: n for n in table.header if (match := DAY_NAME.fullmatch(normal(n)))}
    for name in table.header:
        match = CLOCK_NAME.fullmatch(normal(name))
        day = days.get(match["before"] + match["after"]) if match else None
        if day is None or day == name:
            continue
        frame = table.frame()
        clock = frame[name].mask(is_blank(frame[name]), "")
        if not clock.any() or not clock[clock != ""].str.fullmatch(CLOCK).all() or frame[day].str.contains(":").any():
            continue
        frame[day] = (frame[day] + " " + clock).where((clock != "") & ~is_blank(frame[day]), frame[day])
        findings.add(SPLIT_DATE, day, names=f"{day}, {name}")
        return table.with_frame(frame.drop(columns=name))
    return table


def _are_parts(table: Table, parts: dict[str, str]) -> bool:
    """Whether nearly all filled cells of the year and the month can be one."""
    for kind in ("year", "month"):
        filled = ~is_blank(table.frame([parts[kind]])[parts[kind]])
        if not filled.any() or _numbers(table, parts[kind], kind)[filled].notna().mean() < VALID:
            return False
    return True


def _numbers(table: Table, name: str, kind: str) -> pd.Series:
    values = pd.to_numeric(table.column(name), errors="coerce")
    low, high = LIMITS[kind]
    return values.where(values.between(low, high) & (values % 1 == 0))


def _joined(table: Table, stem: str, parts: dict[str, str], findings: Findings) -> Table:
    year, month = (_numbers(table, parts[kind], kind) for kind in ("year", "month"))
    day = _numbers(table, parts["day"], "day") if "day" in parts else pd.Series(MIDDLE, year.index)
    pieces = pd.DataFrame({"year": year, "month": month, "day": day.fillna(MIDDLE)})
    dates = pd.to_datetime(pieces.dropna(), errors="coerce").dt.strftime("%Y-%m-%d").reindex(year.index).fillna("")
    made = f"{stem}_date" if stem else "date"
    if made in table.header:
        return table
    frame = table.frame()
    place = frame.columns.get_loc(parts["year"])
    assert isinstance(place, int)
    frame.insert(place, made, dates)
    findings.add(SPLIT_DATE, made, names=", ".join(parts.values()))
    return table.with_frame(frame.drop(columns=list(parts.values())))
