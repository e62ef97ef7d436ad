"""Descriptions of a table's columns: a second header row, or a JSON file beside it, as BIDS writes them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from crow.cohort.age_units import unit_of, unit_of_words
from crow.cohort.catalogue import BAD_SIDECAR, SECOND_HEADER, SIDECAR
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.names import is_age
from crow.cohort.options import listed
from crow.cohort.table import Table
from crow.cohort.times import AgeUnit
from crow.cohort.values import is_blank
from crow.files import read_text

ENDINGS = (".csv", ".tsv", ".txt", ".gz", ".xlsx", ".parquet")
MISSING_WORDS = (
    "missing", "not available", "n/a", "na", "unknown", "not known", "no data", "not applicable", "refused", "not done",
    "prefer not to answer", "do not know", "don't know", "not collected", "not assessed", "not recorded",
)  # fmt: skip
MIN_NUMBERS = 3
LABEL = re.compile(r"\D{0,3}\d{2}")


@dataclass(frozen=True)
class Descriptions:
    """Units as they are written, and the levels of codes with their labels, by column."""

    units: Mapping[str, str] = field(default_factory=dict)
    levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __or__(self, other: Descriptions) -> Descriptions:
        return Descriptions({**self.units, **other.units}, {**self.levels, **other.levels})


def without_second_header(table: Table, findings: Findings) -> tuple[Table, Descriptions]:
    """The table without a first row that describes the columns, and what that row tells of units.

    It is one if every column of numbers has text there, and no cell of it is a number or a date.
    """
    first, others = list(table.cells.iloc[0]), table.cells.iloc[1:51].to_numpy().tolist()
    if len(table.cells) < MIN_NUMBERS + 1 or any(_is_value(cell) for cell in first):
        return table, Descriptions()
    numeric = [k for k in range(len(first)) if _numbers([row[k] for row in others])]
    if not numeric or not all(first[k].strip() for k in numeric):
        return table, Descriptions()
    if is_blank(pd.Series([first[k] for k in numeric], dtype=object)).any():
        return table, Descriptions()
    findings.add(SECOND_HEADER, rows=table.cells.index[:1])
    texts = {name: cell.strip() for name, cell in zip(table.header, first, strict=True) if cell.strip()}
    return table.with_frame(table.cells.iloc[1:]), Descriptions(texts)


def sidecar_of(path: Path, findings: Findings) -> Descriptions:
    """The JSON file beside a table, of the same name; nothing if there is none."""
    stem = path
    while stem.suffix.lower() in ENDINGS:
        stem = stem.with_suffix("")
    return read_sidecar(stem.with_name(f"{stem.name}.json"), findings)


def read_sidecar(path: Path, findings: Findings) -> Descriptions:
    """``Units`` and ``Levels`` of a JSON file in the manner of BIDS; a file that cannot be read is a warning."""
    if not os.path.lexists(path):
        return Descriptions()
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        findings.add(BAD_SIDECAR, name=path.name, error=error)
        return Descriptions()
    columns = (
        {name: facts for name, facts in found.items() if isinstance(facts, dict)} if isinstance(found, dict) else {}
    )
    units = {name: unit for name, facts in columns.items() if (unit := _unit(name, facts))}
    levels = {name: given for name, facts in columns.items() if (given := _levels(facts.get("Levels")))}
    if units or levels:
        what = [f"units of {listed(units)}" if units else "", f"levels of {listed(levels)}" if levels else ""]
        findings.add(SIDECAR, name=path.name, what=" and ".join(part for part in what if part))
    return Descriptions(units, levels)


def described(table: Table, given: Descriptions) -> Table:
    """The table with what is known of its columns: units of ages in its layout, levels for missing as empty cells."""
    units = age_units(table.header, given)
    categories = tuple(name for name in table.header if name in given.levels)
    layout = table.layout or Layout("plain")
    layout = replace(
        layout, age_units={**layout.age_units, **units}, units={**layout.units, **given.units},
        categories=(*layout.categories, *categories),
    )  # fmt: skip
    missing = {name: codes for name in categories if (codes := _missing(given.levels[name]))}
    if missing:
        frame = table.frame()
        for name, codes in missing.items():
            frame[name] = frame[name].mask(frame[name].isin(codes), "")
        table = table.with_frame(frame)
    return replace(table, layout=layout)


def age_units(header: list[str], given: Descriptions) -> dict[str, AgeUnit]:
    """The units of the ages among some columns."""
    return {name: unit for name in header if is_age(name) and (unit := unit_of(given.units.get(name, "")))}


def _unit(name: str, facts: dict[str, Any]) -> str:
    units = facts.get("Units") or facts.get("units") or facts.get("Unit")
    if units:
        return str(units)
    return (
        str(facts.get("Description") or "")
        if is_age(name) and unit_of_words(str(facts.get("Description") or ""))
        else ""
    )


def _levels(levels: Any) -> dict[str, str]:
    if isinstance(levels, list):
        return {str(level): str(level) for level in levels}
    if not isinstance(levels, dict):
        return {}
    return {
        str(code): str(label.get("Description", code)) if isinstance(label, dict) else str(label)
        for code, label in levels.items()
    }


def _missing(levels: Mapping[str, str]) -> list[str]:
    return [code for code, label in levels.items() if label.strip().lower().rstrip(".") in MISSING_WORDS]


def _is_value(cell: str) -> bool:
    """Whether a cell is a number, a date or the name of a subject; a unit such as ``mm3`` is none."""
    return bool(_numbers([cell], 1)) or (LABEL.match(cell) is not None and len(cell) <= 12)


def _numbers(cells: list[str], least: int = MIN_NUMBERS) -> bool:
    """Whether the filled cells, at least so many, are numbers."""
    filled = pd.Series([cell.strip() for cell in cells], dtype=object)
    filled = filled[~is_blank(filled)]
    return len(filled) >= least and bool(pd.to_numeric(filled.str.replace(",", "."), errors="coerce").notna().all())
