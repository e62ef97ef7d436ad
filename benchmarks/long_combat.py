"""longCombat: harmonisation of longitudinal measures across scanners, from its published equations.

Source: Beer et al. 2020, NeuroImage 220:117129, equations 1 to 6. Its R package reads and writes one table; here, the
estimates of some subjects can be applied to others, and undone.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.regression.mixed_linear_model import MixedLM

Values = NDArray[np.float64]
ROUNDS, TOLERANCE = 200, 1e-6


class LongCombat:
    """``y = alpha + X beta + eta + gamma + delta eps`` per region.

    eta is a subject's intercept; gamma and delta are the scanner's, shrunk across its regions by empirical Bayes.
    ``time`` and the columns ``covariates`` are X. Visits of scanners without estimates stay as they are.
    """

    def __init__(self, regions: list[str], scanner: str, covariates: list[str]) -> None:
        self.regions, self.scanner, self.covariates = regions, scanner, ["time", *covariates]

    def fit(self, visits: pd.DataFrame) -> Self:
        """Estimate all parameters by REML and the method of moments, then the posterior of gamma and delta."""
        self.levels = sorted(visits[self.scanner].unique())
        index = pd.Index(self.levels).get_indexer(visits[self.scanner])
        indicator = np.eye(len(self.levels))[index]
        self.centre = visits[self.covariates].mean()
        design = np.column_stack([indicator, visits[self.covariates] - self.centre])
        z, raw = [], []
        self.coefficients: list[tuple[float, Values, float, float]] = []
        for region in self.regions:
            y = visits[region].to_numpy(float)
            fitted = MixedLM(y, design, groups=visits["subject"].to_numpy()).fit(reml=True)
            scanner, beta = np.split(np.asarray(fitted.fe_params), [len(self.levels)])
            alpha = float(indicator.mean(0) @ scanner)  # so that sum_b n_b gamma_b = 0
            sigma, spread = float(np.sqrt(fitted.scale)), float(fitted.cov_re[0, 0])
            self.coefficients.append((alpha, beta, sigma, spread))
            gamma = (scanner - alpha) / sigma
            own = self._own(visits, y - sigma * gamma[index], len(raw))
            z.append((y - own) / sigma)
            raw.append(gamma)
        self.gamma, self.delta = _posterior(np.array(z).T, np.array(raw).T, index, len(self.levels))
        self.subjects: dict[str, Values] = {}
        return self

    def adjust(self, visits: pd.DataFrame) -> pd.DataFrame:
        """The visits as if of one scanner; keeps each subject's intercept for `restore`."""
        out, index = visits.copy(), self._index(visits)
        for d, region in enumerate(self.regions):
            _, _, sigma, _ = self.coefficients[d]
            y = visits[region].to_numpy(float)
            own = self._own(visits, y - sigma * self.gamma[index, d], d)
            out[region] = (y - own - sigma * self.gamma[index, d]) / self.delta[index, d] + own
        return out

    def restore(self, history: pd.DataFrame, targets: pd.DataFrame, values: Values) -> Values:
        """Draws ``[visit, draw, region]`` of adjusted values as the scanners of ``targets`` would measure them."""
        out, index = values.copy(), self._index(targets)
        before = self._index(history)
        for d, region in enumerate(self.regions):
            sigma = self.coefficients[d][2]
            residual = history[region].to_numpy(float) - sigma * self.gamma[before, d]
            eta = pd.Series(self._own(history, residual, d) - self._fixed(history, d), history.index)
            eta = eta.groupby(history["subject"]).first()
            own = self._fixed(targets, d) + eta.loc[targets["subject"]].to_numpy()
            out[..., d] = (
                own[:, None] + sigma * self.gamma[index, d][:, None]
                + self.delta[index, d][:, None] * (values[..., d] - own[:, None])
            )  # fmt: skip
        return out

    def _index(self, visits: pd.DataFrame) -> Values:
        """Row of each visit's scanner; the last row has no effect."""
        if len(self.gamma) == len(self.levels):
            self.gamma = np.vstack([self.gamma, np.zeros(len(self.regions))])
            self.delta = np.vstack([self.delta, np.ones(len(self.regions))])
        return pd.Index(self.levels).get_indexer(visits[self.scanner])

    def _fixed(self, visits: pd.DataFrame, d: int) -> Values:
        alpha, beta, _, _ = self.coefficients[d]
        return np.asarray(alpha + (visits[self.covariates] - self.centre).to_numpy(float) @ beta)

    def _own(self, visits: pd.DataFrame, y: Values, d: int) -> Values:
        """``alpha + X beta + eta``, with the best linear unbiased prediction of eta."""
        _, _, sigma, spread = self.coefficients[d]
        fixed = self._fixed(visits, d)
        by_subject = pd.Series(y - fixed).groupby(visits["subject"].to_numpy())
        count = by_subject.transform("size").to_numpy()
        return fixed + by_subject.transform("sum").to_numpy() * spread / (sigma**2 + count * spread)


def _posterior(z: Values, gamma: Values, index: Values, levels: int) -> tuple[Values, Values]:
    """Equations 4 to 6: the mode of gamma and delta of each scanner, given all its regions."""
    mean, delta = np.empty_like(gamma), np.empty_like(gamma)
    for b in range(levels):
        own = z[index == b]
        n = len(own)
        variance = own.var(0, ddof=1)
        prior, spread = gamma[b].mean(), gamma[b].var(ddof=1)
        m, s = variance.mean(), variance.var(ddof=1)
        shape, scale = (2 * s + m**2) / s, (m * s + m**3) / s
        g, d = gamma[b].copy(), variance.copy()
        for _ in range(ROUNDS):
            last = g, d
            g = (n * spread * own.mean(0) + d * prior) / (n * spread + d)
            d = (scale + 0.5 * np.square(own - g).sum(0)) / (n / 2 + shape - 1)
            if max(np.abs(g - last[0]).max(), np.abs(d - last[1]).max()) < TOLERANCE:
                break
        mean[b], delta[b] = g, np.sqrt(d)
    return mean, delta
