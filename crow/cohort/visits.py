"""Rows of a table -> the visits of a cohort: one row a subject and time, in order, complete or counted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from crow.cohort import names
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings
from crow.cohort.options import Missing, listed
from crow.cohort.schema import Schema
from crow.cohort.times import ADNI2_MONTHS, BASELINE, NO_VISIT, PER_YEAR, SCREENING, visit_months, years_between
from crow.errors import CohortError

OWN, LINE, CODE = "own time", "line", "visit code"
KEYS = ["subject", "session", "time", "age"]
CHANGES = {1: "CN", 7: "CN", 9: "CN", 2: "MCI", 4: "MCI", 8: "MCI", 3: "AD", 5: "AD", 6: "AD"}
FEWEST_SUBJECTS = 10


class Visits(NamedTuple):
    """What a `Cohort` holds of a table."""

    visits: pd.DataFrame
    start: pd.Series
    missing: dict[str, float]


def make_visits(columns: Columns, schema: Schema, missing: Missing, findings: Findings) -> Visits:
    """The visits that a table read by ``schema`` holds, with a finding for every row that does not become one.

    Raises CohortError for text or infinite values in numbers, for no visit left, and, with ``missing="error"``, for a
    missing region.
    """
    if clash := [name for name in (*schema.covariates, *schema.regions) if name in KEYS]:
        raise CohortError(f"{columns.path}: {listed(clash)} has a name that crow gives to its own columns; rename it.")
    rows = _rows(columns, schema, findings)
    rows = _placed(rows, schema, columns.adni, findings)
    rows = _one_a_time(rows, schema, findings)
    share = {name: float(rows[name].isna().mean()) for name in (*schema.covariates, *schema.regions)}
    rows = _complete(rows, schema, missing, columns.path, findings)
    rows = _in_order(rows, findings)
    start = rows.groupby("subject", sort=False)[OWN].first()
    rows["time"] = years_between(rows["subject"].map(start), rows[OWN], schema.time_kind)
    rows["age"] = _age(rows, schema, findings)
    if schema.session is None:
        rows["session"] = (rows.groupby("subject").cumcount() + 1).astype(str)
    visits = rows[[*KEYS, *schema.covariates, *schema.regions]].reset_index(drop=True)
    return Visits(visits, start, share)


def say_usable(visits: pd.DataFrame, findings: Findings) -> None:
    """Error findings for a cohort that nothing longitudinal can be learned from."""
    counts = visits.groupby("subject").size()
    single = int((counts == 1).sum())
    if single == len(counts):
        findings.error(
            "single-visit",
            "every subject has one usable visit; at least two visits of a subject are needed to "
            "learn change. Look at what was dropped, or at the subject column (--subject).",
        )
    elif single:
        findings.info(
            "single-visit", f"{single} of {len(counts)} subjects have one visit: they tell about level, not change."
        )
    if len(counts) < FEWEST_SUBJECTS:
        findings.error(
            "few-subjects", f"{len(counts)} subjects are too few to learn from; {FEWEST_SUBJECTS} are needed."
        )


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


def _rows(columns: Columns, schema: Schema, findings: Findings) -> pd.DataFrame:
    """The columns with a role, read, one row a line of the table."""
    found: dict[str, pd.Series] = {
        "subject": columns.words(schema.subject),
        LINE: pd.Series(columns.lines),
        OWN: columns.times(schema.time, schema.time_kind, schema.date_order),
    }
    if schema.time_kind not in ("date", "visit"):
        columns.checked(schema.time, findings)
    if schema.session is not None:
        found["session"] = columns.cells(schema.session)
        found[CODE] = columns.cells(schema.session).str.lower().str.removeprefix("ses-")
    if schema.age is not None:
        found["age"] = columns.checked(schema.age, findings)
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


def _placed(rows: pd.DataFrame, schema: Schema, adni: bool, findings: Findings) -> pd.DataFrame:
    """Rows with a subject and a time; screening joined to baseline."""
    nobody = rows["subject"].isna()
    rows = _drop(rows, nobody, "no-subject", "warning", "no subject; dropped.", findings)
    if schema.session is not None:
        absent = rows[CODE].isin(NO_VISIT)
        rows = _drop(rows, absent, "no-visit", "info", "the code nv means that there was no visit; dropped.", findings)
        rows = _join_screening(rows, adni, findings)
    untimed = rows[OWN].isna()
    rows = _drop(rows, untimed, "no-time", "warning", f"no time in {schema.time}; dropped.", findings)
    if rows.empty:
        raise CohortError(f"no row has both a subject ({schema.subject}) and a time ({schema.time}) that can be read.")
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
    rows = rows.astype({LINE: int})
    for name in filled.columns.drop([LINE, CODE, "session"]):
        rows.loc[kept, name] = rows.loc[kept, name].where(
            rows.loc[kept, name].notna(), rows["subject"].map(filled[name])
        )
    findings.info(
        "screening",
        "screening belongs to baseline: joined with that visit, where it filled what was missing.",
        rows=rows.loc[dropped, LINE],
    )
    return rows.drop(index=dropped)


def _one_a_time(rows: pd.DataFrame, schema: Schema, findings: Findings) -> pd.DataFrame:
    """The first row with the fewest gaps of a subject and time, and of a subject and visit code."""
    coarse = schema.time_kind == "age" and bool((rows[OWN] % 1 == 0).all())
    hint = " Whole years put visits of one year together: name a finer time with --time." if coarse else ""
    rows = _first_complete(
        rows, OWN, rows[OWN].notna(), f"time; the first complete one was kept.{hint}", schema, findings
    )
    if schema.session is None:
        return rows
    telling = rows[CODE].map({code: visit_months(code) is not None for code in rows[CODE].unique()}).astype(bool)
    if telling.mean() <= 0.5:
        return rows
    return _first_complete(rows, CODE, telling, "visit code; the first complete one was kept.", schema, findings)


def _first_complete(
    rows: pd.DataFrame, key: str, among: pd.Series, what: str, schema: Schema, findings: Findings
) -> pd.DataFrame:
    order = rows[schema.regions].isna().sum(axis=1).sort_values(kind="stable").index
    extra = rows.loc[order].duplicated(["subject", key]).reindex(rows.index) & among
    return _drop(rows, extra, "duplicate", "warning", f"a second row for the same subject and {what}", findings)


def _complete(rows: pd.DataFrame, schema: Schema, missing: Missing, path: str, findings: Findings) -> pd.DataFrame:
    gaps = rows[schema.regions].isna()
    lacking, nothing = gaps.any(axis=1), gaps.all(axis=1)
    if not lacking.any():
        return rows
    if missing == "error":
        lines = rows[LINE][lacking].to_numpy()
        name = schema.regions[int(gaps[lacking].to_numpy()[lines.argmin()].argmax())]
        raise CohortError(
            f"{path}, line {lines.min()}, column {name}: no value ({len(lines)} visits lack a region). "
            "Fill them, or choose --missing drop-visit or --missing impute."
        )
    _say_gaps(rows, gaps, schema, missing, findings)
    if missing == "impute":
        rows = _drop(rows, nothing, "no-region", "info", "no region was measured; dropped.", findings)
        return rows
    kept = rows[~lacking]
    if kept.empty:
        worst = gaps.mean().sort_values(ascending=False)
        raise CohortError(
            f"{path}: no visit has all regions. Most often missing: "
            f"{listed(f'{n} ({v:.0%})' for n, v in worst.items())}. "
            "Leave some out with --exclude, or choose --missing impute."
        )
    return _drop(
        rows,
        lacking,
        "missing-region",
        "warning",
        f"a region is missing (all of them at {int(nothing.sum())}); the visits were dropped (--missing drop-visit).",
        findings,
    )


def _say_gaps(rows: pd.DataFrame, gaps: pd.DataFrame, schema: Schema, missing: Missing, findings: Findings) -> None:
    """A few columns that cost many visits, and what to do about them."""
    some = ~gaps.all(axis=1)
    if missing == "impute":
        count = int(gaps[some].to_numpy().sum())
        findings.info(
            "imputed",
            f"{count:,} missing values of regions stay open, to be filled in training.",
            rows=rows[LINE][some & gaps.any(axis=1)],
        )
        return
    costly = [name for name in schema.regions if gaps[name][some].mean() > 0.2]
    if costly and len(costly) < len(schema.regions):
        rest = [name for name in schema.regions if name not in costly]
        saved = int((~gaps[rest].any(axis=1)).sum() - (~gaps.any(axis=1)).sum())
        if saved > 0:
            findings.warning(
                "costly-region",
                f"{saved:,} more visits could be used without {listed(costly)}: add --exclude "
                f"{','.join(costly[:12])}, or --missing impute.",
                costly[0],
            )


def _in_order(rows: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    ahead = rows.groupby("subject", sort=False)[OWN].shift()
    late = rows.index[rows[OWN] < ahead]
    if len(late):
        findings.info(
            "order",
            "earlier than the subject's row before; the visits were put in order of time.",
            rows=rows.loc[late, LINE],
        )
    if CODE in rows:
        _say_codes(rows, findings)
    return rows.sort_values(["subject", OWN], kind="stable")


def _say_codes(rows: pd.DataFrame, findings: Findings) -> None:
    """Dates that run against the visit codes."""
    months = rows[CODE].map({code: visit_months(code) for code in rows[CODE].unique()}).astype(float)
    known = rows.assign(months=months)[months.notna()].sort_values(["subject", "months"], kind="stable")
    back = known[OWN] < known.groupby("subject")[OWN].shift()
    if back.any():
        findings.warning(
            "time-against-code",
            "earlier than the visit whose code comes before; the time was believed.",
            rows=known[LINE][back],
        )


def _age(rows: pd.DataFrame, schema: Schema, findings: Findings) -> pd.Series:
    if schema.time_kind == "age":
        return rows[OWN].astype(float)
    if schema.age is None:
        return pd.Series(np.nan, rows.index)
    first = rows.groupby("subject")["age"].transform("first")
    if schema.age_is_baseline:
        return first + _since_baseline(rows, schema)
    whole = bool((rows["age"].dropna() % 1 == 0).all())
    if not whole or schema.time_kind == "visit":
        return rows["age"].astype(float)
    findings.info(
        "whole-age",
        "ages are in whole years; the age at a visit was taken as the age at the first visit plus the "
        "exact time since.",
        schema.age,
    )
    began = rows["time"].where(rows["age"].notna()).groupby(rows["subject"]).transform("first")
    return first + rows["time"] - began


def _since_baseline(rows: pd.DataFrame, schema: Schema) -> pd.Series:
    """Years since baseline: the table's own, else since the visit coded as baseline, else since the first."""
    base = rows["time"].where(rows[CODE].isin(BASELINE)) if CODE in rows else rows["time"] * np.nan
    if CODE in rows and not base.notna().any():
        base = rows["time"] - rows[CODE].map(visit_months, na_action="ignore").astype(float) / PER_YEAR["visit"]
    begun = base.groupby(rows["subject"]).transform("first").fillna(0.0)
    years = rows["time"] - begun
    if schema.since_baseline is None:
        return years
    return rows[schema.since_baseline].fillna(years)


def _drop(
    rows: pd.DataFrame, where: pd.Series, code: str, severity: str, message: str, findings: Findings
) -> pd.DataFrame:
    if not where.any():
        return rows
    (findings.warning if severity == "warning" else findings.info)(code, message, rows=rows[LINE][where])
    return rows[~where]
