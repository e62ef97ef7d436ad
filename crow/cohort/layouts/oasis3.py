"""OASIS-3 and OASIS-4: sessions such as ``OAS30001_MR_d0757``, whose day counts from the subject's entry."""

from __future__ import annotations

import re
from dataclasses import replace

from crow.cohort.catalogue import TAKEN_APART
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name, filled, mostly, present
from crow.cohort.table import Table

SUBJECT = re.compile(r"(?:sub-)?OAS[34]\d{4}")
LABEL = re.compile(r"(?:sub-)?(OAS[34]\d{4})_(?:(?:sess|ses)-)?(.*d\d{4,5})(?:_.*)?")
SUBJECTS = ("OASISID", "OASIS_ID", "Subject", "subject_id", "participant_id", "Subject_accession")
DAYS = ("days_to_visit", "days_to_scan", "days_from_entry")
MADE = "OASISID"


def recognise(table: Table) -> bool:
    return any(mostly(table, name, SUBJECT) for name in table.header[:8]) or _labels(table) is not None


def read(table: Table, findings: Findings) -> Table:
    columns = by_name(table)
    labels = _labels(table)
    subject = next((name for name in table.header[:8] if mostly(table, name, SUBJECT)), None)
    if subject is None:
        assert labels is not None
        taken = [match[1] if (match := LABEL.fullmatch(cell)) else "" for cell in table.column(labels)]
        table, subject = table.with_columns({MADE: taken}), MADE
        first = next(iter(filled(table, labels)))
        findings.add(TAKEN_APART, labels, label=first, subject=taken[0], session=first)
    ids = [name for name in table.header if name != labels and mostly(table, name, LABEL)]
    days = present(DAYS, columns)
    layout = Layout(
        "oasis3",
        subject=subject,
        session=labels,
        times=(*days, labels) if labels else days,
        left_out=dict.fromkeys(ids, "another label of the session"),
    )
    return replace(table, layout=layout)


def _labels(table: Table) -> str | None:
    return next((name for name in table.header if mostly(table, name, LABEL)), None)


TABLE = KnownTable("OASIS-3", recognise, read)
