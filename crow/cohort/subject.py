"""The column that tells whose row it is."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from crow.cohort import catalogue, names
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.options import ReadOptions, listed, one_column
from crow.cohort.parameters import MIN_SHARE
from crow.errors import CohortError

MIN_LEVELS, MAX_ROWS = 5, 25
"""Subjects, and rows of each on average, of a column that may name them."""
VALUE = re.compile(r"[+-]?\d[\d.,:/\- ]*")
"""A number or a date, which is no name of a column."""


def find_subject(columns: Columns, layout: Layout, options: ReadOptions, findings: Findings) -> str:
    """The subject column; raises CohortError if there is none, or several that disagree."""
    if options.subject is not None:
        return one_column("subject", options.subject, columns.names, columns.path)
    if layout.subject is not None:
        return layout.subject
    named = [name for name in subject_columns(columns.names) if not columns.is_empty(name)]
    if not named and (alike := subjects_by_values(columns)):
        named = alike
        findings.add(catalogue.SUBJECT_FOUND, named[0])
    if not named:
        values = sum(bool(VALUE.fullmatch(name)) for name in columns.names)
        raise CohortError(
            f"{columns.path}: no subject column was found among {listed(columns.names)}. "
            + (
                "The first row holds values: write a header above it."
                if values > 1
                else "Name it with --subject COLUMN."
            )
        )
    repeated = [name for name in named if columns.cells(name).duplicated().any()]
    named = repeated or named
    if any(not _same_groups(columns.cells(named[0]), columns.cells(other)) for other in named[1:]):
        raise ambiguous(columns.path, "subject", named)
    if len(named) > 1:
        findings.add(catalogue.SUBJECT, named[0], names=listed(named), first=named[0])
    return named[0]


def subject_columns(header: Iterable[str]) -> list[str]:
    """The columns whose name is one for a subject, the most usual first."""
    header = list(header)
    return [name for known in names.SUBJECTS for name in header if names.normal(name) == known]


def subjects_by_values(columns: Columns) -> list[str]:
    """The columns with a subject's word in the name, else those with a key's, whose values can name subjects."""
    for pattern in (names.SUBJECT, names.SUBJECT_KEY):
        found = [name for name in columns.names if names.matches(pattern, name) and _can_name(columns, name)]
        if found:
            return found
    return []


def _can_name(columns: Columns, name: str) -> bool:
    """Whether a column has several levels, each in a few rows, and no other role by its name."""
    others = (names.SESSION, names.SITE, names.FAMILY, names.COVARIATE, names.NOTES, names.COUNTER, names.DATE)
    if names.is_age(name) or names.is_time(name) or any(names.matches(other, name) for other in others):
        return False
    cells = columns.words(name).dropna()
    levels = cells.nunique()
    rows = len(cells) / max(levels, 1)
    return (
        levels >= MIN_LEVELS
        and 1 < rows <= MAX_ROWS
        and len(cells) >= MIN_SHARE * len(columns.lines)
        and not (columns.is_number(name) and columns.numbers(name).has_decimals)
    )


def ambiguous(path: str, role: str, candidates: Iterable[str], counts: dict[str, int] | None = None) -> CohortError:
    """The error that asks which of several columns has a role."""
    flags = [f"--{role} {_quoted(n)}" + (f" ({counts[n]:,} visits)" if counts else "") for n in candidates]
    return CohortError(f"{path}: several columns could be the {role}: add {' or '.join(flags)}.")


def _same_groups(one: pd.Series, other: pd.Series) -> bool:
    pairs = len(pd.concat([one, other], axis=1).drop_duplicates())
    return pairs == one.nunique() == other.nunique()


def _quoted(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else f"'{name}'"
