"""Which combinations of covariates training subjects had, as counts: nothing about a single subject is kept."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from crow.cohort.cohort import Cohort

MIN_COUNT = 5  # subjects: smaller counts are kept as 0
SUBJECTS_PER_BIN = 20
MAX_BINS = 8  # of a number, with equal shares of the training visits
DIGITS = 3  # significant, of an edge
MAX_LEVELS = 30


class Bins(BaseModel):
    """The bins of one covariate: its ``levels``, or the intervals between the ``edges`` of a number.

    A number lies in bin k if ``edges[k - 1] < value <= edges[k]``.
    """

    levels: list[str] = []
    edges: list[float] = []

    @classmethod
    def of(cls, column: pd.Series, numeric: bool, subjects: int) -> Bins:
        if not numeric:
            return cls(levels=sorted(column.dropna().astype(str).unique()))
        count = int(np.clip(subjects // SUBJECTS_PER_BIN, 2, MAX_BINS))
        values = np.quantile(column.dropna().astype(float), np.arange(1, count) / count, method="lower")
        return cls(edges=sorted({float(f"{value:.{DIGITS}g}") for value in values}))

    def __len__(self) -> int:
        return len(self.levels) or len(self.edges) + 1

    def place(self, column: pd.Series) -> NDArray[np.int64]:
        """The bin of every value; -1 if it is missing or no known level."""
        if self.levels:
            text = column.astype("string")
            return pd.Categorical(text.where(text.isin(self.levels)), categories=self.levels).codes.astype(np.int64)
        values = column.astype(float).to_numpy()
        return np.where(np.isnan(values), -1, np.searchsorted(self.edges, values, side="left"))

    def text(self, name: str, k: int, reach: int = 0) -> str:
        """Bin k and ``reach`` bins on either side: ``DX CN``, ``CDRSB 2 to 4.5``."""
        if self.levels:
            return f"{name} {self.levels[k]}"
        first, last = max(k - reach, 0), min(k + reach, len(self.edges))
        if last == len(self.edges):
            return f"{name} above {self.edges[first - 1]:g}" if first else f"any {name}"
        upper = f"{self.edges[last]:g}"
        return f"{name} {self.edges[first - 1]:g} to {upper}" if first else f"{name} up to {upper}"


class CovariateSupport(BaseModel):
    """For every two covariates, how many training subjects had each pair of their bins at one visit.

    Of two numbers, a subject in the bins next to them counts as well. ``pairs[first][second]`` is
    ``[bin of first][bin of second]``, with ``first`` before ``second`` in ``bins``. Counts below ``min_count`` are 0,
    and edges are rounded, so that no value of a single subject is kept.
    """

    subjects: int
    min_count: int = MIN_COUNT
    bins: dict[str, Bins]
    pairs: dict[str, dict[str, list[list[int]]]]

    @classmethod
    def fit(cls, cohort: Cohort) -> CovariateSupport:
        """Counts of a cohort of training subjects; the age is one of the covariates, if it is known."""
        schema, visits = cohort.schema, cohort.visits
        # Effects of sites are the same whatever the covariates are.
        kinds = {"age": "numeric", **{n: kind for n, kind in schema.covariates.items() if n not in schema.sites}}
        subjects = visits["subject"].nunique()
        kinds = {name: kind for name, kind in kinds.items() if visits[name].notna().any()}
        bins = {name: Bins.of(visits[name], kind == "numeric", subjects) for name, kind in kinds.items()}
        bins = {name: each for name, each in bins.items() if 1 < len(each) <= MAX_LEVELS}
        return cls.counted(cohort, bins)

    @classmethod
    def counted(cls, cohort: Cohort, bins: dict[str, Bins], min_count: int = MIN_COUNT) -> CovariateSupport:
        """Counts in given bins; those below ``min_count`` are 0."""
        visits = cohort.visits
        placed = {name: each.place(visits[name]) for name, each in bins.items()}
        names, pairs = list(bins), dict[str, dict[str, list[list[int]]]]()
        for i, first in enumerate(names):
            pairs[first] = {}
            for second in names[i + 1 :]:
                pairs[first][second] = _counts(
                    visits["subject"], placed[first], placed[second], bins[first], bins[second], min_count
                )
        return cls(subjects=visits["subject"].nunique(), min_count=min_count, bins=bins, pairs=pairs)

    def warnings(self, visits: pd.DataFrame, changed: Iterable[str]) -> list[str]:
        """One sentence per pair of values at ``visits`` that fewer than ``min_count`` training subjects had.

        Only pairs with a covariate that was ``changed`` are looked at.
        """
        known = [name for name in self.bins if name in visits]
        placed = {name: self.bins[name].place(visits[name]) for name in known}
        chosen = [name for name in dict.fromkeys(changed) if name in placed]
        found: dict[str, None] = {}
        for k, name in enumerate(chosen):
            for other in (one for one in known if one not in chosen[: k + 1]):
                for a, b in sorted(set(zip(placed[name].tolist(), placed[other].tolist(), strict=True))):
                    if a >= 0 and b >= 0 and (sentence := self._rare(name, a, other, b)):
                        found[sentence] = None
        return list(found)

    def _rare(self, name: str, a: int, other: str, b: int) -> str:
        counts, own, others = self._table(name, other), self.bins[name], self.bins[other]
        if counts[a, b] >= self.min_count:
            return ""
        reach = _reach(own, others)
        start = (
            f"fewer than {self.min_count} of the {self.subjects} training subjects had {own.text(name, a, reach)} "
            f"together with {others.text(other, b, reach)}"
        )
        order = np.argsort(np.abs(np.arange(len(counts)) - a), kind="stable")
        near = [k for k in order if counts[k, b] >= self.min_count]
        if not near or own.levels:
            return start + "."
        nearest = own.text(name, near[0], reach)
        return f"{start}; the nearest that {self.min_count} or more had is {nearest} ({counts[near[0], b]} subjects)."

    def _table(self, name: str, other: str) -> NDArray[np.int64]:
        if other in self.pairs.get(name, {}):
            return np.array(self.pairs[name][other])
        return np.array(self.pairs[other][name]).T


def _reach(first: Bins, second: Bins) -> int:
    """Bins on either side that count as the same: two numbers have too many pairs of bins for a small cohort."""
    return int(not first.levels and not second.levels)


def _counts(
    subject: pd.Series,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    first: Bins,
    second: Bins,
    min_count: int,
) -> list[list[int]]:
    reach, names = _reach(first, second), subject.to_numpy()
    known = (a >= 0) & (b >= 0)

    def count(row: int, column: int) -> int:
        there = known & (np.abs(a - row) <= reach) & (np.abs(b - column) <= reach)
        found = len(np.unique(names[there]))
        return found if found >= min_count else 0

    return [[count(row, column) for column in range(len(second))] for row in range(len(first))]
