"""ADNI's own tables, as the portal hands them out: MRI and PET summaries, and the builder's tables since October 2024.

A table of FreeSurfer (UCSFFSX) names its regions ``ST29SV``: structure 29, subcortical volume; ``TA`` is an average
thickness, ``CV`` a cortical volume, ``SA`` an area, ``TS`` a deviation. A table of PET (UCBERKELEY) has a ``_SUVR`` and
a ``_VOLUME`` per region. The builder's tables name the subject ``subject_id`` and the day ``image_date``.
"""

from __future__ import annotations

import re
from dataclasses import replace

from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name, mostly, present
from crow.cohort.table import Table

SUBJECTS = ("RID", "PTID", "subject_id", "Subject")
SESSIONS = ("VISCODE2", "VISCODE", "visit", "SCANDATE_VISCODE2")
DATES = ("EXAMDATE", "SCANDATE", "image_date", "VISDATE", "exam_date", "scan_date", "Acq Date")
PARTICIPANT = re.compile(r"\d{3}_S_\d{4,5}")
ROSTER = re.compile(r"\d{1,5}(\.0)?")
STRUCTURE = re.compile(r"ST\d+(?P<kind>SV|CV|TA|SA|TS|HS)")
KEPT = ("SV", "CV", "TA")
UPTAKE = re.compile(r".*_SUVR")
VOLUME = re.compile(r".*_VOLUME")
ICV = "ST10CV"
ABOUT = re.compile(
    r"(?i)phase|colprot|origprot|ptid|rid|site_?id|subject_?id|loniuid|imageuid|image_?(id|type)|image_?(resolution|description)"
    r"|study_?id|series_?id|runno|rundate|userdate2?|update_stamp|version|status|.*_?qc(_.*)?|qc_.*|processdate|id|visc_?ode|viscode2?"
    r"|field_?strength|fldstreng|.*_stamp|has_qc_error|translated|tracer_sdtc|spatial_.*|mri_uid|lhippoc|.*qc"
)


def recognise(table: Table) -> bool:
    columns = by_name(table)
    if present(("dx_bl", "years_bl"), columns) or not present(SESSIONS, columns) + present(DATES, columns):
        return False
    ptid = any(mostly(table, name, PARTICIPANT) for name in present(SUBJECTS[1:], columns))
    return ptid or ("rid" in columns and "viscode" in columns and mostly(table, columns["rid"], ROSTER))


def read(table: Table, findings: Findings) -> Table:
    columns = by_name(table)
    subject = present(SUBJECTS, columns)[0]
    session = next(iter(present(SESSIONS, columns)), None)
    structures = {name: match["kind"] for name in table.header if (match := STRUCTURE.fullmatch(name))}
    uptakes = [name for name in table.header if UPTAKE.fullmatch(name)]
    left_out = {name: "about the row, not a measure" for name in table.header if ABOUT.fullmatch(name)}
    left_out |= {name: "an area or a deviation, not a volume" for name, kind in structures.items() if kind not in KEPT}
    if uptakes:
        left_out |= {name: "a volume, not uptake" for name in table.header if VOLUME.fullmatch(name)}
    for name in (subject, session):
        left_out.pop(name or "", None)
    layout = Layout(
        "adni",
        adni=True,
        subject=subject,
        session=session,
        times=(*present(DATES, columns), *((session,) if session else ())),
        covariates=(ICV,) if ICV in table.header else (),
        left_out=left_out,
        visit_codes="adni",
    )
    return replace(table, layout=layout)


TABLE = KnownTable("ADNI", recognise, read)
