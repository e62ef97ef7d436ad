"""The distribution of one variable over the subjects of a cohort, without any subject's own value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

MIN_COUNT = 5  # subjects behind every level and every knot
MAX_KNOTS = 50
MAX_LEVELS = 12

Values = NDArray[Any]


@dataclass(frozen=True)
class Marginal:
    """A variable as a function of a standard normal number z: a level by share, or a quantile.

    Attributes
    ----------
    levels : list
        Values that at least `MIN_COUNT` subjects share, in order; empty for a continuous variable.
    points : array [levels or knots]
        Upper end of each level, or position of each knot, as a probability.
    knots : array [knots]
        Quantiles, each the mean of `MIN_COUNT` subjects or more.
    step : float
        Continuous values are rounded to multiples of this.
    """

    levels: list[Any]
    points: Values
    knots: Values
    step: float

    @classmethod
    def of_levels(cls, column: pd.Series, order: pd.Series | None = None, least: int = MIN_COUNT) -> Marginal | None:
        """The shares of the levels that at least ``least`` subjects have, ordered by their mean of ``order``.

        None if there is no such level, as of post codes or names.
        """
        counts = column.value_counts()
        if (kept := counts[counts >= least]).empty:
            return None
        names = sorted(kept.index) if order is None else list(
            order.groupby(column).mean().reindex(kept.index).fillna(0).sort_values(kind="stable").index
        )  # fmt: skip
        shares = kept.reindex(names).to_numpy(float)
        return cls(list(names), np.cumsum(shares) / shares.sum(), np.empty(0), 0.0)

    @classmethod
    def of_numbers(cls, column: pd.Series) -> Marginal | None:
        """Levels if a few numbers are shared by enough subjects, else a smooth quantile function.

        None if fewer than `MIN_COUNT` subjects have a number.
        """
        values = np.sort(column.to_numpy(float))
        if len(values) < MIN_COUNT:
            return None
        counts = column.value_counts()
        if len(counts) <= MAX_LEVELS and counts.min() >= MIN_COUNT:
            return cls.of_levels(column.astype(float))
        groups = np.array_split(values, min(MAX_KNOTS, len(values) // MIN_COUNT))
        knots = np.array([group.mean() for group in groups])
        ends = np.cumsum([len(group) for group in groups]) / len(values)
        middle = ends - np.diff(ends, prepend=0.0) / 2
        return cls([], middle, knots, step_of(values))

    def draw(self, z: Values) -> NDArray[Any]:
        """The values at standard normal numbers."""
        u = stats.norm.cdf(z)
        if self.levels:
            index = np.minimum(np.searchsorted(self.points, u, side="right"), len(self.levels) - 1)
            return np.array(self.levels, dtype=object)[index]
        drawn = np.interp(u, self.points, self.knots)
        return np.round(drawn / self.step) * self.step if self.step else drawn

    def scores(self, column: pd.Series) -> Values:
        """z of every value: that of its rank, or the mean z of its level; NaN for missing values and rare levels."""
        if self.levels:
            ends = np.r_[0.0, self.points].clip(1e-9, 1 - 1e-9)
            density = stats.norm.pdf(stats.norm.ppf(ends))
            density[[0, -1]] = 0.0
            means = -np.diff(density) / np.diff(ends).clip(1e-9)
            return column.map(dict(zip(self.levels, means, strict=True))).to_numpy(float)
        ranks = column.astype(float).rank(na_option="keep")
        return stats.norm.ppf(((ranks - 0.5) / max(ranks.max(), 1.0)).to_numpy(float))


def step_of(values: Values) -> float:
    """The unit in which values are counted, such as 0.5 or 0.01; 0 for numbers with more than six decimals."""
    distinct = np.unique(values[np.isfinite(values)])
    if len(distinct) < 2:
        return 0.0
    step = float(np.diff(distinct).min())
    if step > 1e-6 and np.allclose(distinct / step, np.round(distinct / step), atol=1e-4):
        return step
    for decimals in range(7):
        if np.allclose(distinct, np.round(distinct, decimals), atol=1e-9):
            return 10.0**-decimals
    return 0.0
