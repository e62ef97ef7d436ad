"""Rows of a table -> the visits of a cohort: one row per subject and time, in order, complete or counted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from crow.cohort import catalogue
from crow.cohort.checks import Change, check_values
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings, Kind
from crow.cohort.gaps import usable_visits
from crow.cohort.options import Missing, listed
from crow.cohort.parameters import MIN_SUBJECTS
from crow.cohort.rows import BOUND, CODE, LINE, OWN, drop, read_rows
from crow.cohort.scan_paths import one_scan_a_visit, scan_paths, with_scans
from crow.cohort.schema import SCAN, Schema
from crow.cohort.times import PER_YEAR, SOME_DAY, years_between
from crow.cohort.visit_codes import ADNI2_MONTHS, BASELINE, NO_VISIT, SCREENING, code_months
from crow.errors import CohortError

KEYS = ["subject", "session", "time", "age"]


class Visits(NamedTuple):
    """What a `Cohort` holds of a table."""

    visits: pd.DataFrame
    start: pd.Series
    missing: dict[str, float]
    changes: list[Change]
    as_read: list[str]


def make_visits(
    columns: Columns,
    schema: Schema,
    missing: Missing,
    findings: Findings,
    scan_root: Path | None = None,
    fix: bool = False,
) -> Visits:
    """The visits that a table read by ``schema`` holds, with a finding for every row that does not become one.

    Raises CohortError for text or infinite values in numbers, for no visit left, and, with ``missing="error"``, for a
    missing region. Of scans, see `crow.cohort.scan_paths`.
    """
    keys = [*KEYS, SCAN] if schema.scan else KEYS
    if clash := [name for name in (*schema.covariates, *schema.regions) if name in keys]:
        raise CohortError(f"{columns.path}: {listed(clash)} has a name that crow gives to its own columns; rename it.")
    rows = read_rows(columns, schema, findings)
    if schema.scan is not None:
        rows[SCAN] = scan_paths(columns, schema.scan, scan_root)
    rows = _placed(rows, columns, schema, findings)
    if schema.scan is not None:
        rows = with_scans(rows, columns, schema.scan, findings)
    rows = _one_a_time(rows, schema, findings)
    rows, changes = check_values(rows, schema, findings, fix)
    share = {name: float(rows[name].isna().mean()) for name in (*schema.covariates, *schema.regions)}
    rows = _in_order(rows, schema, findings)
    # Time begins with a subject's first row, whether a region was measured there or not.
    start = rows.groupby("subject", sort=False)[OWN].first()
    rows["time"] = years_between(rows["subject"].map(start), rows[OWN], schema.time_kind)
    rows["age"] = _age(rows, schema, findings)
    if schema.session is None:
        rows["session"] = (rows.groupby("subject").cumcount() + 1).astype(str)
    as_read = list(rows["subject"].unique())
    rows = usable_visits(rows, schema, missing, columns.path, findings)
    kept = set(rows["subject"])
    start = start[[subject in kept for subject in start.index]]
    visits = rows[[*KEYS, *schema.covariates, *schema.regions, *([SCAN] if schema.scan else [])]]
    return Visits(visits.reset_index(drop=True), start, share, changes, as_read)


def report_usable(visits: pd.DataFrame, schema: Schema, findings: Findings, one_visit: bool = False) -> None:
    """Error findings for a cohort that nothing can be learned from, or nothing longitudinal unless ``one_visit``."""
    counts = _with_a_region(visits, schema).groupby("subject").size()
    single = int((counts == 1).sum())
    if single == len(counts) and not one_visit:
        findings.add(catalogue.ONLY_SINGLE_VISITS)
    elif single < len(counts) and single:
        findings.add(catalogue.SINGLE_VISIT, single=single, subjects=len(counts))
    if len(counts) < MIN_SUBJECTS:
        findings.add(catalogue.FEW_SUBJECTS, count=len(counts), least=MIN_SUBJECTS)


def _with_a_region(visits: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Visits that something can be learned from: of a table without scans, those with a region."""
    if schema.scan is not None or not schema.regions:
        return visits
    return visits[visits[schema.regions].notna().any(axis=1)]


def _placed(rows: pd.DataFrame, columns: Columns, schema: Schema, findings: Findings) -> pd.DataFrame:
    """Rows with a subject and a time; screening joined to baseline."""
    nobody = rows["subject"].isna()
    rows = drop(rows, nobody, catalogue.NO_SUBJECT, findings)
    if schema.session is not None:
        absent = rows[CODE].isin(NO_VISIT)
        rows = drop(rows, absent, catalogue.NO_VISIT, findings)
        rows = _join_screening(rows, columns.adni, findings)
    if schema.scan is not None and schema.time_kind != "age":
        alone = rows[OWN].isna() & ~rows["subject"].duplicated(keep=False)
        rows.loc[alone, OWN] = SOME_DAY if schema.time_kind == "date" else 0.0
    untimed = rows[OWN].isna()
    cells = columns.cells(schema.time)[rows.index[untimed]]
    unread = [cell for cell in cells.unique() if cell]
    example = f" ({listed(unread, 3)})" if unread else ""
    rows = drop(rows, untimed, catalogue.NO_TIME, findings, name=schema.time, example=example)
    if rows.empty:
        both = f"a subject ({schema.subject}) and a time ({schema.time})"
        raise CohortError(f"{columns.path}: no row has both {both} that can be read; see --subject and --time.")
    return rows


def _join_screening(rows: pd.DataFrame, adni: bool, findings: Findings) -> pd.DataFrame:
    codes = SCREENING | BASELINE | ({code for code, months in ADNI2_MONTHS.items() if months == 0} if adni else set())
    first = rows[CODE].isin(codes)
    several = first & rows["subject"].where(first).duplicated(keep=False)
    if not (several & rows[CODE].isin(SCREENING | {"v01", "v02"})).any():
        return rows
    joined = (
        rows[several].assign(order=~rows[CODE][several].isin(BASELINE | {"v03"})).sort_values("order", kind="stable")
    )
    filled = joined.groupby("subject")[list(rows.columns.drop("subject"))].first()
    kept = joined[~joined["subject"].duplicated()].index
    dropped = joined.index.difference(kept)
    for name in filled.columns.drop([LINE, CODE, "session"]):
        rows.loc[kept, name] = rows.loc[kept, name].where(
            rows.loc[kept, name].notna(), rows["subject"].map(filled[name])
        )
    findings.add(catalogue.SCREENING, rows=rows.loc[dropped, LINE])
    return rows.drop(index=dropped)


def _one_a_time(rows: pd.DataFrame, schema: Schema, findings: Findings) -> pd.DataFrame:
    """The first row with the fewest gaps of a subject and time, and of a subject and visit code."""
    coarse = schema.time_kind == "age" and bool((rows[OWN] % 1 == 0).all())
    hint = " Whole years put visits of one year together: name a finer time with --time." if coarse else ""
    if BOUND in rows and rows[BOUND].any():
        rows = _first_complete(rows, OWN, rows[BOUND], "time", "", schema, findings, catalogue.BOUNDED_TIME)
    if SCAN in rows:
        rows = one_scan_a_visit(rows, hint, findings)
    rows = _first_complete(rows, OWN, rows[OWN].notna(), "time", hint, schema, findings)
    if schema.session is None:
        return rows
    telling = code_months(rows["session"], schema.visit_codes).notna()
    if telling.mean() <= 0.5:
        return rows
    return _first_complete(rows, CODE, telling, "visit code", "", schema, findings)


def _first_complete(
    rows: pd.DataFrame,
    key: str,
    among: pd.Series,
    name: str,
    hint: str,
    schema: Schema,
    findings: Findings,
    kind: Kind = catalogue.DUPLICATE,
) -> pd.DataFrame:
    order = rows[schema.regions].isna().sum(axis=1).sort_values(kind="stable").index
    extra = rows.loc[order, ["subject", key]].duplicated().reindex(rows.index) & among
    return drop(rows, extra, kind, findings, key=name, hint=hint)


def _in_order(rows: pd.DataFrame, schema: Schema, findings: Findings) -> pd.DataFrame:
    ahead = rows.groupby("subject", sort=False)[OWN].shift()
    late = rows.index[rows[OWN] < ahead]
    if len(late):
        findings.add(catalogue.ORDER, rows=rows.loc[late, LINE])
    if CODE in rows:
        _report_codes(rows, schema, findings)
    return rows.sort_values(["subject", OWN], kind="stable")


def _report_codes(rows: pd.DataFrame, schema: Schema, findings: Findings) -> None:
    """Dates that run against the visit codes."""
    months = code_months(rows["session"], schema.visit_codes)
    known = rows.assign(months=months)[months.notna()].sort_values(["subject", "months"], kind="stable")
    back = known[OWN] < known.groupby("subject")[OWN].shift()
    if back.any():
        findings.add(catalogue.TIME_AGAINST_CODE, rows=known[LINE][back])


def _age(rows: pd.DataFrame, schema: Schema, findings: Findings) -> pd.Series:
    if schema.time_kind == "age":
        return rows[OWN].astype(float)
    if schema.age is None:
        return pd.Series(np.nan, rows.index)
    first = rows.groupby("subject")["age"].transform("first")
    if schema.age_is_baseline:
        return first + _since_baseline(rows, schema)
    whole = bool((rows["age"].dropna() % 1 == 0).all()) and schema.age_unit == "years"
    if not whole or schema.time_kind == "visit":
        return _ages_between(rows)
    findings.add(catalogue.WHOLE_AGE, schema.age)
    began = rows["time"].where(rows["age"].notna()).groupby(rows["subject"]).transform("first")
    return first + rows["time"] - began


def _ages_between(rows: pd.DataFrame) -> pd.Series:
    """The ages of the table; a missing one is the age at the subject's nearest visit before (else after) and the time
    between."""
    born = rows["age"].astype(float) - rows["time"]
    by_subject = born.groupby(rows["subject"])
    return by_subject.ffill().fillna(by_subject.bfill()) + rows["time"]


def _since_baseline(rows: pd.DataFrame, schema: Schema) -> pd.Series:
    """Years since baseline: the table's own, else since the visit coded as baseline, else since the first."""
    base = rows["time"].where(rows[CODE].isin(BASELINE)) if CODE in rows else rows["time"] * np.nan
    if CODE in rows and not base.notna().any():
        base = rows["time"] - code_months(rows["session"], schema.visit_codes) / PER_YEAR["visit"]
    begun = base.groupby(rows["subject"]).transform("first").fillna(0.0)
    years = rows["time"] - begun
    if schema.since_baseline is None:
        return years
    return rows[schema.since_baseline].fillna(years)
