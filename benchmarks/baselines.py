"""Forecasts that need no flow: the last visit, the subject's own line, and a linear mixed model of each region."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from protocol import DRAWS, Task, Values
from scipy.stats import multivariate_normal
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from statsmodels.regression.mixed_linear_model import MixedLM

from crow import Cohort


def last_visit(history: Cohort, targets: pd.DataFrame) -> Values:
    return history.visits.groupby("subject")[history.regions].last().loc[targets["subject"]].to_numpy()


def subject_slope(history: Cohort, targets: pd.DataFrame) -> Values:
    lines = {
        subject: np.polyfit(visits["time"], visits[history.regions], 1)
        for subject, visits in history.visits.groupby("subject")
    }
    return np.stack([lines[s][0] * t + lines[s][1] for s, t in zip(targets["subject"], targets["time"], strict=True)])


def error_growth(predicted: Values, targets: pd.DataFrame, history: Cohort):
    """Gaussian draws whose variance is a + b * years ahead, per region, fitted to errors on training subjects."""

    def ahead(targets: pd.DataFrame, history: Cohort) -> Values:
        last = history.visits.groupby("subject")["time"].last()
        return targets["time"].to_numpy() - last.loc[targets["subject"]].to_numpy()

    years = ahead(targets, history)
    squares = (targets[history.regions].to_numpy() - predicted) ** 2
    design = np.stack([np.ones_like(years), years], 1)
    growth = np.linalg.lstsq(design, squares, rcond=None)[0].clip(0)

    def draw(targets: pd.DataFrame, history: Cohort) -> Values:
        sd = np.sqrt(growth[0] + growth[1] * ahead(targets, history)[:, None])
        return _noise(len(sd), sd.shape[1]) * sd[:, None]

    return draw


class MixedRegion(NamedTuple):
    """y = F beta + Z b + e of one region, Z = (1, t), b ~ N(0, G), e ~ N(0, sigma^2)."""

    beta: Values
    g: Values
    variance: float

    @classmethod
    def fit(cls, y: Values, fixed: Values, z: Values, subject: Values) -> MixedRegion:
        """Maximum likelihood by statsmodels, on standardised values; its gradient methods stop far below it."""
        mean, sd = y.mean(), y.std()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a random effect without variance: the estimate is on the boundary
            result = MixedLM((y - mean) / sd, fixed, subject, exog_re=z).fit(reml=False, method="powell")
        beta = sd * result.fe_params
        beta[0] += mean
        return cls(beta, sd**2 * result.cov_re, sd**2 * result.scale)

    def moments(self, fixed: Values, z: Values) -> tuple[Values, Values]:
        """Mean and covariance of a subject's visits."""
        return fixed @ self.beta, z @ self.g @ z.T + self.variance * np.eye(len(z))

    def given(self, y: Values, fixed: Values, z: Values) -> tuple[Values, Values]:
        """Mean and covariance of a subject's visits after the first ones, whose values ``y`` are known.

        With m, V the moments of all visits, h those known and f those to come: m_f + V_fh V_hh^-1 (y - m_h) and
        V_ff - V_fh V_hh^-1 V_hf.
        """
        m, v = self.moments(fixed, z)
        h = len(y)
        gain = np.linalg.solve(v[:h, :h], v[:h, h:]).T
        return m[h:] + gain @ (y - m[:h]), v[h:, h:] - gain @ v[:h, h:]


def mixed_models(task: Task) -> tuple[Values, float]:
    """Draws of the targets ``[visit, sample, region]`` and the NLL per visit of whole test subjects.

    Each region by itself; fixed effects of time, age and covariates.
    """
    encode = _fixed_effects(task.training)
    training = task.training.visits
    means, variances = np.empty_like(task.truth), np.empty_like(task.truth)
    nll = 0.0
    for region, name in enumerate(task.training.regions):
        model = MixedRegion.fit(training[name].to_numpy(), encode(training), _line(training), training["subject"].array)
        for _, visits in task.test.visits.groupby("subject"):
            m, v = model.moments(encode(visits), _line(visits))
            nll -= multivariate_normal.logpdf(visits[name], m, v)
        for subject, given in task.history.visits.groupby("subject"):
            coming = task.targets["subject"].to_numpy() == subject
            visits = pd.concat([given, task.targets[coming]])
            m, v = model.given(given[name].to_numpy(), encode(visits), _line(visits))
            means[coming, region], variances[coming, region] = m, v.diagonal()
    draws = means[:, None] + _noise(*means.shape) * np.sqrt(variances)[:, None]
    return draws, nll / len(task.test)


def _fixed_effects(cohort: Cohort):
    """Visits -> ``[visit, effect]``: an intercept, then time, age and covariates, standardised or as indicators."""
    covariates = {name: kind for name, kind in cohort.schema.covariates.items() if name != "age"}
    age = ["age"] if cohort.visits["age"].notna().all() else []
    numbers = ["time", *age, *(name for name, kind in covariates.items() if kind == "numeric")]
    names = [name for name, kind in covariates.items() if kind == "categorical"]
    encode = make_column_transformer(
        (StandardScaler(), numbers), (OneHotEncoder(drop="first", sparse_output=False), names)
    ).fit(cohort.visits)
    return lambda visits: np.concatenate([np.ones((len(visits), 1)), encode.transform(visits)], 1)


def _line(visits: pd.DataFrame) -> Values:
    return np.stack([np.ones(len(visits)), visits["time"]], 1)


def _noise(visits: int, regions: int) -> Values:
    """Standard normal ``[visit, sample, region]``, each draw with its opposite."""
    noise = np.random.default_rng(0).normal(size=(visits, DRAWS // 2, regions))
    return np.concatenate([noise, -noise], 1)
