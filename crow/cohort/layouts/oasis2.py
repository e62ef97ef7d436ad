"""OASIS-2: one row per scan, the days since the first in ``MR Delay``."""

from __future__ import annotations

import re
from dataclasses import replace

from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name, mostly, present
from crow.cohort.table import Table

COVARIATES = ("Group", "M/F", "Hand", "EDUC", "SES", "MMSE", "CDR", "eTIV")
REGIONS = ("nWBV",)
NUMBER = re.compile(r"-?\d+(\.0)?")


def recognise(table: Table) -> bool:
    columns = by_name(table)
    return {"subject_id", "mri_id", "mr_delay"} <= columns.keys() and mostly(table, columns["mr_delay"], NUMBER)


def read(table: Table, findings: Findings) -> Table:
    columns = by_name(table)
    covariates, regions = present(COVARIATES, columns), present(REGIONS, columns)
    chosen = {*covariates, *regions, *present(("Subject ID", "MRI ID", "MR Delay", "Age"), columns)}
    layout = Layout(
        "oasis2",
        subject=columns["subject_id"],
        session=columns["mri_id"],
        age=columns.get("age"),
        times=(columns["mr_delay"],),
        covariates=covariates,
        regions=regions,
        others=tuple(name for name in table.header if name not in chosen),
    )
    return replace(table, layout=layout)


TABLE = KnownTable("OASIS-2", recognise, read)
