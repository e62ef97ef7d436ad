"""Point forecasts with a normal error whose variance grows with the years ahead."""

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
    """A future value is the prediction of the subclass plus an error N(0, a + b * years ahead), by region.

    A subclass learns in ``learn`` and predicts in ``ahead`` and ``next``; missing values do not count.
    """

    name: str

    def fit(self, training: Cohort, seed: int = 0) -> Self:
        """Learn to predict, and the variance of the errors, from training subjects."""
        self.regions = training.regions
        values = training.visits[self.regions].astype(float)
        self.mean, self.sd = values.mean().to_numpy(), values.std().to_numpy()
        years, error = self.learn(training, seed)
        self.error = GrowingError(years, error, 1e-3 * self.sd)
        return self

    def forecast(self, history: Cohort, targets: pd.DataFrame, draws: int = 200, seed: int = 0) -> Forecast:
        """Draws of ``targets`` (subject, time, age, covariates) given all of each subject's visits in ``history``."""
        mean, years = self.ahead(history, targets)
        return gaussian(targets, self.regions, mean, self.error.sd(years), draws, seed)

    def log_prob(self, cohort: Cohort) -> pd.DataFrame:
        """Log-density of each visit given the earlier ones in original units: ``subject, session, time, log_prob``.

        First visits have the mean and sd of the training visits. Missing values do not count.
        """
        mean, years = self.next(cohort)
        first = np.isnan(years)[:, None]
        mean, sd = np.where(first, self.mean, mean), np.where(first, self.sd, self.error.sd(np.nan_to_num(years)))
        log_prob = np.nansum(stats.norm.logpdf(cohort.visits[self.regions].to_numpy(float), mean, sd), 1)
        return cohort.visits[["subject", "session", "time"]].assign(log_prob=log_prob)

    def learn(self, training: Cohort, seed: int) -> tuple[Values, Values]:
        """Years ahead ``[n]`` and errors ``[n, region]`` of n predictions, from which the variance is learned."""
        raise NotImplementedError

    def ahead(self, history: Cohort, targets: pd.DataFrame) -> tuple[Values, Values]:
        """Predictions ``[target, region]`` and years since the subject's last visit ``[target]``."""
        raise NotImplementedError

    def next(self, cohort: Cohort) -> tuple[Values, Values]:
        """Predictions of every visit from the earlier ones, and years since the last one (NaN for first visits)."""
        raise NotImplementedError


class GrowingError:
    """Variance ``max(a + b * ahead, least^2)`` by region, with a, b >= 0 fitted to squared errors by least squares.

    Parameters
    ----------
    ahead : ndarray of shape [n]
        Years ahead.
    error : ndarray of shape [n, region]
        Errors; missing ones do not count.
    least : ndarray of shape [region]
        Smallest standard deviation.
    """

    def __init__(self, ahead: Values, error: Values, least: Values) -> None:
        self.least = least
        self.growth = np.stack([_line(ahead, error[:, d] ** 2) for d in range(error.shape[1])], 1)

    def sd(self, ahead: Values) -> Values:
        """``[n, region]`` of ``ahead [n]``."""
        variance = self.growth[0] + self.growth[1] * ahead[:, None]
        sd: Values = np.sqrt(np.maximum(variance, self.least**2))
        return sd


def gaussian(visits: pd.DataFrame, regions: list[str], mean: Values, sd: Values, draws: int, seed: int) -> Forecast:
    """Antithetic draws of N(mean, sd^2), both ``[visit, region]``."""
    half = np.random.default_rng(seed).normal(size=(len(visits), -(-draws // 2), len(regions)))
    noise = np.concatenate([half, -half], 1)[:, :draws]
    return Forecast(visits, regions, mean[:, None] + noise * sd[:, None])


def _line(time: Values, square: Values) -> Values:
    known = ~np.isnan(square)
    if known.sum() < 2:
        return np.array([np.nanmean(square) if known.any() else 0.0, 0.0])
    return nnls(np.stack([np.ones(int(known.sum())), time[known]], 1), square[known])[0]
