"""Labels that hold subject and session at once: ``sub-01_ses-2``, ``OAS30001_MR_d0129``, ``sub1_v2``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

import pandas as pd

from crow.cohort import names
from crow.cohort.catalogue import TAKEN_APART
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.table import Table
from crow.cohort.wide import find_waves

SUBJECT, SESSION = "subject", "session"
ENDINGS = re.compile(r"(\.nii(\.gz)?|\.mgz|\.mgh|\.txt|\.stats|\.csv|\.tsv|\.json)$", re.IGNORECASE)
BIDS = re.compile(r"(?P<subject>sub-[^_]+)_(?P<session>ses-[^_]+)(?:_.*)?")
OASIS = re.compile(r"(?P<subject>OAS[34]\d{4}|OAS2_\d{4})_(?P<session>.+)")
ADNI = re.compile(r"(?P<subject>(?:sub-)?(?:ADNI)?\d{3}_?S_?\d{4,5})[_-](?P<session>.+)")
WORD = (
    r"session|sess|ses|time[_-]?point|timepoint|time|tp|t|visit|vis|v|wave|w|year|yr|y|month|mon|mo|m|mr|scan|day|d"
    r"|follow[_-]?up|fup|fu|bl|baseline|base|pre|post|screening|sc|test|retest|run|week|wk"
)
COUNTED = r"\d+[_-]?(?:months?|mo?|years?|yrs?|y|weeks?|wk|days?|d)"
WORDS = re.compile(
    rf"(?P<subject>.+?)[_\-. ]+(?P<session>(?:{WORD})[_-]?\d*(?:\.\d+)?|{COUNTED})",
    re.IGNORECASE,
)
DAY = re.compile(r"(?P<subject>.+?)[_\-. ]+(?P<session>(?:19|20)\d{2}[-_]?[01]\d[-_]?[0-3]\d)")
NUMBER = re.compile(r"(?P<subject>.+?)[_\-. ]+(?P<session>\d{1,2})")
PATTERNS = (BIDS, OASIS, ADNI, WORDS, DAY, NUMBER)
LABELS = re.compile(
    r"bids_name|scan|scan_?id|image|image_?id|file|file_?name|label|session_?label|mri?_?id|name|key|unique_?id|uid|column_1"
)
ALL = 0.95
MIN_REPEATED = 0.3
MIN_SUBJECTS, MAX_VISITS = 3, 12
"""Fewer subjects, or more visits of each on average, are groups of subjects: ``HC_01, HC_02, ...``."""
MAX_YEARS = 15


def take_apart(table: Table, findings: Findings) -> Table:
    """The table with a subject and a session instead of a label that holds both, if no column repeats by subject."""
    subjects = [name for name in table.header if names.normal(name) in names.SUBJECTS]
    frame = table.frame(subjects)
    if any(frame[name].duplicated().any() for name in subjects):
        return table
    others = [name for name in table.header if LABELS.fullmatch(names.normal(name))]
    for name in dict.fromkeys((*subjects, *others, table.header[0])):
        cells = table.column(name)
        apart = None if cells.duplicated().any() else parts_of(cells.map(bare))
        if apart is not None and _ages_agree(table, apart):
            return _with_parts(table, name, apart, findings)
    return table


def _ages_agree(table: Table, apart: pd.DataFrame) -> bool:
    """Whether the rows of a subject can be its visits: ages that differ little, in the order of numbered sessions.

    Numbers without a word (``A_01``) are sessions only if there is such an age.
    """
    numbered = bool(apart[SESSION].str.fullmatch(r"\d{1,2}").all())
    ages = [name for name in table.header if names.is_age(name)]
    if not ages or find_waves(table.header) is not None:
        return not numbered and find_waves(table.header) is None
    age = pd.to_numeric(table.frame(ages[:1])[ages[0]], errors="coerce")
    spread = age.groupby(apart[SUBJECT]).agg(lambda values: values.max() - values.min())
    near = bool((spread.dropna() <= MAX_YEARS).mean() >= ALL)
    if not numbered:
        return near
    session = apart[SESSION].astype(int)
    ordered = (
        age.iloc[session.argsort().to_numpy()]
        .groupby(apart[SUBJECT])
        .agg(lambda values: values.is_monotonic_increasing)
    )
    return near and bool(ordered.mean() >= ALL)


def parts_of(labels: pd.Series) -> pd.DataFrame | None:
    """Columns subject and session; None if the labels do not hold both, or no subject stands twice.

    A number alone (``P01_2``) is a session only if most subjects have several.
    """
    for pattern in PATTERNS:
        found = labels.str.extract(re.compile(rf"^(?:{pattern.pattern})$", pattern.flags))[[SUBJECT, SESSION]]
        if found[SUBJECT].notna().mean() < ALL:
            continue
        counts = found[SUBJECT].value_counts()
        if len(counts) < MIN_SUBJECTS or counts.mean() > MAX_VISITS:
            continue
        if (counts > 1).mean() >= (0.5 if pattern is NUMBER else MIN_REPEATED) or (
            pattern is BIDS and counts.max() > 1
        ):
            return found.fillna({SUBJECT: labels, SESSION: ""})
    return None


def report_parts(name: str, label: str, apart: pd.DataFrame, findings: Findings) -> None:
    """The finding that a column was taken apart, with its first label as the example."""
    subject, session = apart.iloc[0]
    findings.add(TAKEN_APART, name, label=label, subject=subject, session=session or "(none)")


def bare(label: str) -> str:
    """A label without folders and ending."""
    return ENDINGS.sub("", PurePosixPath(label.replace("\\", "/").rstrip("/")).name) if label else label


def _with_parts(table: Table, name: str, apart: pd.DataFrame, findings: Findings) -> Table:
    taken = {existing for existing in table.header if existing != name}
    subject, session = (made if made not in taken else f"{made}_of_{name}" for made in (SUBJECT, SESSION))
    apart = apart.rename(columns={SUBJECT: subject, SESSION: session})
    report_parts(name, table.column(name).iloc[0], apart, findings)
    made = table.with_frame(apart.join(table.frame().drop(columns=name)))
    return replace(made, layout=Layout("plain", subject=subject, session=session))
