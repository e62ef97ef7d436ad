"""The lines of a table as values, before they become visits."""

from __future__ import annotations

import pandas as pd

from crow.cohort import names
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings
from crow.cohort.schema import Schema
from crow.cohort.times import AGES_PER_YEAR, MISSING_TIMES

OWN, LINE, CODE = "own time", "line", "visit code"
CHANGES = {1: "CN", 7: "CN", 9: "CN", 2: "MCI", 4: "MCI", 8: "MCI", 3: "AD", 5: "AD", 6: "AD"}


def read_rows(columns: Columns, schema: Schema, findings: Findings) -> pd.DataFrame:
    """The columns with a role, read, one row a line of the table."""
    found: dict[str, pd.Series] = {
        "subject": columns.words(schema.subject),
        LINE: pd.Series(columns.lines),
        OWN: columns.times(schema.time, schema.time_kind, schema.date_order, schema.visit_codes, schema.age_unit),
    }
    if schema.time_kind not in ("date", "visit"):
        columns.checked(schema.time, findings, MISSING_TIMES[schema.time_kind])
    if schema.session is not None:
        found["session"] = columns.cells(schema.session)
        found[CODE] = columns.cells(schema.session).str.lower().str.removeprefix("ses-")
    if schema.age is not None:
        found["age"] = _ages(columns, schema, findings)
    if schema.since_baseline is not None:
        found[schema.since_baseline] = columns.checked(schema.since_baseline, findings)
    for name, kind in schema.covariates.items():
        words = states(name, columns, findings) if kind == "categorical" else None
        found[name] = columns.checked(name, findings) if words is None else words
    for name in schema.regions:
        found[name] = columns.checked(name, findings)
    rows = pd.DataFrame(found)
    for name in schema.fixed:
        rows[name] = _carried(name, rows, findings)
    return rows


def _ages(columns: Columns, schema: Schema, findings: Findings) -> pd.Series:
    """Ages in years; one at baseline stands for every row of its subject."""
    assert schema.age is not None
    own = schema.age == schema.time
    aside = Findings() if own else findings
    ages = columns.checked(schema.age, aside, MISSING_TIMES["age"]) / AGES_PER_YEAR[schema.age_unit]
    if not schema.age_is_baseline:
        return ages
    return ages.where(ages.notna(), ages.groupby(columns.cells(schema.subject)).transform("first"))


def states(name: str, columns: Columns, findings: Findings) -> pd.Series:
    """Words; of a diagnosis told as a change, the state that it ends in (``MCI to Dementia`` -> ``Dementia``)."""
    words = columns.words(name)
    if names.normal(name) == "dxchange":
        states = columns.checked(name, findings).map(CHANGES)
        findings.info("transition", "DXCHANGE 1/7/9 was read as CN, 2/4/8 as MCI, 3/5/6 as AD.", name)
        return states.astype(object).where(states.notna(), None)
    if not names.matches(names.DIAGNOSIS, name):
        return words
    changes = words.str.contains(r"\sto\s", regex=True, na=False).astype(bool)
    if changes.any():
        findings.info(
            "transition",
            "a change of diagnosis was read as the state it ends in.",
            name,
            columns.lines[changes.to_numpy()],
        )
        words = words.mask(changes, words.str.split(r"\s+to\s+", regex=True).str[-1])
    return words


def drop(
    rows: pd.DataFrame, where: pd.Series, code: str, severity: str, message: str, findings: Findings
) -> pd.DataFrame:
    """The rows that stay, and a finding for those that do not."""
    if not where.any():
        return rows
    (findings.warning if severity == "warning" else findings.info)(code, message, rows=rows[LINE][where])
    return rows[~where]


def _carried(name: str, rows: pd.DataFrame, findings: Findings) -> pd.Series:
    values = rows[name]
    known = values.groupby(rows["subject"]).transform("first")
    filled = values.isna() & known.notna()
    if filled.any():
        findings.info(
            "carried",
            "never changes within a subject, so its value at one visit was taken at all.",
            name,
            rows[LINE][filled],
        )
    return values.where(values.notna(), known)
