"""Tables of FreeSurfer and FastSurfer (``asegstats2table``, ``aparcstats2table``): a row per processed directory.

The directory names subject and session, and a longitudinal one also its base: ``sub-01_ses-2.long.sub-01``.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd

from crow.cohort.catalogue import CROSS_SECTIONAL
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable
from crow.cohort.table import Table
from crow.cohort.visit_labels import SESSION, SUBJECT, bare, parts_of, report_parts

FIRST = re.compile(
    r"Measure:\w+|[lr]h\.[\w.+-]+\.(volume|thickness(std)?|area|meancurv|gauscurv|foldind|curvind)|(fsid|fs_id)(?!.*base)",
    re.IGNORECASE,
)
LONG = re.compile(r"(?P<visit>.+)\.long\.(?P<base>.+)")
BASE_WORD = re.compile(r"[_.-]?(?:base|template|long|longitudinal)$|^(?:base|template)[_.-]", re.IGNORECASE)
NO_REGION = re.compile(
    r".*SurfaceHoles|MaskVol|MaskVol-to-eTIV|BrainSegVol-to-eTIV|.*(?:_|\b)(?:eTIV_ratio|NumVert)\b|.*_WhiteSurfArea_area|"
    r"(?:Left|Right)-(?:vessel|undetermined)|non-WM-hypointensities"
)


def recognise(table: Table) -> bool:
    first = table.header[0]
    return bool(FIRST.fullmatch(first)) and "fsid-base" not in table.header and not _numbered(table, first)


def read(table: Table, findings: Findings) -> Table:
    first = table.header[0]
    frame = table.frame()
    names = frame[first].map(bare)
    long = names.str.fullmatch(LONG)
    if long.any() and not long.all():
        findings.add(CROSS_SECTIONAL, first, frame.index[~long])
        frame, names = frame[long], names[long]
    made = _longitudinal(names) if long.any() else _cross_sectional(names)
    report_parts(first, names.iloc[0], made, findings)
    frame = pd.concat([made, frame.drop(columns=first)], axis=1)
    if (frame[SESSION] == "").all():
        frame = frame.drop(columns=SESSION)
    left_out = {name: "a ratio, a mask or a surface's quality" for name in frame.columns if NO_REGION.fullmatch(name)}
    layout = Layout("freesurfer", subject=SUBJECT, session=SESSION if SESSION in frame else None, left_out=left_out)
    return replace(table.with_frame(frame), layout=layout)


def _numbered(table: Table, name: str) -> bool:
    """Whether a column numbers the rows."""
    numbers = pd.to_numeric(table.column(name), errors="coerce")
    return bool(numbers.notna().all()) and numbers.is_unique and numbers.is_monotonic_increasing


def _longitudinal(names: pd.Series) -> pd.DataFrame:
    """The base is the subject; what its directories have beyond the base's name is the session."""
    found = names.str.extract(LONG)
    subject = found["base"].map(lambda base: BASE_WORD.sub("", base))
    apart = parts_of(found["visit"])
    if apart is not None and (apart[SUBJECT] == subject).mean() < 0.5 and subject.nunique() != apart[SUBJECT].nunique():
        apart = None
    session = [
        _rest(visit, base, label)
        for visit, base, label in zip(
            found["visit"], subject, apart[SESSION] if apart is not None else found["visit"], strict=True
        )
    ]
    return pd.DataFrame({SUBJECT: subject, SESSION: session}, index=names.index)


def _rest(visit: str, base: str, otherwise: str) -> str:
    if visit.startswith(base) and visit != base:
        return visit[len(base) :].lstrip("_-. ")
    return otherwise


def _cross_sectional(names: pd.Series) -> pd.DataFrame:
    apart = parts_of(names)
    return apart if apart is not None else pd.DataFrame({SUBJECT: names, SESSION: ""}, index=names.index)


TABLE = KnownTable("FreeSurfer's statistics", recognise, read)
