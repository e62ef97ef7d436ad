"""The NIMH data archive, ABCD before release 6 among it: a GUID per subject, the age in months."""

from __future__ import annotations

from dataclasses import replace

from crow.cohort import catalogue
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name, filled, present
from crow.cohort.options import listed
from crow.cohort.table import Table

KEYS = ("subjectkey", "src_subject_id")
TIMES = ("interview_date", "interview_age")
EVENTS = ("eventname", "visit", "visit_name", "timept", "session_id")
BOOKKEEPING = (
    "collection_id", "collection_title", "dataset_id", "study_cohort_name", "promoted_subjectkey", "dataset_id.2",
    "image03_id", "fmriresults01_id", "experiment_id", "image_file", "scan_object", "scan_type", "manifest",
)  # fmt: skip


def recognise(table: Table) -> bool:
    columns = by_name(table)
    times = present(TIMES, columns)
    dated = any(cell[0].isdigit() for name in times for cell in filled(table, name)[:20])
    return dated and bool(present(KEYS, columns))


def read(table: Table, findings: Findings) -> Table:
    columns = by_name(table)
    keys = present(KEYS, columns)
    frame = table.frame(list(keys))
    same = len(keys) == 2 and len(frame.drop_duplicates()) == frame[keys[0]].nunique() == frame[keys[1]].nunique()
    subject = keys[1] if same else keys[0]
    if len(keys) == 2:
        findings.add(catalogue.SUBJECT, subject, names=listed(keys), first=subject)
    ids = [name for name in (*keys, *present(BOOKKEEPING, columns)) if name != subject]
    layout = Layout(
        "nda",
        subject=subject,
        session=next(iter(present(EVENTS, columns)), None),
        age=columns.get("interview_age"),
        times=present(TIMES, columns),
        age_units={columns["interview_age"]: "months"} if "interview_age" in columns else {},
        left_out=dict.fromkeys(ids, "bookkeeping of the archive"),
    )
    return replace(table, layout=layout)


TABLE = KnownTable("the NIMH data archive", recognise, read)
