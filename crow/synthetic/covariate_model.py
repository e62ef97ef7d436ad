"""A model of a cohort's covariates and visits: when subjects are seen, and with which values. It keeps no record.

Each subject is described by one record: age at the first visit, number of visits, and for every covariate its first
value and how it changes. A Gaussian copula models the records, with what they lack. Between the first and the last
visit, numbers move along a line with noise, and a level changes at most once. Values are quantiles and levels that at
least five subjects share, so no row of the cohort can be read from a draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.cohort.schema import Schema
from crow.errors import CohortError
from crow.synthetic.copula import Copula
from crow.synthetic.marginal import MIN_COUNT, Marginal, step_of

MONTH = 1 / 12
DAY = 1 / 365.25
MIN_GAPS = 20
AGE, VISITS = "age at the first visit", "number of visits"
Values = NDArray[Any]


@dataclass(frozen=True)
class Change:
    """How a covariate changes within subjects: sd of a number about its line, shares of a level's successors, the share
    of later visits that lack it, and the range and unit of numbers."""

    sd: float
    after: dict[str, Marginal]
    missing: float
    low: float
    high: float
    step: float


@dataclass(frozen=True)
class CovariateModel:
    """What `fit` learned: the copula of the records, the gaps in months after the first, second, ... visit, changes by
    covariate, and the months from the first to the last visit of the subjects with the longest follow-up."""

    schema: Schema
    kinds: dict[str, str]
    copula: Copula
    gaps: list[Marginal]
    longest: float
    changes: dict[str, Change]

    @classmethod
    def fit(cls, cohort: Cohort) -> CovariateModel:
        """Fit to the subjects of a cohort; raises CohortError if they are fewer than `MIN_COUNT`."""
        if len(cohort.subjects) < MIN_COUNT:
            raise CohortError(
                f"{cohort.path or 'the cohort'}: {len(cohort.subjects)} subjects; covariates of new subjects need at "
                f"least {MIN_COUNT}, so that none are those of one subject. Give a larger cohort, or a table with "
                "--covariates."
            )
        visits = cohort.visits.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
        by_subject = visits.groupby("subject", sort=False)
        records: dict[str, pd.Series] = {AGE: by_subject["age"].first() - by_subject["time"].first()}
        records[VISITS] = by_subject.size().astype(float)
        categorical: set[str] = set()
        changes: dict[str, Change] = {}
        for name, kind in _kinds(cohort.schema, visits).items():
            records[name] = by_subject[name].first()
            changing = name not in cohort.schema.fixed
            if kind == "categorical":
                categorical.add(name)
            if changing and kind == "categorical":
                changed = by_subject[name].nunique().gt(1)
                records[f"{name} changes"] = changed.astype(float)
                changes[name] = _changes_of_levels(visits, name)
            elif changing:
                records[f"{name} per year"] = _slopes(visits, name)
                changes[name] = _changes_of_numbers(visits, name, records[f"{name} per year"])
        gaps = by_subject["time"].diff().clip(lower=DAY) / MONTH
        copula = Copula.fit(pd.DataFrame(records), categorical)
        longest = by_subject["time"].last().nlargest(MIN_COUNT).mean() / MONTH
        kinds = _kinds(cohort.schema, visits)
        return cls(cohort.schema, kinds, copula, _gaps(gaps, by_subject.cumcount()), float(longest), changes)

    def draw(self, count: int, generator: np.random.Generator, first: int = 1, digits: int = 4) -> pd.DataFrame:
        """The visits of ``count`` subjects, without regions, in the columns of `Cohort.visits`.

        ``first`` is the number in the name of the first subject.
        """
        records = self.copula.draw(count, generator)
        number = records[VISITS].astype(float).round().clip(lower=1).astype(int).to_numpy()
        row = np.repeat(np.arange(count), number)
        position = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
        time = self._times(row, position, generator)
        visits = pd.DataFrame({
            "subject": [f"synthetic{first + k:0{digits}d}" for k in row],
            "session": (position + 1).astype(str),
            "time": time,
        })  # fmt: skip
        visits["age"] = records[AGE].astype(float).to_numpy()[row] + time if AGE in records else np.nan
        for name, kind in self.kinds.items():
            start = records[name] if name in records else pd.Series(np.nan, records.index, dtype=object)
            if name not in self.changes:
                visits[name] = start.to_numpy()[row]
            elif kind == "categorical":
                changed = records[f"{name} changes"].astype(float).to_numpy() > 0.5
                visits[name] = self._levels(name, start.to_numpy(object), changed, row, position, number, generator)
            else:
                slope = records.get(f"{name} per year", pd.Series(0.0, records.index)).astype(float).fillna(0.0)
                first_value = start.astype(float).to_numpy()
                visits[name] = self._numbers(name, first_value, slope.to_numpy(), row, time, generator)
            if name in self.changes:
                lost = (generator.random(len(row)) < self.changes[name].missing) & (position > 0)
                visits[name] = visits[name].where(~lost)
            visits[name] = visits[name].astype(float if kind == "numeric" else object)
            if kind == "categorical":
                visits[name] = visits[name].where(visits[name].notna(), None)
        return visits

    def _times(self, row: NDArray[Any], position: NDArray[Any], generator: np.random.Generator) -> Values:
        """Years since the first visit; at least a month apart for visit codes, else a day."""
        least = 1.0 if self.schema.time_kind in ("visit", "months") or self.schema.adni else DAY / MONTH
        z, gaps = generator.standard_normal(len(row)), np.zeros(len(row))
        which = np.minimum(position, len(self.gaps))
        for k, marginal in enumerate(self.gaps, 1):
            chosen = which == k
            gaps[chosen] = np.maximum(marginal.draw(z[chosen]).astype(float), least)
        total = np.cumsum(gaps)
        months = total - total[position == 0][row]
        end = pd.Series(months).groupby(row).transform("last").to_numpy()
        return np.asarray(months * np.minimum(1.0, self.longest / np.maximum(end, least)) * MONTH)

    def _numbers(
        self, name: str, start: Values, slope: Values, row: NDArray[Any], time: Values,
        generator: np.random.Generator,
    ) -> Values:  # fmt: skip
        change = self.changes[name]
        noise = generator.normal(0.0, change.sd, len(row)) * (time > 0)
        values = start[row] + slope[row] * time + noise
        values = np.clip(values, change.low, change.high)
        return np.round(values / change.step) * change.step if change.step else values

    def _levels(
        self, name: str, start: NDArray[Any], changed: NDArray[np.bool_], row: NDArray[Any],
        position: NDArray[Any], number: NDArray[Any], generator: np.random.Generator,
    ) -> NDArray[Any]:  # fmt: skip
        """The first level, and from a visit drawn at random on, a successor of it if it changes."""
        when = 1 + np.floor(generator.random(len(start)) * np.maximum(number - 1, 1)).astype(int)
        z, then = generator.standard_normal(len(start)), start.copy()
        for level, after in self.changes[name].after.items():
            chosen = (start == level) & changed
            then[chosen] = after.draw(z[chosen])
        values: NDArray[Any] = np.where(position >= when[row], then[row], start[row])
        return values


def _kinds(schema: Schema, visits: pd.DataFrame) -> dict[str, str]:
    """Kinds of the covariates, and of the sites, which are categories."""
    return {**schema.covariates, **{name: "categorical" for name in schema.sites if name in visits}}


def _gaps(gaps: pd.Series, position: pd.Series) -> list[Marginal]:
    """The gaps before the second, third, ... visit; later ones, which few subjects have, are like the last of these."""
    found: list[Marginal] = []
    for k in range(1, int(position.max()) + 1):
        here = gaps[position == k]
        if (len(here) < MIN_GAPS and found) or (marginal := Marginal.of_numbers(here)) is None:
            break
        found.append(marginal)
    return found or [Marginal([12.0], np.ones(1), np.empty(0), 0.0)]


def _slopes(visits: pd.DataFrame, name: str) -> pd.Series:
    """Of each subject's least-squares line; NaN for subjects with fewer than two values."""
    known = visits[["subject", "time", name]].dropna()
    known = known.assign(value=known[name].astype(float))
    mean = known.groupby("subject", sort=False)[["time", "value"]].transform("mean")
    t, x = known["time"] - mean["time"], known["value"] - mean["value"]
    above = (t * x).groupby(known["subject"], sort=False).sum()
    below = (t * t).groupby(known["subject"], sort=False).sum()
    return (above / below.where(below > 1e-9)).reindex(visits["subject"].unique())


def _changes_of_numbers(visits: pd.DataFrame, name: str, slopes: pd.Series) -> Change:
    values = visits[name].astype(float)
    first = values.groupby(visits["subject"]).transform("first")
    rest = values - first - visits["subject"].map(slopes) * visits["time"]
    later = visits.groupby("subject").cumcount() > 0
    rest = rest[later & rest.notna()]
    sd = float(rest.std()) / 2**0.5 if len(rest) > 2 else 0.0  # two noisy values differ by sqrt(2) sd
    known = values.dropna()
    ends = known.groupby(visits["subject"]).agg(["min", "max"])
    low, high = ends["min"].nsmallest(MIN_COUNT).mean(), ends["max"].nlargest(MIN_COUNT).mean()
    return Change(sd, {}, _lost(visits, name, later), float(low), float(high), step_of(known.to_numpy()))


def _changes_of_levels(visits: pd.DataFrame, name: str) -> Change:
    known = visits[["subject", name]].dropna()
    before = known.groupby("subject")[name].shift()
    moved = known[name].ne(before) & before.notna()
    subjects = known.groupby(name)["subject"].nunique()
    common = set(subjects[subjects >= MIN_COUNT].index)
    after = {
        str(level): after
        for level, targets in known[name][moved & known[name].isin(common)].groupby(before[moved])
        if (after := Marginal.of_levels(targets, least=1)) is not None
    }
    later = visits.groupby("subject").cumcount() > 0
    return Change(0.0, after, _lost(visits, name, later), 0.0, 0.0, 0.0)


def _lost(visits: pd.DataFrame, name: str, later: pd.Series) -> float:
    """The share of later visits that lack a covariate, among subjects who have it somewhere."""
    measured = visits[name].notna().groupby(visits["subject"]).transform("any")
    rows = later & measured
    return float(visits[name][rows].isna().mean()) if rows.any() else 0.0
