"""FreeSurfer's longitudinal ``qdec`` table: ``fsid`` is a visit, ``fsid-base`` its subject."""

from __future__ import annotations

from dataclasses import replace

from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name
from crow.cohort.table import Table


def recognise(table: Table) -> bool:
    columns = by_name(table)
    return {"fsid", "fsid_base"} <= columns.keys() and not table.frame([columns["fsid"]]).duplicated().any()


def read(table: Table, findings: Findings) -> Table:
    columns = by_name(table)
    return replace(table, layout=Layout("qdec", subject=columns["fsid_base"], session=columns["fsid"]))


TABLE = KnownTable("qdec", recognise, read)
