"""SynthSeg's volumes (``--vol``): a row per file, named in the first column."""

from __future__ import annotations

from dataclasses import replace

from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name
from crow.cohort.table import Table
from crow.cohort.visit_labels import SESSION, SUBJECT, bare, parts_of, report_parts

MARKS = {"total_intracranial", "left_cerebral_white_matter", "left_hippocampus", "left_lateral_ventricle"}
MIN_MARKS = 3


def recognise(table: Table) -> bool:
    return len(MARKS & by_name(table).keys()) >= MIN_MARKS and "total_intracranial" in by_name(table)


def read(table: Table, findings: Findings) -> Table:
    first = table.header[0]
    frame = table.frame()
    names = frame[first].map(bare)
    apart = parts_of(names)
    layout = Layout("synthseg", subject=first)
    if apart is None or frame[first].duplicated().any():
        return replace(table, layout=layout)
    report_parts(first, names.iloc[0], apart, findings)
    frame = frame.drop(columns=first)
    made = table.with_frame(apart.join(frame))
    return replace(made, layout=replace(layout, subject=SUBJECT, session=SESSION))


TABLE = KnownTable("SynthSeg's volumes", recognise, read)
