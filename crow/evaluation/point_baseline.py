"""Forecasts of one value, made a density by an error that grows with the years ahead."""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import nnls

from crow.cohort.cohort import Cohort
from crow.data.forecast import Forecast

Values = NDArray[np.float64]


class PointBaseline:
    """A value to come is what the subclass predicts, and an error N(0, a + b * years ahead), by region.

    A subclass learns in ``learn`` and predicts in ``ahead`` and ``next``; missing values do not count.
    """

    name: str

    def fit(self, training: Cohort, seed: int = 0) -> Self:
        """Learn to predict, and how wrong the predictions are, from training subjects."""
        self.regions = training.regions
        values = training.visits[self.regions].astype(float)
        self.mean, self.sd = values.mean().to_numpy(), values.std().to_numpy()
        years, error = self.learn(training, seed)
        self.error = GrowingError(years, error, 1e-3 * self.sd)
        return self

    def forecast(self, history: Cohort, targets: pd.DataFrame, samples: int = 200, seed: int = 0) -> Forecast:
        """Draws of ``targets`` (subject, time, age, covariates) given all of each subject's visits in ``history``."""
        mean, years = self.ahead(history, targets)
        return gaussian(targets, self.regions, mean, self.error.sd(years), samples, seed)

    def log_prob(self, cohort: Cohort) -> pd.DataFrame:
        """Log-density of each visit given those before it, ``subject, session, time, log_prob``, original units.

        Of a first visit under the mean and sd of training visits. Missing values do not count.
        """
        mean, years = self.next(cohort)
        first = np.isnan(years)[:, None]
        mean, sd = np.where(first, self.mean, mean), np.where(first, self.sd, self.error.sd(np.nan_to_num(years)))
        nats = np.nansum(stats.norm.logpdf(cohort.visits[self.regions].to_numpy(float), mean, sd), 1)
        return cohort.visits[["subject", "session", "time"]].assign(log_prob=nats)

    def learn(self, training: Cohort, seed: int) -> tuple[Values, Values]:
        """Years ahead ``[n]`` and errors ``[n, region]`` of n predictions of which the width is learned."""
        raise NotImplementedError

    def ahead(self, history: Cohort, targets: pd.DataFrame) -> tuple[Values, Values]:
        """Predictions ``[target, region]`` and years since the subject's last visit ``[target]``."""
        raise NotImplementedError

    def next(self, cohort: Cohort) -> tuple[Values, Values]:
        """Of every visit, from those before it; the years since the last one are NaN for first visits."""
        raise NotImplementedError


class GrowingError:
    """Variance ``max(a + b * ahead, least^2)`` by region, a and b not below 0, by least squares of squared errors.

    Args:
        ahead: years ``[n]``.
        error: ``[n, region]``; missing ones do not count.
        least: ``[region]``.
    """

    def __init__(self, ahead: Values, error: Values, least: Values) -> None:
        self.least = least
        self.growth = np.stack([_line(ahead, error[:, d] ** 2) for d in range(error.shape[1])], 1)

    def sd(self, ahead: Values) -> Values:
        """``[n, region]`` of ``ahead [n]``."""
        variance = self.growth[0] + self.growth[1] * ahead[:, None]
        sd: Values = np.sqrt(np.maximum(variance, self.least**2))
        return sd


def gaussian(visits: pd.DataFrame, regions: list[str], mean: Values, sd: Values, samples: int, seed: int) -> Forecast:
    """Draws of N(mean, sd^2), both ``[visit, region]``, each with its opposite."""
    half = np.random.default_rng(seed).normal(size=(len(visits), -(-samples // 2), len(regions)))
    noise = np.concatenate([half, -half], 1)[:, :samples]
    return Forecast(visits, regions, mean[:, None] + noise * sd[:, None])


def _line(time: Values, square: Values) -> Values:
    seen = ~np.isnan(square)
    if seen.sum() < 2:
        return np.array([np.nanmean(square) if seen.any() else 0.0, 0.0])
    return nnls(np.stack([np.ones(int(seen.sum())), time[seen]], 1), square[seen])[0]
