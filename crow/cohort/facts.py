"""What the values of a column tell about its role: constant, counted, repeated, growing like an age."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort import names
from crow.cohort.columns import Columns
from crow.cohort.parameters import (
    MAX_AGE,
    MAX_AGE_DEVIATION,
    MAX_LEVELS,
    MIN_CONSTANT_SHARE,
    MIN_IDENTITY_SUBJECTS,
    MIN_SHARE,
)

PER_YEAR = (1.0, 12.0, 365.25, 24 * 365.25, 86400 * 365.25, 86_400_000 * 365.25)
"""Years, months, days, hours, seconds and milliseconds per year."""
NEAR_RATE = 0.02
MIN_STEP, MIN_STEPS = 0.1, 10
"""Years of a step between two rows of a subject, and how many such steps tell a rate."""


class Facts:
    """Facts about the columns of a table whose rows belong to subjects ``who`` at times ``years``."""

    def __init__(self, columns: Columns, who: pd.Series, years: pd.Series | None = None) -> None:
        self.columns = columns
        self.who = pd.Series(pd.factorize(who)[0], who.index)
        self.years = years
        self._order = np.argsort(self.who.to_numpy(), kind="stable")
        self._sorted_who = self.who.to_numpy()[self._order]
        self.subjects = int(self.who.max()) + 1
        self.repeated = bool(self.who.duplicated().any())
        self.constant = lru_cache(maxsize=None)(self._constant)
        self.whole = lru_cache(maxsize=None)(self._whole)

    def subject_values(self, name: str) -> pd.Series:
        """The first value of each subject, by its number."""
        values = self.columns.filled(name)
        return values.groupby(self.who[values.index]).first()

    def _constant(self, name: str) -> bool:
        """Whether no subject has two different values."""
        return len(self._changing(name)) == 0

    def mostly_constant(self, name: str) -> bool:
        """Whether few subjects have two different values: those contradict themselves."""
        return len(np.unique(self._changing(name))) <= (1 - MIN_CONSTANT_SHARE) * self.subjects

    def _changing(self, name: str) -> NDArray[np.integer]:
        """The subject of every pair of consecutive values that differ."""
        if self.columns.is_number(name):
            values = self.columns.numbers(name).values.to_numpy()[self._order]
            known = ~np.isnan(values)
        else:
            values = pd.factorize(self.columns.words(name))[0][self._order]
            known = values >= 0
        values, who = values[known], self._sorted_who[known]
        return who[1:][(values[1:] != values[:-1]) & (who[1:] == who[:-1])]

    def once(self, name: str) -> bool:
        """Whether no subject has a second value, though subjects have several rows."""
        who = self.who[self.columns.filled(name).index]
        return self.repeated and not who.duplicated().any()

    def _whole(self, name: str) -> bool:
        return self.columns.is_number(name) and not self.columns.numbers(name).has_decimals

    def few_levels(self, name: str) -> bool:
        return self.whole(name) and self.columns.filled(name).nunique() <= MAX_LEVELS

    def is_row_number(self, name: str) -> bool:
        """Whether whole numbers count the rows of the file."""
        if not self.whole(name):
            return False
        steps = np.diff(self.columns.numbers(name).values.to_numpy())
        return len(steps) > 1 and bool((steps == 1).mean() >= MIN_SHARE)

    def is_counter(self, name: str) -> bool:
        """Whether whole numbers count the rows of each subject."""
        if not self.whole(name) or not self.repeated:
            return False
        values = self.columns.numbers(name).values
        steps = values.groupby(self.who).diff().dropna()
        firsts = values[~self.who.duplicated()].dropna()
        return (
            len(steps) > 1
            and bool((steps == 1).mean() >= MIN_SHARE)
            and bool((firsts.isin([0, 1])).mean() >= MIN_SHARE)
        )

    def is_identity(self, name: str) -> bool:
        """Whether each level belongs to one subject or one row only, as names and codes do."""
        values = self.columns.filled(name)
        if self.subjects < MIN_IDENTITY_SUBJECTS or not len(values):
            return False
        number = self.columns.is_number(name)
        read = self.columns.numbers(name)
        if number != self.whole(name) or (not number and 2 * read.values.notna().sum() >= read.filled):
            return False
        named = names.matches(names.IDENTITY, name)
        if self.constant(name):
            levels = self.subject_values(name)
            counted = number and bool((np.diff(levels) == 1).all())
            return (named or counted or not number) and levels.nunique() >= MIN_SHARE * len(levels)
        return (named or not number) and values.nunique() >= MIN_SHARE * len(values)

    def grows_by_one(self, name: str) -> bool:
        """Whether a column grows by one per year in every subject, as an age does."""
        if self.years is None or not self.repeated:
            return False
        return grows_by_one(self.columns.numbers(name).values, self.years, self.who)

    def runs_with_time(self, name: str) -> bool:
        """Whether whole numbers grow as fast as the time passes in some unit: calendar years, days, seconds."""
        if self.years is None or not self.repeated or not self.whole(name):
            return False
        values, years = (
            column.to_numpy(float)[self._order] for column in (self.columns.numbers(name).values, self.years)
        )
        grown, passed = np.diff(values), np.diff(years)
        step = (self._sorted_who[1:] == self._sorted_who[:-1]) & np.isfinite(grown) & (np.abs(passed) > MIN_STEP)
        grown, passed = grown[step], passed[step]
        if len(grown) < MIN_STEPS:
            return False
        rate = float(np.abs(grown).sum() / np.abs(passed).sum())
        unit = next((unit for unit in PER_YEAR if abs(rate / unit - 1) < (0.1 if unit == 1.0 else NEAR_RATE)), None)
        if unit is None or (unit == 1.0 and np.nanmin(values) < MAX_AGE):
            return False
        return bool((np.abs(grown - unit * passed) <= 1.01 + NEAR_RATE * unit * np.abs(passed)).mean() >= MIN_SHARE)

    def is_region_like(self, name: str) -> bool:
        """Whether half of the cells are numbers that change within subjects, with decimals or a region's name."""
        read = self.columns.numbers(name)
        if read.values.notna().sum() < 0.5 * max(read.filled, 1) or (self.constant(name) and not self.once(name)):
            return False
        return names.matches(names.ANATOMY, name) or (read.has_decimals and not names.matches(names.IDENTITY, name))


def grows_by_one(values: pd.Series, years: pd.Series, who: pd.Series) -> bool:
    """Whether values between 0 and 120 grow by one per year within subjects, up to rounding."""
    if values.min() < 0 or values.max() > MAX_AGE:
        return False
    both = values.notna() & years.notna()
    if not both.any():
        return False
    values, years, who = values[both], years[both], who[both]
    since = pd.DataFrame({"grown": values, "passed": years})
    since = since - since.groupby(who).transform("min")
    moved = since[since["passed"] > 0.5]
    if len(moved) < 3 or moved["passed"].sum() < 1:
        return False
    tolerance = 1.01 if (values % 1 == 0).all() else MAX_AGE_DEVIATION
    steady = bool(((moved["grown"] - moved["passed"]).abs() <= tolerance).mean() >= MIN_SHARE)
    return steady and abs(moved["grown"].sum() / moved["passed"].sum() - 1) < 0.1


def correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Spearman's rank correlation; 0 if either is constant."""
    ranks = pd.DataFrame({"one": one, "other": other}).rank()
    return float(np.nan_to_num(ranks["one"].corr(ranks["other"])))
