"""Forecasts that need no learning but of their errors: last visit, mean of the past, the subject's own line."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from crow.cohort.cohort import Cohort
from crow.forecast import Forecast

Rule = Literal["last visit", "mean of the past", "subject slope"]
Values = NDArray[np.float64]


class SimpleBaseline:
    """A value to come is the rule's, and an error N(0, a + b * years ahead), by region, fitted to training subjects.

    ``fit``, ``forecast`` and ``log_prob`` are used as those of `crow.estimator.CRow`. Values of the past that are
    missing do not count; of a region that a subject never had measured the training mean is forecast.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def fit(self, cohort: Cohort) -> SimpleBaseline:
        """Learn the errors from every later visit of training subjects, given those before it."""
        self.regions = cohort.regions
        values = cohort.visits[self.regions].astype(float)
        self.mean, self.sd = values.mean().to_numpy(), values.std().to_numpy()
        squares, years = [], []
        for history, target, ahead in self._pairs(cohort):
            squares.append((target - self._predict(*history, ahead)) ** 2)
            years.append(ahead)
        error, time = np.array(squares).reshape(-1, len(self.regions)), np.array(years)
        self.growth = np.stack([_line(time, error[:, d]) for d in range(len(self.regions))], 1)
        return self

    def forecast(self, history: Cohort, visits: pd.DataFrame, samples: int = 200, seed: int = 0) -> Forecast:
        """Draws of ``visits`` (subject, time) given all of each subject's visits in ``history``."""
        past = {who: _arrays(rows, self.regions) for who, rows in history.visits.groupby("subject", sort=False)}
        means, sds = [], []
        for who, time in visits[["subject", "time"]].itertuples(index=False):
            ahead = time - past[who][0][-1]
            means.append(self._predict(*past[who], ahead))
            sds.append(self._sd(ahead))
        half = np.random.default_rng(seed).normal(size=(len(visits), -(-samples // 2), len(self.regions)))
        noise = np.concatenate([half, -half], 1)[:, :samples]
        return Forecast(visits, self.regions, np.stack(means)[:, None] + noise * np.stack(sds)[:, None])

    def log_prob(self, cohort: Cohort) -> pd.DataFrame:
        """Log-density of each visit given those before it, ``subject, session, time, log_prob``, original units.

        Of a first visit under the mean and sd of training visits. Missing values do not count.
        """
        parts = []
        for _, rows in cohort.visits.groupby("subject", sort=False):
            times, values = _arrays(rows, self.regions)
            for k in range(len(times)):
                mean, sd = self.mean, self.sd
                if k:
                    ahead = times[k] - times[k - 1]
                    mean, sd = self._predict(times[:k], values[:k], ahead), self._sd(ahead)
                parts.append(float(np.nansum(stats.norm.logpdf(values[k], mean, sd))))
        return cohort.visits[["subject", "session", "time"]].assign(log_prob=parts)

    def _pairs(self, cohort: Cohort) -> list[tuple[tuple[Values, Values], Values, float]]:
        """Every beginning of a subject's visits with every later visit."""
        pairs = []
        for _, rows in cohort.visits.groupby("subject", sort=False):
            times, values = _arrays(rows, self.regions)
            for k in range(1, len(times)):
                for j in range(k, len(times)):
                    pairs.append(((times[:k], values[:k]), values[j], times[j] - times[k - 1]))
        return pairs

    def _predict(self, times: Values, values: Values, ahead: float) -> Values:
        """``[region]`` at ``ahead`` years after the last of ``times``, from ``values [visit, region]``."""
        known = ~np.isnan(values)
        filled = np.where(known, values, 0.0)
        count = known.sum(0)
        mean = np.where(count > 0, filled.sum(0) / np.maximum(count, 1), self.mean)
        if self.rule == "mean of the past":
            return mean
        if self.rule == "last visit":
            last = len(times) - 1 - known[::-1].argmax(0)
            return np.where(count > 0, values[last, np.arange(values.shape[1])], mean)
        # The least-squares line; of one visit, or of visits at one moment, its level.
        center = np.where(known, times[:, None], 0).sum(0) / np.maximum(count, 1)
        apart = np.where(known, times[:, None] - center, 0.0)
        spread = (apart**2).sum(0)
        slope = np.where(spread > 1e-9, (apart * (filled - mean)).sum(0) / np.maximum(spread, 1e-9), 0.0)
        return mean + slope * (times[-1] + ahead - center)

    def _sd(self, ahead: float) -> Values:
        return np.sqrt(np.maximum(self.growth[0] + self.growth[1] * ahead, (1e-3 * self.sd) ** 2))


def _arrays(rows: pd.DataFrame, regions: list[str]) -> tuple[Values, Values]:
    return rows["time"].to_numpy(float), rows[regions].to_numpy(float)


def _line(time: Values, square: Values) -> Values:
    """a and b, not below 0, of square ~ a + b * time by least squares, over values that are not missing."""
    from scipy.optimize import nnls

    seen = ~np.isnan(square)
    if seen.sum() < 2:
        return np.array([np.nanmean(square) if seen.any() else 0.0, 0.0])
    return nnls(np.stack([np.ones(int(seen.sum())), time[seen]], 1), square[seen])[0]
