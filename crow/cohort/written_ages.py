"""Ages with a unit in every cell, as DICOM headers (``063Y``, ``018M``) and spreadsheets (``6 y 3 m``) have."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd

from crow.cohort.catalogue import WRITTEN_AGES
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.names import is_age
from crow.cohort.table import Table
from crow.cohort.times import AGES_PER_YEAR, AgeUnit
from crow.cohort.values import is_blank

WORDS: dict[AgeUnit, str] = {
    "years": r"years?|yrs?|yo|y|jahre?|j|ans?|a|anos?", "months": r"months?|mos?|mths?|monate?|mois|m|meses|mes",
    "weeks": r"weeks?|wks?|wochen?|w", "days": r"days?|tage?|jours?|d|dias?",
}  # fmt: skip
PART = {
    unit: rf"(?:(?P<{unit}>\d+(?:[.,]\d+)?)[\s_-]*(?:{words})(?![a-z])\.?[\s,;]*)?" for unit, words in WORDS.items()
}
WRITTEN = re.compile(
    rf"(?P<bound>[<>≤≥]=?)?\s*P?{''.join(PART.values())}(?:of age|old)?\s*(?P<more>\+)?", re.IGNORECASE
)
YEARS_AND_MONTHS = re.compile(r"(\d{1,3})\s*[;:]\s*(\d{1,2})")
"""``7;6`` is seven years and six months, as tests of children write it."""
YEARS: AgeUnit = "years"
MOSTLY = 0.9


def plain_ages(table: Table, findings: Findings) -> Table:
    """The table with ages in years, as plain numbers, in columns of ages whose cells have units."""
    found = {name: years for name in table.header if is_age(name) and (years := _years(table, name))}
    if not found:
        return table
    frame = table.frame()
    for name, years in found.items():
        example = next(cell for cell in frame[name] if cell in years)
        findings.add(WRITTEN_AGES, name, example=example, years=f"{float(years[example].strip('<>=≤≥')):g}")
        frame[name] = frame[name].map(lambda cell, years=years: years.get(cell, cell).replace(".", table.decimal))
    layout = table.layout or Layout("plain")
    units: dict[str, AgeUnit] = {**layout.age_units, **dict.fromkeys(found, YEARS)}
    return replace(table.with_frame(frame), layout=replace(layout, age_units=units))


def years_of(cell: str) -> float | None:
    """``063M`` -> 5.25, ``6 y 3 m`` and ``6;3`` -> 6.25; None for a cell without a unit."""
    if (pair := YEARS_AND_MONTHS.fullmatch(cell.strip())) and int(pair[2]) < 12:
        return int(pair[1]) + int(pair[2]) / 12
    match = WRITTEN.fullmatch(cell.strip())
    parts = {unit: match[unit] for unit in WORDS if match[unit]} if match else {}
    if not parts:
        return None
    return sum(float(number.replace(",", ".")) / AGES_PER_YEAR[unit] for unit, number in parts.items())


def _years(table: Table, name: str) -> dict[str, str]:
    """The age in years of every different cell with a unit; empty unless nearly all cells of text are such ages."""
    different = table.column(name).unique()
    words = pd.Series([cell for cell in different if not _is_number(cell)], dtype=object)
    words = words[~is_blank(words)]
    years = {cell: years for cell in words if (years := years_of(cell)) is not None}
    if not years or len(years) < MOSTLY * len(words):
        return {}
    return {cell: _bound(cell) + f"{age:.4f}" for cell, age in years.items()}


def _bound(cell: str) -> str:
    match = WRITTEN.fullmatch(cell.strip())
    if match is None:
        return ""
    return match["bound"] or (">=" if match["more"] else "")


def _is_number(cell: str) -> bool:
    return cell.replace(",", ".").replace(".", "", 1).isdigit()
