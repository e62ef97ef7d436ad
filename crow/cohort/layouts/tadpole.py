"""TADPOLE's D1 and D2: ADNIMERGE's columns, and regions of PET beside their sizes."""

from __future__ import annotations

import re
from dataclasses import replace

from crow.cohort.catalogue import PET_REGIONS, SIZE_COLUMNS
from crow.cohort.findings import Findings
from crow.cohort.layouts import adnimerge
from crow.cohort.layouts.adnimerge import ROSTER, adni_layout
from crow.cohort.layouts.known import KnownTable, by_name, mostly, present
from crow.cohort.names import SIZE
from crow.cohort.options import listed
from crow.cohort.table import Table

PET_COLUMN = re.compile(
    r"(CTX_[LR]H_(?!UNKNOWN)\w+|(LEFT|RIGHT)_(ACCUMBENS_AREA|AMYGDALA|CAUDATE|HIPPOCAMPUS|PALLIDUM|PUTAMEN|THALAMUS_PROPER))"
    r"_UCBERKELEYAV45\w*"
)
PET_TABLE = re.compile(r".*_UCBERKELEYAV45.*")


def recognise(table: Table) -> bool:
    columns = by_name(table)
    has = columns.keys()
    marks = {"d1", "d2"} <= has or any(PET_TABLE.fullmatch(name) for name in table.header)
    return {"rid", "viscode"} <= has and marks and mostly(table, columns["rid"], ROSTER)


def read(table: Table, findings: Findings) -> Table:
    columns = by_name(table)
    regions = tuple(name for name in table.header if PET_COLUMN.fullmatch(name) and not SIZE.fullmatch(name))
    sizes = [name for name in table.header if PET_TABLE.fullmatch(name) and SIZE.fullmatch(name)]
    if not regions:
        made = adnimerge.read(table, findings)
        assert made.layout is not None
        return replace(made, layout=replace(made.layout, name="tadpole"))
    volumes = ",".join(present(adnimerge.REGIONS, columns))
    more = f"; for the volumes, add --regions {volumes}" if volumes else ""
    findings.add(PET_REGIONS, count=len(regions), more=more)
    if sizes:
        findings.add(SIZE_COLUMNS, count=len(sizes), names=listed(sizes, 3))
    return replace(table, layout=adni_layout("tadpole", table, regions))


TABLE = KnownTable("TADPOLE", recognise, read)
