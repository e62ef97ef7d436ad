"""ADNIMERGE, and what its columns are in TADPOLE."""

from __future__ import annotations

import re
from dataclasses import replace

from crow.cohort.catalogue import PET_LEFT_OUT
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name, mostly, present
from crow.cohort.options import listed
from crow.cohort.table import Table

TIMES = ("EXAMDATE", "Years_bl", "Month_bl", "M", "VISCODE")
COVARIATES = ("PTGENDER", "PTEDUCAT", "APOE4", "DX", "CDRSB", "ICV")
REGIONS = ("Ventricles", "Hippocampus", "WholeBrain", "Entorhinal", "Fusiform", "MidTemp")
PET = ("FDG", "AV45", "PIB")
ROSTER = re.compile(r"\d+(\.0)?")


def recognise(table: Table) -> bool:
    columns = by_name(table)
    has = columns.keys()
    marks = has & {"dx_bl", "years_bl", "month_bl", "examdate_bl", "origprot"}
    return {"rid", "viscode", "age"} <= has and bool(marks) and mostly(table, columns["rid"], ROSTER)


def read(table: Table, findings: Findings) -> Table:
    columns = by_name(table)
    regions = present(REGIONS, columns)
    if pet := present(PET, columns):
        findings.add(PET_LEFT_OUT, names=listed(pet), flag=",".join((*regions, *pet)))
    return replace(table, layout=adni_layout("adnimerge", table, regions))


def adni_layout(name: str, table: Table, regions: tuple[str, ...]) -> Layout:
    """The roles of ADNIMERGE's columns, with these regions."""
    columns = by_name(table)
    covariates = present(COVARIATES, columns)
    if "dx" not in columns:
        covariates += present(("DXCHANGE",), columns)
    subject = columns["rid"]
    session = columns.get("viscode2", columns["viscode"])
    used = {subject, session, columns.get("age"), *covariates, *regions}
    return Layout(
        name,
        adni=True,
        subject=subject,
        session=session,
        age=columns.get("age"),
        times=present(TIMES, columns),
        covariates=covariates,
        regions=regions,
        others=tuple(column for column in table.header if column not in used),
        visit_codes="adni",
    )


TABLE = KnownTable("ADNIMERGE", recognise, read)
