"""Columns that know the future: constant within a subject, and known only after some of its visits."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from crow.cohort import names
from crow.cohort.facts import Facts, correlation
from crow.cohort.parameters import (
    MAX_AGE,
    MAX_FUTURE_EXCESS,
    MAX_FUTURE_YEARS,
    MIN_FUTURE_CORRELATION,
    MIN_FUTURE_SUBJECTS,
    MIN_IDENTITY_SUBJECTS,
    MIN_SHARE,
)

CONVERTED = re.compile(
    r"(.* )?(convert(ed|er|ers|s)|conversion|progress(ed|or|ors|ion)|[ps]-?mci|decliners?|died|deceased|dropped out)"
    r"( .*)?"
)
"""Levels that are known when the study ends."""
MIN_AGES = 3
UNITS = {"years": 1.0, "months": 12.0, "days": 365.25}


def future_columns(facts: Facts, among: Iterable[str], ages: pd.Series | None) -> dict[str, str]:
    """The columns that know the future, and why; ``ages`` are the ages at the rows, if known.

    An age at or after the last visit; a time at or beyond the follow-up; the number of visits; a level such as
    Converted; an outcome by its name. A name such as dem or status counts only beside one of these.
    """
    if facts.years is None or not facts.repeated:
        return {}
    constant = [
        name
        for name in among
        if facts.constant(name) and not facts.once(name) and not names.matches(names.BASELINE, name)
        and not names.matches(names.CONSTANT, name)
    ]  # fmt: skip
    span = facts.years.groupby(facts.who).max() - facts.years.groupby(facts.who).min()
    last_age = ages.groupby(facts.who).max() if ages is not None else None
    found = {name: reason for name in constant if (reason := _reason(facts, name, span, last_age))}
    if found:
        for name in constant:
            if name not in found and names.BARE_OUTCOME.fullmatch(names.normal(name)):
                found[name] = "an outcome by its name, beside " + next(iter(found))
    found |= {name: "the value at the next visit by its name" for name in among if _of_next_visit(facts, name)}
    return found


def _of_next_visit(facts: Facts, name: str) -> bool:
    """Whether a column has the name of what is known at the next visit, and nothing at a subject's last."""
    if not names.matches(names.NEXT, name) or facts.constant(name) or facts.years is None:
        return False
    last = facts.years == facts.years.groupby(facts.who).transform("max")
    return bool(facts.columns.words(name)[last].isna().mean() >= MIN_FUTURE_SUBJECTS)


def _reason(facts: Facts, name: str, span: pd.Series, last_age: pd.Series | None) -> str | None:
    if names.matches(names.OUTCOME, name):
        return "an outcome by its name"
    values = facts.subject_values(name)
    if not facts.columns.is_number(name):
        level = next((level for level in values.unique() if CONVERTED.fullmatch(str(level).lower())), None)
        return f"its level {level}" if level is not None else None
    if facts.once(name) or len(values) < MIN_IDENTITY_SUBJECTS:
        if (
            names.normal(name).startswith("age")
            and len(values) >= MIN_AGES
            and (late := _late_age(name, values, last_age))
        ):
            return late
        return "a time to an event by its name" if names.matches(names.EVENT_TIME, name) else None
    return _late_age(name, values, last_age) or _long_time(name, values, span) or _visit_count(facts, values)


def _late_age(name: str, values: pd.Series, last_age: pd.Series | None) -> str | None:
    """An age at or after the last visit."""
    if last_age is None or values.max() > MAX_AGE or values.min() < 0:
        return None
    last = last_age.reindex(values.index)
    known = last.notna()
    if not known.any():
        return None
    values, last = values[known], last[known]
    late = float((values >= last - 0.01).mean())
    alike = names.matches(names.AGE, name) or names.normal(name).startswith("age")
    if not alike and float((values - last).median()) <= MAX_FUTURE_YEARS:
        alike = correlation(values.to_numpy(float), last.to_numpy(float)) > MIN_FUTURE_CORRELATION
    return (
        f"at or after the last visit in {late:.0%} of the subjects" if alike and late >= MIN_FUTURE_SUBJECTS else None
    )


def _long_time(name: str, values: pd.Series, span: pd.Series) -> str | None:
    """A time at or beyond the end of the follow-up."""
    span = span.reindex(values.index)
    named = names.matches(names.EVENT_TIME, name)
    of_subject = names.matches(names.COVARIATE, name) or names.matches(names.ANATOMY, name)
    several = span > 0
    if not several.any() or values.min() < 0:
        return None
    for unit, per_year in UNITS.items():
        beyond = values / per_year - span
        enough = float((beyond[several] >= -0.02).mean())
        ahead = float(beyond[several].median())
        equal = ahead <= MAX_FUTURE_EXCESS * float(span[several].median()) and not of_subject
        alike = (
            equal
            and correlation(values[several].to_numpy(float), span[several].to_numpy(float)) > MIN_FUTURE_CORRELATION
        )
        if enough >= MIN_FUTURE_SUBJECTS and (alike or (named and ahead <= float(span.median()) + 1.0)):
            return f"as long as the whole follow-up ({unit}) in {enough:.0%} of the subjects"
    return "a time to an event by its name" if named else None


def _visit_count(facts: Facts, values: pd.Series) -> str | None:
    counts = facts.who.value_counts().reindex(values.index)
    equal = float(np.mean(values == counts))
    return "the number of visits" if equal >= MIN_SHARE and counts.min() < counts.max() else None
