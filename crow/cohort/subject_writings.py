"""Subjects that are written in several ways in one table: ``P001`` and ``p001``, ``sub-P001``, ``7`` and ``007``."""

from __future__ import annotations

import re

import pandas as pd

from crow.cohort import names
from crow.cohort.catalogue import FILLED_DOWN, MIXED_SUBJECTS, SUBJECT_WRITINGS
from crow.cohort.findings import Findings
from crow.cohort.options import listed
from crow.cohort.parameters import MIN_CONSTANT_SHARE
from crow.cohort.values import is_blank

MARKS = re.compile(r"[\s_\-./]+")
MIN_CONTRADICTIONS = 3
MIN_BLANK = 0.3
"""Share of rows without a subject from which they belong to the subject above."""


def one_writing(frame: pd.DataFrame, subject: str, findings: Findings) -> pd.DataFrame:
    """The table with one writing per subject, the most frequent one, and a finding if there were several.

    Two subjects with different sexes, births or genotypes are two, however alike they are written.
    """
    frame = _filled_down(frame, subject, findings)
    counts = frame[subject].value_counts()
    bare: dict[str, list[str]] = {}
    for written in counts.index:
        bare.setdefault(bare_subject(written), []).append(written)
    several = {one: all_ for one, all_ in bare.items() if len(all_) > 1 and one}
    if not several:
        return frame
    constant = [name for name in frame.columns if names.matches(names.CONSTANT, name) and name != subject]
    alike = {written: one[0] for one in several.values() for written in one[1:]}
    for name in constant:
        cells = frame[name].mask(is_blank(frame[name]))
        levels = cells.groupby(frame[subject]).first()
        alike = {
            written: one
            for written, one in alike.items()
            if pd.isna(levels[written]) or pd.isna(levels[one]) or levels[written].lower() == levels[one].lower()
        }
    if not alike:
        return frame
    where = frame[subject].isin(list(alike))
    example = ", ".join(f"{written} as {one}" for written, one in list(alike.items())[:3])
    findings.add(SUBJECT_WRITINGS, subject, frame.index[where.to_numpy()], count=len(alike), example=example)
    return frame.assign(**{subject: frame[subject].replace(alike)})


def _filled_down(frame: pd.DataFrame, subject: str, findings: Findings) -> pd.DataFrame:
    """The table with a subject in every row if it stands in the first of its rows only, as in merged cells."""
    blank = frame[subject] == ""
    filled = frame[subject][~blank]
    if blank.mean() < MIN_BLANK or blank.iloc[0] or filled.duplicated().any():
        return frame
    findings.add(FILLED_DOWN, subject, frame.index[blank.to_numpy()])
    return frame.assign(**{subject: frame[subject].where(~blank).ffill()})


def bare_subject(written: str) -> str:
    """A subject without case, separators, ``sub-`` and leading zeros."""
    bare = MARKS.sub("-", re.sub(r"\.0+$", "", written.strip())).casefold()
    bare = re.sub(r"^sub(?:ject)?-", "", bare)
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"(?<=[a-z])-(?=\d)", "", bare))


def report_mixed(frame: pd.DataFrame, subject: str, findings: Findings) -> None:
    """A warning if sex or birth changes within so many subjects that their rows must belong to several subjects."""
    who = frame[subject]
    for name in frame.columns:
        if not names.matches(names.CONSTANT, name) or name == subject:
            continue
        known = ~is_blank(frame[name]).to_numpy()
        levels = frame[name][known].str.casefold().str[:1].groupby(who[known].to_numpy()).nunique()
        changing = int((levels > 1).sum())
        if changing < MIN_CONTRADICTIONS or changing <= (1 - MIN_CONSTANT_SHARE) * len(levels):
            continue
        findings.add(
            MIXED_SUBJECTS,
            name,
            subject=subject,
            count=changing,
            total=len(levels),
            remedy=_remedy(frame, subject, name),
        )
        return


def _remedy(frame: pd.DataFrame, subject: str, name: str) -> str:
    """The column that separates the subjects with one number, if there is one."""
    for site in frame.columns:
        if site in (subject, name) or not (names.matches(names.SITE, site) or names.matches(names.STUDY, site)):
            continue
        pairs = [frame[subject].to_numpy(), frame[site].to_numpy()]
        both = frame[name].str.casefold().str[:1].groupby(pairs).nunique()
        if (both > 1).mean() <= 1 - MIN_CONSTANT_SHARE:
            return f"Subjects of several {site} have the same {subject}: write {site} and {subject} into one column."
    return f"Name the column of subjects with --subject, or correct {listed([name])}."
