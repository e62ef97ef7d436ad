"""The visits to forecast, and the covariates at them, as a user gives them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.cohort.covariate_paths import CARRIED, Future, future_visits
from crow.errors import CohortError, ConfigError
from crow.representation.regions import RegionTable

MAX_TIMES = 1000  # each is a question of its own
DIGITS = 9  # of years: 0.7 + 0.1 is the 0.8 of a table
MEANING = "What-if forecasts are differences between such subjects, not the effect of an intervention."


@dataclass(frozen=True)
class CovariateChange:
    """A value of a covariate from ``at`` years after the last visit on; None is from the first future visit on."""

    name: str
    value: str
    at: float | None
    flag: str = "--set-covariate"

    @classmethod
    def parse(cls, text: str, flag: str = "--set-covariate") -> CovariateChange:
        """``CDRSB=5@2.5`` or ``CDRSB=5``; raises ConfigError for anything else."""
        name, equals, rest = text.partition("=")
        value, at, when = rest.rpartition("@") if "@" in rest else (rest, "", "")
        if not (name.strip() and equals and value.strip()):
            raise ConfigError(f"{flag} {text}: write it as NAME=VALUE@YEARS, for instance CDRSB=5@2.5.")
        return cls(name.strip(), value.strip(), _years(f"{flag} {text}", when) if at else None, flag)


def parse_times(text: str) -> list[float]:
    """Years after the last visit, above 0: ``1,2.5,5``, or ``0.5:5`` (every half year), or ``1m:24m`` (every month).

    A range is ``FIRST:LAST`` or ``FIRST:LAST:STEP``; without a step, the first time is the step. ``m`` counts months.
    Raises ConfigError for anything else.
    """
    parts = text.split(",")
    _check_count(text, len(parts))
    times = [time for part in parts for time in _range(f"--at {text}", part)]
    _check_count(text, len(times))
    return sorted(set(times))


def _check_count(text: str, count: int) -> None:
    if count > MAX_TIMES:
        raise ConfigError(f"--at {text[:20]}...: {count:,} times; at most {MAX_TIMES:,} are answered at once.")


def named(history: Cohort, subjects: Sequence[str]) -> list[str]:
    """Subjects by name, each once; BIDS subjects with or without ``sub-``."""
    known = set(history.subjects)
    each = (f"sub-{name}" if name not in known and f"sub-{name}" in known else name for name in subjects)
    return list(dict.fromkeys(each))


def visits_after(history: Cohort, subjects: list[str], at: list[float]) -> pd.DataFrame:
    """The visits ``at`` years after the last one of each subject: subject, time (years since its first visit).

    Raises CohortError for a subject that the cohort does not have.
    """
    last = history.visits.groupby("subject")["time"].max()
    for subject in subjects:
        if subject not in last:
            near = difflib.get_close_matches(subject, history.subjects, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"The first is {history.subjects[0]}."
            raise CohortError(f"{history.path}: column {history.schema.subject} has no subject {subject}. {hint}")
    each = pd.DataFrame({"subject": np.repeat(subjects, len(at)), "ahead": np.tile(at, len(subjects))})
    return pd.DataFrame({"subject": each["subject"], "time": each["subject"].map(last) + each["ahead"]})


def with_changes(
    history: Cohort, visits: pd.DataFrame, table: pd.DataFrame | None, changes: list[CovariateChange], future: Future
) -> pd.DataFrame:
    """The visits with covariates from ``table`` and ``changes``, even if those lie between the visits.

    A value of ``changes`` is known from its time on, one of ``table`` at its own time.
    Raises CohortError for a covariate that the cohort does not have and for a value that is not a number.
    """
    _check_once(changes)
    subjects = list(visits["subject"].unique())
    visits = visits.assign(time=visits["time"].round(DIGITS))
    rows = [visits] if table is None else [visits, table[table["subject"].isin(subjects)]]
    first = visits.groupby("subject", sort=False)["time"].first()
    times: list[tuple[CovariateChange, pd.Series]] = []
    for change in changes:
        last = history.visits.groupby("subject")["time"].max().loc[subjects]
        at = (first if change.at is None else last + change.at).round(DIGITS)
        times.append((change, at))
        rows.append(pd.DataFrame({"subject": at.index, "time": at.to_numpy(), change.name: _value(history, change)}))
    every = pd.concat(rows)
    every = every.assign(time=every["time"].round(DIGITS))
    every = every.groupby(["subject", "time"], sort=False, as_index=False).last()
    path = future_visits(history, every, future)
    for change, at in times:
        if (carried := CARRIED + change.name) in path:
            path[carried] = path[carried].mask(path["time"] >= path["subject"].map(at), 0.0)
    return visits.merge(path, on=["subject", "time"], how="left")


def _check_once(changes: list[CovariateChange]) -> None:
    """Raise ConfigError for a covariate that has two values from the same time on."""
    first: dict[tuple[str, float | None], CovariateChange] = {}
    for change in changes:
        other = first.setdefault((change.name, change.at), change)
        if other.value != change.value:
            when = "the first forecast visit" if change.at is None else f"{change.at:g} years"
            raise ConfigError(
                f"{change.flag} {change.name}: {other.value} and {change.value} are both set from {when} on. Keep one."
            )


def changes_text(changes: list[CovariateChange]) -> str:
    """``CDRSB 5 at 2.5 years, DX Dementia``."""
    return ", ".join(f"{one.name} {one.value}" + ("" if one.at is None else f" at {one.at:g} years") for one in changes)


def out_of_range(history: Cohort, changes: list[CovariateChange]) -> str:
    """One line per number outside the range of the cohort; empty if there are none."""
    warnings = []
    for one in changes:
        if history.schema.covariates.get(one.name) == "numeric":
            values = history.visits[one.name].astype(float)
            if not values.min() <= float(_value(history, one)) <= values.max():
                warnings.append(
                    f"{one.name} {one.value} is an extrapolation: in the cohort it lies between {values.min():g} and "
                    f"{values.max():g}."
                )
    return "\n".join(warnings)


def unsupported(table: RegionTable, visits: pd.DataFrame, changed: list[str]) -> str:
    """One line per combination with ``changed`` covariates that hardly any training subject had, or nothing."""
    if table.support is None or not changed:
        return ""
    rare = table.support.warnings(visits, changed)
    return "\n".join(f"extrapolation: {sentence}" for sentence in rare)


def _value(history: Cohort, one: CovariateChange) -> float | str:
    kinds = history.schema.covariates
    if one.name not in kinds:
        near = difflib.get_close_matches(one.name, kinds, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Its covariates are {', '.join(kinds) or 'none'}."
        raise CohortError(f"{one.flag} {one.name}: the run has no such covariate. {hint}")
    if kinds[one.name] == "categorical":
        return one.value
    try:
        number = float(one.value)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise CohortError(f"{one.flag} {one.name}: found {one.value!r} where a number is needed.")
    return number


def _range(flag: str, text: str) -> list[float]:
    if ":" not in text:
        return [_years(flag, text)]
    bounds = [_years(flag, part) for part in text.split(":")]
    if len(bounds) > 3 or bounds[1] < bounds[0]:
        raise ConfigError(f"{flag}: {text.strip()!r} is no range. Write FIRST:LAST or FIRST:LAST:STEP, such as 1m:24m.")
    first, last, step = (*bounds, bounds[0])[:3]
    count = int((last - first) / step * (1 + 1e-9)) + 1
    _check_count(text, count)
    return [round(first + k * step, 6) for k in range(count)]


def _years(flag: str, text: str) -> float:
    text, months = text.strip(), text.strip().lower().endswith("m")
    try:
        years = float(text[:-1]) / 12 if months else float(text)
    except ValueError:
        raise ConfigError(f"{flag}: {text.strip()!r} is not a number of years after the last visit.") from None
    if not 0 < years < np.inf:
        raise ConfigError(f"{flag}: {years:g} is not after the last visit; give years above 0.")
    return years
