"""Whose visit a row is, and when it was: the subject, time, session and age columns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from crow.cohort import names
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings
from crow.cohort.layouts import Layout
from crow.cohort.options import ReadOptions, listed, one_column
from crow.cohort.times import PER_YEAR, DateOrder, TimeKind, is_visit_codes
from crow.errors import CohortError

UNITLESS = {"t", "time", "times", "follow_up", "followup"}
UNITS: dict[TimeKind, re.Pattern[str]] = {"days": names.DAYS, "months": names.MONTHS, "years": names.YEARS}
FINE: dict[TimeKind, int] = {"date": 0, "days": 1, "years": 2, "months": 2, "age": 3, "visit": 5}
WHOLE: dict[TimeKind, int] = {"months": 4, "years": 6, "age": 7}
COVERS = 0.9


@dataclass(frozen=True)
class Timeline:
    """The columns that place a row in a subject's time."""

    subject: str
    time: str
    kind: TimeKind
    session: str | None
    age: str | None
    age_is_baseline: bool
    date_order: DateOrder | None


@dataclass(frozen=True)
class Clock:
    """A column that could be the time: its kind, its values in years, and its rank (the finest first)."""

    name: str
    kind: TimeKind
    years: pd.Series
    rank: int


def find_subject(columns: Columns, layout: Layout, options: ReadOptions, findings: Findings) -> str:
    """The column that says whose row it is; raises CohortError where there is none, or several that disagree."""
    if options.subject is not None:
        return one_column("subject", options.subject, columns.names, columns.path)
    if layout.subject is not None:
        return layout.subject
    named = [name for known in names.SUBJECTS for name in columns.names if names.normal(name) == known]
    named = [name for name in named if not columns.is_empty(name)]
    if not named:
        raise CohortError(
            f"{columns.path}: no subject column was found among {listed(columns.names)}. Name it with --subject COLUMN."
        )
    repeated = [name for name in named if columns.cells(name).duplicated().any()]
    named = repeated or named
    if any(not _same_groups(columns.cells(named[0]), columns.cells(other)) for other in named[1:]):
        raise _ambiguous(columns.path, "subject", named)
    if len(named) > 1:
        findings.info("subject", f"{listed(named)} name the same subjects; {named[0]} was taken.", named[0])
    return named[0]


def find_timeline(columns: Columns, layout: Layout, subject: str, options: ReadOptions, findings: Findings) -> Timeline:
    """The time column and what goes with it; raises CohortError where there is none, or several equally good ones."""
    who = columns.cells(subject)
    clock = _clock(columns, layout, subject, who, options, findings)
    order = None
    if clock.kind == "date":
        order, guessed = columns.date_order(clock.name)
        if guessed:
            findings.warning(
                "date-order", "no day above 12 tells which comes first; dates were read as month/day/year.", clock.name
            )
    session = _session(columns, layout, who, clock, options)
    age = _age(columns, layout, who, clock, options, findings)
    baseline = age is not None and age != clock.name and _is_baseline(columns.numbers(age).values, clock.years, who)
    if baseline:
        findings.warning(
            "baseline-age",
            "the age is the same at all visits of a subject, so it is the age at baseline; the "
            "age at a visit was taken as this age plus the years since baseline.",
            age,
        )
    return Timeline(subject, clock.name, clock.kind, session, age, baseline, order)


def tells_time(columns: Columns, among: list[str], subject: str, options: ReadOptions) -> bool:
    """Whether one of the columns is a time that moves within subjects."""
    who = columns.cells(subject)
    clocks = (_as_clock(columns, name, who, options.time_kind, Findings()) for name in among)
    return any(clock is not None and _varies(clock.years, who) for clock in clocks)


def _clock(
    columns: Columns, layout: Layout, subject: str, who: pd.Series, options: ReadOptions, findings: Findings
) -> Clock:
    if options.time is not None:
        name = one_column("time", options.time, columns.names, columns.path)
        return _given_clock(columns, name, who, options, findings)
    among = [name for name in (layout.times or layout.clocks or columns.names) if name in columns and name != subject]
    clocks = [clock for name in among if (clock := _as_clock(columns, name, who, options.time_kind, findings))]
    moving = [clock for clock in clocks if _varies(clock.years, who) or not who.duplicated().any()]
    if not moving:
        raise CohortError(f"{columns.path}: {_no_time(columns, clocks, subject)}")
    most = max(clock.years.notna().sum() for clock in moving)
    good = [clock for clock in moving if clock.years.notna().sum() >= COVERS * most]
    best = good[0] if layout.times else min(good, key=lambda clock: clock.rank)
    equal = [clock for clock in good if clock.rank == best.rank and not layout.times]
    if any(_disagreeing(best, other, who, 0.05) for other in equal[1:]):
        counts = {clock.name: int(clock.years.notna().sum()) for clock in equal}
        raise _ambiguous(columns.path, "time", [clock.name for clock in equal], counts)
    for other in good:
        if other is not best:
            _compare(columns, best, other, who, findings)
    return best


def _given_clock(columns: Columns, name: str, who: pd.Series, options: ReadOptions, findings: Findings) -> Clock:
    kind = options.time_kind or _kind(columns, name, who, findings)
    if kind is None:
        raise CohortError(
            f"{columns.path}, column {name}: holds neither numbers, dates nor visit codes, so it cannot be the time. "
            "Name another with --time, or say what it holds with --time-kind."
        )
    return Clock(name, kind, _years(columns, name, kind), 0)


def _as_clock(columns: Columns, name: str, who: pd.Series, given: TimeKind | None, findings: Findings) -> Clock | None:
    normal = names.normal(name)
    known = names.is_age(name) or names.is_date(name)
    known |= any(names.matches(p, name) for p in (names.YEARS, names.MONTHS, names.DAYS, names.SESSION))
    if not known or (names.matches(names.COVARIATE, name) and not names.is_age(name)) or columns.is_empty(name):
        return None
    trial = Findings()
    kind = _kind(columns, name, who, trial)
    if kind is None:
        return None
    findings.extend(trial)
    kind = given if given and normal in UNITLESS else kind
    years = _years(columns, name, kind)
    whole = kind in ("years", "months", "age") and bool((columns.numbers(name).values.dropna() % 1 == 0).all())
    return Clock(name, kind, years, (WHOLE if whole else FINE)[kind])


def _kind(columns: Columns, name: str, who: pd.Series, findings: Findings) -> TimeKind | None:
    if not columns.is_number(name):
        if columns.is_dates(name):
            return "date"
        return "visit" if is_visit_codes(columns.words(name).dropna(), columns.adni) else None
    if names.matches(names.SESSION, name):
        return None
    if names.is_date(name):
        return "date" if columns.is_dates(name) else None
    if names.is_age(name):
        return "age"
    if names.normal(name) not in UNITLESS:
        for unit, pattern in UNITS.items():
            if names.matches(pattern, name):
                return unit
    return _unit(columns, name, who, findings)


def _unit(columns: Columns, name: str, who: pd.Series, findings: Findings) -> TimeKind:
    """The unit of numbers whose name does not tell it, from an age that moves along or else from their size."""
    values = columns.numbers(name).values
    spent = values - values.groupby(who).transform("min")
    for other in columns.names:
        if other != name and names.is_age(other) and columns.is_number(other):
            age = columns.numbers(other).values
            aged = age - age.groupby(who).transform("min")
            ratio = float(spent[aged >= 1].sum() / max(aged[aged >= 1].sum(), 1e-9))
            for unit in UNITS:
                if 0.7 < ratio / PER_YEAR[unit] < 1.4:
                    return unit
    kind: TimeKind = "years"
    first = values.groupby(who).min().median()
    if first > 15 and values.max() <= 120:
        kind = "age"
    elif spent.max() > 130:
        kind = "days" if first < 1800 else "years"
    elif (values.dropna() % 1 == 0).all() and spent[spent > 0].min() >= 3:
        kind = "months"
    what = "an age in years" if kind == "age" else f"{kind} of follow-up"
    findings.info("time-unit", f"its size says that it holds {what}; if not, add --time-kind.", name)
    return kind


def _years(columns: Columns, name: str, kind: TimeKind) -> pd.Series:
    values = columns.times(name, kind)
    if kind == "date":
        return (values - pd.Timestamp(2000, 1, 1)).dt.days / 365.25
    return values / PER_YEAR[kind]


def _varies(values: pd.Series, who: pd.Series) -> bool:
    """Whether most subjects with several values have different ones."""
    grouped = values.groupby(who)
    several = grouped.count() > 1
    return bool(several.any()) and (grouped.nunique()[several] > 1).mean() > 0.5


def _disagreeing(one: Clock, other: Clock, who: pd.Series, tolerance: float) -> list[int]:
    """The rows where two clocks, each set to the subject's own middle, differ by more than so many years."""
    apart = one.years - other.years
    apart = (apart - apart.groupby(who).transform("median")).abs()
    return list(apart.index[apart > tolerance])


def _compare(columns: Columns, best: Clock, other: Clock, who: pd.Series, findings: Findings) -> None:
    rows = _disagreeing(best, other, who, 1.01 if "age" in (best.kind, other.kind) else 0.5)
    both = int((best.years.notna() & other.years.notna()).sum())
    if len(rows) > both / 2:
        raise _ambiguous(columns.path, "time", [best.name, other.name])
    if rows:
        findings.warning(
            "time-disagrees",
            f"{other.name} and {best.name} differ by more than half a year; {best.name} was used.",
            other.name,
            columns.lines[rows],
        )


def _session(columns: Columns, layout: Layout, who: pd.Series, clock: Clock, options: ReadOptions) -> str | None:
    if options.session is not None:
        return one_column("session", options.session, columns.names, columns.path)
    if layout.session is not None:
        return layout.session
    if clock.kind == "visit":
        return clock.name
    for name in columns.names:
        if names.matches(names.SESSION, name) and name != clock.name and not columns.is_empty(name):
            words = columns.words(name)
            if not pd.concat([who, words], axis=1)[words.notna()].duplicated().mean() > 1 - COVERS:
                return name
    return None


def _age(
    columns: Columns, layout: Layout, who: pd.Series, clock: Clock, options: ReadOptions, findings: Findings
) -> str | None:
    if options.age is not None:
        return one_column("age", options.age, columns.names, columns.path)
    if clock.kind == "age":
        return clock.name
    if layout.age is not None:
        return layout.age
    ages = [name for name in columns.names if names.is_age(name) and columns.is_number(name)]
    if not ages:
        findings.info("no-age", "no age column was found; name it with --age COLUMN if there is one.")
        return None
    ages.sort(key=lambda name: (not _varies(columns.numbers(name).values, who), -columns.numbers(name).filled))
    if len(ages) > 1:
        findings.info("age", f"{listed(ages)} are ages; {ages[0]} was taken; another with --age COLUMN.", ages[0])
    return ages[0]


def _is_baseline(age: pd.Series, years: pd.Series, who: pd.Series) -> bool:
    """Whether the age stands still where time moves by more than an age in such steps would hide."""
    hidden = 1.0 if (age.dropna() % 1 == 0).all() else 0.05
    both = age.notna() & years.notna()
    spans, ages = years[both].groupby(who[both]), age[both].groupby(who[both])
    long = (spans.max() - spans.min()) > hidden
    return bool(long.any()) and ((ages.max() - ages.min())[long] == 0).mean() > COVERS


def _same_groups(one: pd.Series, other: pd.Series) -> bool:
    pairs = len(pd.concat([one, other], axis=1).drop_duplicates())
    return pairs == one.nunique() == other.nunique()


def _ambiguous(path: str, role: str, candidates: Iterable[str], counts: dict[str, int] | None = None) -> CohortError:
    flags = [f"--{role} {_quoted(n)}" + (f" ({counts[n]:,} visits)" if counts else "") for n in candidates]
    return CohortError(f"{path}: several columns could be the {role}: add {' or '.join(flags)}.")


def _quoted(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else f"'{name}'"


def _no_time(columns: Columns, clocks: list[Clock], subject: str) -> str:
    if clocks:
        return (
            f"{listed(clock.name for clock in clocks)}: the same at every visit of a subject, so nothing tells when a "
            "visit was (an age that repeats is the age at baseline). Name the time column with --time COLUMN."
        )
    rest = [name for name in columns.names if name != subject]
    kinds = "age, date, years, months, days or visit code"
    return f"no time column ({kinds}) was found among {listed(rest)}. Name it with --time COLUMN."
