"""Forecasts by a rule, with learned errors: last visit, mean of the past, the subject's own line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd

from crow.cohort.cohort import Cohort
from crow.evaluation.point_baseline import PointBaseline, Values

Rule = Literal["last visit", "mean of the past", "subject slope"]
RULES: tuple[Rule, ...] = ("last visit", "mean of the past", "subject slope")


class SimpleBaseline(PointBaseline):
    """The rule's value; for a region that was never observed in a subject, the training mean."""

    def __init__(self, rule: Rule) -> None:
        self.name, self.rule = rule, rule

    def learn(self, training: Cohort, seed: int) -> tuple[Values, Values]:
        """Errors at every later visit of the training subjects, given the first 1, 2, ... visits."""
        years, errors = [], []
        for times, values in _subjects(training.visits, self.regions):
            for k in range(1, len(times)):
                ahead = times[k:] - times[k - 1]
                errors.append(values[k:] - self._predict(times[:k], values[:k], ahead))
                years.append(ahead)
        return np.concatenate([*years, np.empty(0)]), np.concatenate([*errors, np.empty((0, len(self.regions)))])

    def ahead(self, history: Cohort, targets: pd.DataFrame) -> tuple[Values, Values]:
        names = history.visits["subject"].drop_duplicates()
        past = dict(zip(names, _subjects(history.visits, self.regions), strict=True))
        mean, years = np.empty((len(targets), len(self.regions))), np.empty(len(targets))
        for subject, rows in targets.groupby("subject").indices.items():
            times, values = past[str(subject)]
            years[rows] = targets["time"].to_numpy(float)[rows] - times[-1]
            mean[rows] = self._predict(times, values, years[rows])
        return mean, years

    def next(self, cohort: Cohort) -> tuple[Values, Values]:
        means, years = [], []
        for times, values in _subjects(cohort.visits, self.regions):
            means.append(np.full((1, len(self.regions)), np.nan))
            years.append(np.concatenate([[np.nan], np.diff(times)]))
            means += [self._predict(times[:k], values[:k], np.diff(times)[k - 1 : k]) for k in range(1, len(times))]
        return np.concatenate(means), np.concatenate(years)

    def _predict(self, times: Values, values: Values, ahead: Values) -> Values:
        """``[n, region]`` at ``ahead [n]`` years after the last of ``times``, from ``values [visit, region]``."""
        known = ~np.isnan(values)
        filled = np.where(known, values, 0.0)
        count = known.sum(0)
        mean = np.where(count > 0, filled.sum(0) / np.maximum(count, 1), self.mean)
        if self.rule == "mean of the past":
            return np.tile(mean, (len(ahead), 1))
        if self.rule == "last visit":
            last = len(times) - 1 - known[::-1].argmax(0)
            return np.tile(np.where(count > 0, values[last, np.arange(values.shape[1])], mean), (len(ahead), 1))
        # The least-squares line; its level for one visit, or for visits at the same time.
        center = np.where(known, times[:, None], 0).sum(0) / np.maximum(count, 1)
        apart = np.where(known, times[:, None] - center, 0.0)
        spread = (apart**2).sum(0)
        slope = np.where(spread > 1e-9, (apart * (filled - mean)).sum(0) / np.maximum(spread, 1e-9), 0.0)
        line: Values = mean + slope * (times[-1] + ahead[:, None] - center)
        return line


def _subjects(visits: pd.DataFrame, regions: list[str]) -> Iterator[tuple[Values, Values]]:
    """Times ``[visit]`` and values ``[visit, region]`` of each subject, in order."""
    for _, rows in visits.groupby("subject", sort=False):
        yield rows["time"].to_numpy(float), rows[regions].to_numpy(float)
