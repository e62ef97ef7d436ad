"""PPMI: visits are codes (``BL``, ``V04`` is month 12), dates have a month and a year."""

from __future__ import annotations

import re
from dataclasses import replace

from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name, mostly, present
from crow.cohort.table import Table

EVENT = re.compile(r"SC|BL|V\d\d|ST|U\d\d|UT\d|R\d\d|RS\d|PW|TR|LOG|X\d\d|T\d\d")
DATES = ("INFODT", "visit_date", "EXAMDT", "MRIDATE", "scan_date")
AGES = ("AGE_AT_VISIT", "age_at_visit", "age")
BOOKKEEPING = ("REC_ID", "PAG_NAME", "ORIG_ENTRY", "LAST_UPDATE", "QUERY", "SITE_APRV", "COHORT_DEFINITION")


def recognise(table: Table) -> bool:
    columns = by_name(table)
    return {"patno", "event_id"} <= columns.keys() and mostly(table, columns["event_id"], EVENT)


def read(table: Table, findings: Findings) -> Table:
    columns = by_name(table)
    layout = Layout(
        "ppmi",
        subject=columns["patno"],
        session=columns["event_id"],
        age=next(iter(present(AGES, columns)), None),
        times=(*present(DATES, columns), columns["event_id"]),
        left_out=dict.fromkeys(present(BOOKKEEPING, columns), "bookkeeping of PPMI"),
        visit_codes="ppmi",
    )
    return replace(table, layout=layout)


TABLE = KnownTable("PPMI", recognise, read)
