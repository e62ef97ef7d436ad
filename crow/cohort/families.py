"""The column of families, whose members stay together in every split."""

from __future__ import annotations

import re

import pandas as pd

from crow.cohort import names
from crow.cohort.catalogue import GROUP
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings
from crow.cohort.options import ReadOptions, one_column
from crow.cohort.parameters import MAX_FAMILY_SHARE
from crow.errors import CohortError

PARENT = re.compile(r"(.*_)?(mother|father|maternal|paternal|parent|mum|dad)_?(id|no|nr)(_.*)?")


def find_group(columns: Columns, subject: str, taken: set[str], options: ReadOptions, findings: Findings) -> str | None:
    """The column that a flag names, else one whose name and values are those of families; None if there is none.

    Raises CohortError if a named column puts a subject into two groups.
    """
    if options.group is not None:
        name = one_column("group", options.group, columns.names, columns.path)
        if not _one_each(columns, subject, name):
            raise CohortError(
                f"{columns.path}, column {name}: has two values for one subject, so it is no group of subjects. "
                "Name another with --group."
            )
        _report(columns, subject, name, findings)
        return name
    for name in columns.names:
        if name in taken or not names.matches(names.FAMILY, name) or names.matches(names.NOT_FAMILY, name):
            continue
        if (
            columns.words(name).notna().any()
            and _one_each(columns, subject, name)
            and _is_family(columns, subject, name)
        ):
            _report(columns, subject, name, findings)
            return name
    return None


def groups_of(columns: Columns, subject: str, group: str | None) -> pd.Series:
    """The group of every subject, by subject; one without a group is its own. Empty if there is no column ``group``."""
    if group is None:
        return pd.Series(dtype=object)
    first = _first(columns, subject, group)
    others = [name for name in columns.names if name != group and names.matches(PARENT, name)]
    for name in others if names.matches(names.FAMILY, group) else ():
        if (
            columns.words(name).notna().any()
            and _one_each(columns, subject, name)
            and _is_family(columns, subject, name)
        ):
            first = _united(first, _first(columns, subject, name, f"{name} "))
    return first


def _first(columns: Columns, subject: str, group: str, empty: str = "") -> pd.Series:
    """The level of every subject, by subject; one without a level is its own."""
    first = columns.words(group).groupby(columns.words(subject)).first()
    return first.where(first.notna(), f"{empty}subject " + first.index.to_series().astype(str))


def _united(one: pd.Series, other: pd.Series) -> pd.Series:
    """Groups of which two are one if they share a level of ``other``, as half siblings share a parent."""
    united = one.to_dict()
    while True:
        least = pd.Series(united).groupby(other).transform("min")
        again = least.groupby(one).transform("min")
        if again.to_dict() == united:
            return again
        united = again.to_dict()


def _one_each(columns: Columns, subject: str, name: str) -> bool:
    words = columns.words(name)
    first = words.groupby(columns.words(subject)).transform("first")
    return bool((words.isna() | (words == first)).all())


def _is_family(columns: Columns, subject: str, name: str) -> bool:
    """Whether some subjects share a level, and no level has many subjects."""
    sizes = _first(columns, subject, name).value_counts()
    return bool(sizes.max() > 1) and bool(sizes.max() <= max(MAX_FAMILY_SHARE * sizes.sum(), 2))


def _report(columns: Columns, subject: str, name: str, findings: Findings) -> None:
    sizes = groups_of(columns, subject, name).value_counts()
    findings.add(GROUP, name, groups=len(sizes), subjects=int(sizes.sum()), largest=int(sizes.max()))
