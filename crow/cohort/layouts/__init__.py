"""The tables of portals and programs: one file each, one line here.

The first that recognises a table reads it; a table that none does is plain.
"""

from __future__ import annotations

from dataclasses import replace

from crow.cohort.catalogue import LAYOUT
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts import (
    abcd,
    adni,
    adnimerge,
    freesurfer,
    nacc,
    nda,
    oasis2,
    oasis3,
    ppmi,
    qdec,
    redcap,
    synthseg,
    tadpole,
    ukb,
)
from crow.cohort.layouts.known import KnownTable
from crow.cohort.split_dates import join_dates
from crow.cohort.table import Table
from crow.cohort.visit_labels import take_apart

LAYOUTS: dict[str, KnownTable] = {
    "tadpole": tadpole.TABLE,
    "adnimerge": adnimerge.TABLE,
    "adni": adni.TABLE,
    "oasis2": oasis2.TABLE,
    "oasis3": oasis3.TABLE,
    "ukb": ukb.TABLE,
    "abcd": abcd.TABLE,
    "nda": nda.TABLE,
    "nacc": nacc.TABLE,
    "ppmi": ppmi.TABLE,
    "redcap": redcap.TABLE,
    "freesurfer": freesurfer.TABLE,
    "synthseg": synthseg.TABLE,
    "qdec": qdec.TABLE,
}


def read_layout(table: Table, findings: Findings) -> Table:
    """The table with its layout: rows are visits (or subjects, if it is wide), and each column has one name.

    Dates in several columns become one, and a label that holds subject and session is taken apart.
    """
    for name, known in LAYOUTS.items():
        if known.recognise(table):
            findings.add(LAYOUT, name=known.title)
            read = known.read(table, findings)
            assert read.layout is not None and read.layout.name == name
            return read
    table = take_apart(join_dates(table, findings), findings)
    return table if table.layout else replace(table, layout=Layout("plain"))
