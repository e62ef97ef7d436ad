"""Baselines of the change of regions: no change, the mean change, a regression on covariates, the subject's own change.

Each forecasts N(m, s^2) per region. All are learned from the measured changes of training subjects; s is the root mean
square of their errors, of subjects that were left out if the baseline is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.evaluation.scan_baselines import LAST_SCAN, MEAN_CHANGE

Values = NDArray[np.float64]
REGRESSION, OWN_CHANGE = "regression on covariates", "the subject's own change"
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
MIN_SUBJECTS = 6  # for a regression on covariates


class Measured(NamedTuple):
    """Scans of a subject: ``times [visit]`` in years, ``values [visit, region]``, ``covariates [visit, covariate]``."""

    times: Values
    values: Values
    covariates: Values


@dataclass(frozen=True)
class RegionBaselines:
    """``slope [region]``: mean change per year; ``sd``: by baseline, sd of its errors ``[region]``; ``regression``:
    centre and scale of the covariates and coefficients ``[1 + covariate, region]`` of the change per year."""

    relative: bool
    slope: Values
    sd: dict[str, Values]
    regression: tuple[Values, Values, Values] | None

    @classmethod
    def fit(cls, subjects: Sequence[Measured], relative: bool, regions: int) -> RegionBaselines:
        """Learn from all pairs of successive scans; ``relative``: changes are in percent of the earlier value."""
        pairs = [(k, i) for k, own in enumerate(subjects) for i in range(len(own.times) - 1)]
        if not pairs:
            return cls(relative, np.full(regions, np.nan), {}, None)
        gaps = np.array([np.diff(subjects[k].times)[i] for k, i in pairs])[:, None]
        y = np.stack([_step(subjects[k], i, relative) for k, i in pairs])
        slope = (gaps * y).sum(0) / (gaps**2).sum()
        sd = {LAST_SCAN: _rms(y), MEAN_CHANGE: _rms(y - gaps * slope)}
        x = np.stack([subjects[k].covariates[i] for k, i in pairs])
        regression, errors = _ridge(x, y, gaps, np.array([k for k, _ in pairs]))
        if errors is not None:
            sd[REGRESSION] = _rms(errors)
        own = cls(relative, slope, {}, None)
        later = [(k, i) for k, i in pairs if i > 0]
        if later:
            wrong = [
                _step(subjects[k], i, relative)
                - own.own_change(_first(subjects[k], i + 1), float(np.diff(subjects[k].times)[i]))
                for k, i in later
            ]
            sd[OWN_CHANGE] = _rms(np.stack(wrong))
        return cls(relative, slope, sd, regression)

    def own_change(self, past: Measured, years: float) -> Values:
        """The subject's line through all its scans, ``years`` ahead; the mean change if there is only one scan."""
        if len(past.times) < 2:
            return years * self.slope
        values = 100 * past.values / past.values[-1] if self.relative else past.values
        apart = (past.times - past.times.mean())[:, None]
        return np.asarray(years * (apart * values).sum(0) / (apart**2).sum())

    def forecasts(self, past: Measured, years: float) -> dict[str, tuple[Values, Values]]:
        """Mean and sd ``[region]`` of the change ``years`` after the last scan, by baseline."""
        means = {
            LAST_SCAN: np.zeros_like(self.slope),
            MEAN_CHANGE: years * self.slope,
            OWN_CHANGE: self.own_change(past, years),
        }
        if self.regression is not None:
            centre, scale, coefficients = self.regression
            means[REGRESSION] = years * (_design(past.covariates[-1:], centre, scale) @ coefficients)[0]
        return {name: (means[name], self.sd[name]) for name in means if name in self.sd}


def difference(before: Values, after: Values, relative: bool) -> Values:
    """Change from one scan to the next, in percent of the first if ``relative``."""
    return 100 * (after / before - 1) if relative else after - before


def covariate_columns(training: pd.DataFrame, other: pd.DataFrame, names: Sequence[str]) -> list[pd.Series]:
    """Covariates of two tables of visits as numbers: for each, by row, an array with the same columns.

    Age and numbers as they are, categories as indicators of the levels in ``training``; NaN if unknown.
    """
    out = []
    for visits in (training, other):
        columns = []
        for name in dict.fromkeys(["age", *names]):
            if name not in training:
                continue
            values = visits[name] if name in visits else pd.Series(np.nan, visits.index)
            if pd.api.types.is_numeric_dtype(training[name]):
                columns.append(pd.to_numeric(values, errors="coerce").to_numpy(float))
            else:
                levels = sorted(training[name].dropna().unique())
                columns += [np.where(values.isna(), np.nan, values == level).astype(float) for level in levels]
        table = np.stack(columns, 1) if columns else np.zeros((len(visits), 0))
        out.append(pd.Series(list(table), index=visits.index))
    return out


def _ridge(
    x: Values, y: Values, gaps: Values, subject: NDArray[np.int64]
) -> tuple[tuple[Values, Values, Values] | None, Values | None]:
    """Ridge regression of the change per year, weighted by the years, and its errors for subjects left out."""
    if x.shape[1] == 0 or len(np.unique(subject)) < MIN_SUBJECTS or not np.isfinite(x).any():
        return None, None
    centre, scale = np.nanmean(np.where(np.isfinite(x), x, np.nan), 0), np.nanstd(x, 0)
    centre, scale = np.nan_to_num(centre), np.where(np.nan_to_num(scale) > 1e-9, scale, np.inf)
    design = gaps * _design(x, centre, scale)

    def solve(rows: NDArray[np.bool_], penalty: float) -> Values:
        ridge = penalty * np.eye(design.shape[1])
        ridge[0, 0] = 1e-9
        return np.asarray(np.linalg.solve(design[rows].T @ design[rows] + ridge, design[rows].T @ y[rows]), np.float64)

    def left_out(penalty: float) -> Values:
        errors = np.empty_like(y)
        for one in np.unique(subject):
            mine = subject == one
            errors[mine] = y[mine] - design[mine] @ solve(~mine, penalty)
        return errors

    found = {penalty: left_out(penalty) for penalty in PENALTIES}
    scales = np.maximum(_rms(y), 1e-12)
    best = min(PENALTIES, key=lambda penalty: float(((found[penalty] / scales) ** 2).mean()))
    return (centre, scale, solve(np.ones(len(y), bool), best)), found[best]


def _design(x: Values, centre: Values, scale: Values) -> Values:
    """An intercept and standardised covariates; unknown ones are 0."""
    return np.column_stack([np.ones(len(x)), np.nan_to_num((x - centre) / scale)])


def _step(own: Measured, i: int, relative: bool) -> Values:
    return difference(own.values[i], own.values[i + 1], relative)


def _first(own: Measured, visits: int) -> Measured:
    return Measured(own.times[:visits], own.values[:visits], own.covariates[:visits])


def _rms(errors: Values) -> Values:
    return np.asarray(np.sqrt((errors**2).mean(0)))
