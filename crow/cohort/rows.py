"""The lines of a table as values, before they become visits."""

from __future__ import annotations

from typing import Any

import pandas as pd

from crow.cohort import names
from crow.cohort.catalogue import CARRIED, LEVELS_MERGED, TRANSITION
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings, Kind
from crow.cohort.schema import Schema
from crow.cohort.times import TimeKind
from crow.cohort.visit_codes import plain_code

OWN, LINE, CODE, BOUND = "own time", "line", "visit code", "time is a bound"
CHANGES = {1: "CN", 7: "CN", 9: "CN", 2: "MCI", 4: "MCI", 8: "MCI", 3: "AD", 5: "AD", 6: "AD"}


def read_rows(columns: Columns, schema: Schema, findings: Findings) -> pd.DataFrame:
    """The columns with a role, read, one row a line of the table."""
    _check(columns, schema, findings)
    found: dict[str, pd.Series] = {
        "subject": columns.words(schema.subject),
        LINE: pd.Series(columns.lines),
        OWN: columns.times(schema.time, schema.time_kind, schema.date_order, schema.visit_codes, schema.age_unit),
    }
    if schema.time_kind not in ("date", "visit"):
        found[BOUND] = columns.bounds(schema.time)
    if schema.session is not None:
        found["session"] = columns.cells(schema.session)
        labels = columns.cells(schema.session)
        found[CODE] = labels.map({label: plain_code(label, schema.visit_codes) for label in labels.unique()})
    if schema.age is not None:
        found["age"] = _ages(columns, schema)
    if schema.since_baseline is not None:
        found[schema.since_baseline] = columns.numbers(schema.since_baseline).values
    for name, kind in schema.covariates.items():
        words = kind == "categorical"
        found[name] = states(name, columns, findings) if words else columns.numbers(name).values
    for name in schema.regions:
        found[name] = columns.numbers(name).values
    rows = pd.DataFrame(found)
    for name in schema.fixed:
        rows[name] = _carried(name, rows, findings)
    return rows


def _check(columns: Columns, schema: Schema, findings: Findings) -> None:
    times: dict[str, TimeKind] = {} if schema.age is None else {schema.age: "age"}
    if schema.time_kind not in ("date", "visit"):
        times[schema.time] = schema.time_kind
    covariates = [name for name, kind in schema.covariates.items() if kind == "numeric"]
    others = (schema.since_baseline, *covariates, *schema.regions)
    columns.check([name for name in others if name is not None], findings, times)


def _ages(columns: Columns, schema: Schema) -> pd.Series:
    """Ages in years; one at baseline stands for every row of its subject."""
    assert schema.age is not None
    ages = columns.times(schema.age, "age", age_unit=schema.age_unit)
    if schema.age != schema.time and (bounds := columns.bounds(schema.age)).any():
        exact = ages.mask(bounds)  # the others and the time between tell what a bound such as 89+ does not
        known = exact.notna().groupby(columns.cells(schema.subject)).transform("any")
        ages = exact.where(known, ages)
    if not schema.age_is_baseline:
        return ages
    return ages.where(ages.notna(), ages.groupby(columns.cells(schema.subject)).transform("first"))


def states(name: str, columns: Columns, findings: Findings) -> pd.Series:
    """Words; a change of diagnosis is the state that it ends in (``MCI to Dementia`` -> ``Dementia``)."""
    words = _merged(name, columns, findings)
    if names.normal(name) == "dxchange":
        states = columns.checked(name, findings).map(CHANGES)
        findings.add(TRANSITION, name, text="DXCHANGE 1/7/9 was read as CN, 2/4/8 as MCI, 3/5/6 as AD.")
        return states.astype(object).where(states.notna(), None)
    if not names.matches(names.DIAGNOSIS, name):
        return words
    changes = words.str.contains(r"\sto\s", regex=True, na=False).astype(bool)
    if changes.any():
        text = "a change of diagnosis was read as the state it ends in."
        findings.add(TRANSITION, name, columns.lines[changes.to_numpy()], text=text)
        words = words.mask(changes, words.str.split(r"\s+to\s+", regex=True).str[-1])
    return words


def _merged(name: str, columns: Columns, findings: Findings) -> pd.Series:
    """The words without codes for missing; those that differ only in case or spaces are the most frequent of them."""
    words = columns.words(name)
    read = columns.numbers(name)
    words = words.mask(words.index.isin([*read.coded.index, *(read.words.index if read.is_number else ())]), None)
    counts = words.value_counts()
    best: dict[str, str] = {}
    for word in counts.index:
        best.setdefault(" ".join(str(word).casefold().split()), word)
    other = {word: best[" ".join(str(word).casefold().split())] for word in counts.index}
    changed = {word: one for word, one in other.items() if word != one}
    if not changed:
        return words
    merged = words.isin(list(changed))
    text = ", ".join(f"{word} as {one}" for word, one in list(changed.items())[:4])
    findings.add(LEVELS_MERGED, name, columns.lines[merged.to_numpy()], names=text)
    return words.replace(changed)


def drop(rows: pd.DataFrame, where: pd.Series, kind: Kind, findings: Findings, **facts: Any) -> pd.DataFrame:
    """The rows that stay, and a finding of this kind for the others."""
    if not where.any():
        return rows
    findings.add(kind, rows=rows[LINE][where], **facts)
    return rows[~where]


def _carried(name: str, rows: pd.DataFrame, findings: Findings) -> pd.Series:
    values = rows[name]
    known = values.groupby(rows["subject"]).transform("first")
    filled = values.isna() & known.notna()
    if filled.any():
        findings.add(CARRIED, name, rows[LINE][filled])
    return values.where(values.notna(), known)
