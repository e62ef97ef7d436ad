"""The linear mixed model of each region by statsmodels: random intercept and slope, fixed effects of the covariates."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.linalg import qr

from crow.bijections.normal import LOG_2PI
from crow.cohort.cohort import Cohort
from crow.data.forecast import Forecast
from crow.evaluation.evaluate_model import drop_empty_visits
from crow.evaluation.point_baseline import gaussian
from crow.extras import extra
from crow.representation.regions import RegionTable

with extra("baselines"):
    from statsmodels.regression.mixed_linear_model import MixedLM

Values = NDArray[np.float64]


class MixedRegion(NamedTuple):
    """``y = F beta + Z b + e`` of one region, ``Z = (1, t)``, ``b ~ N(0, G)``, ``e ~ N(0, sigma^2)``.

    ``beta`` is 0 for an effect that its measured visits cannot tell from those before it.
    """

    beta: Values
    g: Values
    variance: float

    @classmethod
    def fit(cls, y: Values, fixed: Values, z: Values, subject: Values) -> MixedRegion:
        """Maximum likelihood on standardised values by Powell's method; gradient methods stop far below the maximum.

        Raises numpy's LinAlgError if no maximum is found.
        """
        mean, sd, kept = y.mean(), y.std(), _independent(fixed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a random effect without variance: the estimate is on the boundary
            result = MixedLM((y - mean) / sd, fixed[:, kept], subject, exog_re=z).fit(reml=False, method="powell")
        beta = np.zeros(fixed.shape[1])
        beta[kept] = sd * result.fe_params
        beta[0] += mean
        return cls(beta, sd**2 * result.cov_re, sd**2 * result.scale)

    def moments(self, fixed: Values, z: Values) -> tuple[Values, Values]:
        """Mean and covariance of a subject's visits."""
        return fixed @ self.beta, z @ self.g @ z.T + self.variance * np.eye(len(z))

    def given(self, y: Values, fixed: Values, z: Values) -> tuple[Values, Values]:
        """Mean and covariance of a subject's visits after the first ones, whose values ``y`` are observed (or NaN).

        With m, V the moments of all visits, h the observed and f the future visits: ``m_f + V_fh V_hh^-1 (y - m_h)``
        and ``V_ff - V_fh V_hh^-1 V_hf``.
        """
        m, v = self.moments(fixed, z)
        known = np.flatnonzero(~np.isnan(y))
        v_hf = v[known, len(y) :]
        gain = np.linalg.solve(v[np.ix_(known, known)], v_hf).T
        return m[len(y) :] + gain @ (y[known] - m[known]), v[len(y) :, len(y) :] - gain @ v_hf

    def log_prob(self, y: Values, fixed: Values, z: Values) -> Values:
        """Log-density of each of a subject's visits given the earlier ones; 0 if ``y`` is missing.

        ``L L' = V``, ``u = L^-1 (y - m)``: the log-density of visit t is ``log N(u_t; 0, 1) - log L_tt``.
        """
        known = np.flatnonzero(~np.isnan(y))
        m, v = self.moments(fixed[known], z[known])
        factor = np.linalg.cholesky(v)
        u = np.linalg.solve(factor, y[known] - m)
        log_prob = np.zeros(len(y))
        log_prob[known] = -0.5 * (u * u + LOG_2PI) - np.log(factor.diagonal())
        return log_prob


class MixedBaseline:
    """One model per region, with fixed effects of time, age and covariates (an indicator for missing ones)."""

    name = "linear mixed model"

    def fit(self, training: Cohort, seed: int = 0) -> Self:
        """Fit every region to its observed values; the fit is deterministic."""
        self.regions = training.regions
        kept = drop_empty_visits(training)
        self.table, observed = RegionTable.fit(kept), kept.visits
        self.years = max(float(observed["time"].std()), 1e-3)
        fixed, z = self._designs(observed)
        self.models = []
        for region in self.regions:
            y = observed[region].to_numpy(float)
            known = ~np.isnan(y)
            subject = observed["subject"].to_numpy()[known]
            self.models.append(MixedRegion.fit(y[known], fixed[known], z[known], subject))
        return self

    def forecast(self, history: Cohort, targets: pd.DataFrame, draws: int = 200, seed: int = 0) -> Forecast:
        """Draws of ``targets`` (subject, time, age, covariates) given all of each subject's visits in ``history``."""
        past = history.visits[history.visits["subject"].isin(targets["subject"])]
        rows = pd.concat([past.assign(row=-1), targets.assign(row=np.arange(len(targets)))])
        rows = rows.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
        mean, variance = (np.empty((len(targets), len(self.regions))) for _ in range(2))
        for visits, fixed, z in self._subjects(rows):
            known = visits["row"].to_numpy() < 0
            to = visits["row"].to_numpy()[~known]
            values = visits.loc[known, self.regions].to_numpy(float)
            for d, model in enumerate(self.models):
                m, v = model.given(values[:, d], fixed, z)
                mean[to, d], variance[to, d] = m, v.diagonal()
        return gaussian(targets, self.regions, mean, np.sqrt(variance), draws, seed)

    def log_prob(self, cohort: Cohort) -> pd.DataFrame:
        """Log-density of each visit given the earlier ones in original units: ``subject, session, time, log_prob``."""
        parts = []
        for visits, fixed, z in self._subjects(cohort.visits):
            values = visits[self.regions].to_numpy(float)
            parts.append(sum(model.log_prob(values[:, d], fixed, z) for d, model in enumerate(self.models)))
        return cohort.visits[["subject", "session", "time"]].assign(log_prob=np.concatenate(parts))

    def _subjects(self, visits: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, Values, Values]]:
        """Each subject's rows of ``visits`` (sorted), with their ``fixed [visit, effect]`` and ``z [visit, 2]``."""
        fixed, z = self._designs(visits)
        for rows in visits.groupby("subject", sort=False).indices.values():
            yield visits.iloc[rows], fixed[rows], z[rows]

    def _designs(self, visits: pd.DataFrame) -> tuple[Values, Values]:
        """Fixed effects (intercept, time, then the channels of age and covariates) and Z."""
        data = self.table.encode(visits.drop(columns=self.regions, errors="ignore"))
        context = data.context[data.mask].to(torch.float64).numpy()
        z = np.stack([np.ones(len(visits)), visits["time"].to_numpy(float) / self.years], 1)
        return np.concatenate([z, context], 1), z


def _independent(columns: Values) -> NDArray[np.int_]:
    """Columns to keep for full rank: the intercept, and those that are independent of the columns before them."""
    kept = [0]
    for k in range(1, columns.shape[1]):
        diagonal = np.abs(qr(columns[:, [*kept, k]], mode="r")[0].diagonal())
        if diagonal[-1] > 1e-6 * np.linalg.norm(columns[:, k]):
            kept.append(k)
    return np.array(kept)
