"""NACC's uniform data set: dates in three columns, and eights and nines for missing."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd

from crow.cohort.catalogue import PORTAL_CODES
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name, mostly, present
from crow.cohort.options import listed
from crow.cohort.split_dates import join_dates
from crow.cohort.table import Table

SUBJECT = re.compile(r"NACC\d{6}")
CODE = re.compile(r"-4(\.0+|\.4+)?|(8{1,4}|9{1,4})(\.[89]+|\.0+)?|9[5-8](\.0+)?")
"""Not available: -4, 8, 88, 888.8, 9999.999; 95 to 98 are reasons why a test was not done."""
KEPT = re.compile(r"(?i)naccid|naccvnum|visit(yr|mo|day|date)|.*date")
BOOKKEEPING = ("NACCADC", "PACKET", "FORMVER", "NACCVNUM", "NACCAVST", "NACCNVST", "NACCDAYS", "NACCFDYS", "NACCMRFI")
AGES = ("NACCAGE", "NACCAGEB")
FAR = 1.4


def recognise(table: Table) -> bool:
    columns = by_name(table)
    return "naccid" in columns and mostly(table, columns["naccid"], SUBJECT)


def read(table: Table, findings: Findings) -> Table:
    table = join_dates(table, findings)
    columns = by_name(table)
    frame, cleaned = table.frame(), []
    for name in frame.columns:
        codes = [] if KEPT.fullmatch(name) else missing_codes(frame[name])
        if codes:
            frame[name] = frame[name].mask(frame[name].isin(codes), "")
            cleaned.append(f"{name} ({listed(codes, 3)})")
    if cleaned:
        findings.add(PORTAL_CODES, names=listed(cleaned))
    age = next(iter(present(AGES, columns)), None)
    layout = Layout(
        "nacc",
        subject=columns["naccid"],
        session=columns.get("naccvnum"),
        age=age,
        times=tuple(name for name in table.header if re.fullmatch(r"(?i)(visit|mri?|exam|form)_?date", name)),
        left_out=dict.fromkeys(
            [name for name in present(BOOKKEEPING, columns) if name != columns.get("naccvnum")], "bookkeeping of NACC"
        ),
    )
    return replace(table.with_frame(frame), layout=layout)


def missing_codes(cells: pd.Series) -> list[str]:
    """The cells of a column that are codes: -4, and eights and nines that lie beyond every other number."""
    unique = [cell for cell in cells.unique() if cell]
    values = {cell: float(number) for cell in unique if pd.notna(number := pd.to_numeric(cell, errors="coerce"))}
    codes = [cell for cell in values if CODE.fullmatch(cell)]
    others = [value for cell, value in values.items() if cell not in codes]
    if not codes or not others:
        return [cell for cell in codes if cell.startswith("-4")]
    limit = max(max(others) * FAR, max(others) + 1)
    return [cell for cell in codes if values[cell] < 0 <= min(others) or values[cell] > limit]


TABLE = KnownTable("NACC", recognise, read)
