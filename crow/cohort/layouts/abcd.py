"""ABCD since release 6: ``session_id`` is ``ses-02A`` for year 2 and ``ses-02M`` for the middle of the next year."""

from __future__ import annotations

import re
from dataclasses import replace

from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name, mostly
from crow.cohort.table import Table
from crow.cohort.visit_codes import ABCD, whose_codes

SUBJECT = re.compile(r"(?:sub-)?(?:NDAR_?INV)?[A-Za-z0-9]{8}")
DOMAIN = re.compile(r"(ab|mr|mh|nc|ph|fc|le|nt|ns|su|gn|ir)_[a-z]{1,2}_\w+")
"""Release 6 names its columns by domain, source and table: ``mr_y_smri__vol__aseg__hc__lh_sum``."""
AGE = re.compile(r"ab_g_dyn__visit_age|.*__visit_age")
DATE = re.compile(r"ab_g_dyn__visit_dtt|.*__visit_(dtt|date)")


def recognise(table: Table) -> bool:
    columns = by_name(table)
    session = columns.get("session_id")
    if session is None or "participant_id" not in columns or not mostly(table, session, ABCD):
        return False
    named = any(DOMAIN.fullmatch(name) for name in table.header)
    return named or whose_codes(table.column(session)) == "abcd"


def read(table: Table, findings: Findings) -> Table:
    columns = by_name(table)
    times = [name for pattern in (DATE, AGE) for name in table.header if pattern.fullmatch(name)]
    layout = Layout(
        "abcd",
        subject=columns["participant_id"],
        session=columns["session_id"],
        age=next((name for name in table.header if AGE.fullmatch(name)), None),
        times=(*times, columns["session_id"]) if times else (),
        visit_codes="abcd",
    )
    return replace(table, layout=layout)


TABLE = KnownTable("ABCD", recognise, read)
