"""The residual of a scan after projection on a subspace: its exact density given the subject's earlier residuals.

At each voxel v, a subject's residuals are a random intercept (variance ``persistent``, tau_v^2) plus noise (variance
``noise``, sigma_v^2). After n visits whose residuals sum to ``total``, the next residual is

    r ~ N(P w total / n, P D P),  w = n tau^2 / (n tau^2 + sigma^2),  D = sigma^2 + tau^2 sigma^2 / (n tau^2 + sigma^2)

with P = I - B B^T and B [V, K] the basis of the subspace. The persistence is learned for each voxel.

With bands (`crow.representation.scale_bands`), w depends on the scale in space in place of the voxel, because the noise
of voxels cancels in the mean of a structure, whereas what differs between subjects does not: ``w total / n`` is the sum
of the weighted bands, and ``D = sigma^2 + tau^2 u_n`` with u_n the share of the intercept's variance that is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from crow.bijections.normal import LOG_2PI
from crow.representation.scale_bands import ScaleBands

Values = NDArray[np.floating]
BLOCK = 65536  # voxels per float32 product; blocks are summed in float64
MIN_DOF, MAX_DOF = 1.0, 1e6


class ResidualPrior:
    """The density above, of scaled values; ``basis [V, K]`` orthonormal, ``noise [V]`` > 0, ``persistent [V]`` >= 0."""

    def __init__(
        self, basis: NDArray[np.float32], noise: Values, persistent: Values, bands: ScaleBands | None = None
    ) -> None:  # fmt: skip
        self.basis, self.noise, self.persistent, self.bands = basis, noise, persistent, bands
        self._factors: dict[int, tuple[tuple[Values, bool], float]] = {}
        self._filtered: tuple[Values, int, Values] | None = None  # the last answer, which many draws ask for

    def mean(self, total: Values, n: int) -> Values:
        """Expected next residual P w total / n, ``[V]``; 0 before the first visit."""
        if n == 0:
            return np.zeros_like(total)
        return self.complement(self._expected(total, n))

    def variance(self, n: int) -> Values:
        """D after n visits, ``[V]``."""
        if self.bands is None:
            return variance(self.noise, self.persistent, n)
        return np.asarray(self.noise + self.persistent * np.float32(self.bands.unknown(n)))

    def _expected(self, total: Values, n: int) -> Values:
        """``w total / n``, ``[V]``; n >= 1."""
        if self.bands is None:
            return weight(self.noise, self.persistent, n) / n * total
        if self._filtered is None or self._filtered[1] != n or not np.array_equal(self._filtered[0], total):
            self._filtered = total.copy(), n, self.bands.expected(total / n, n)
        return self._filtered[2]

    def log_prob(self, r: Values, total: Values, n: int) -> float:
        """Log-density of a residual ``r [V]`` on the complement, which has V - K dimensions.

        With Q an orthonormal basis of the complement and e = r - w total / n, it is that of N(Q^T e; 0, Q^T D Q). Q is
        not needed: log|Q^T D Q| = log|D| + log|M| and e^T Q (Q^T D Q)^-1 Q^T e = e^T D^-1 e - g^T M^-1 g, where M =
        B^T D^-1 B and g = B^T D^-1 e (inverse and determinant of a block of an orthogonal transform).
        """
        e = r - self._expected(total, n) if n else r
        precision = 1 / self.variance(n)
        factor, log_det = self._factor(n)
        g = project(self.basis, e * precision)
        square = np.sum(e * e * precision, dtype=np.float64) - g @ cho_solve(factor, g)
        return float(-0.5 * (square + log_det + (len(r) - len(g)) * LOG_2PI))

    def sample(self, total: Values, n: int, noise: Values) -> Values:
        """A draw of the next residual ``[V]``, from standard normal ``noise [V]``, which may be correlated in space."""
        return self.mean(total, n) + self.complement(np.sqrt(self.variance(n)) * noise)

    def standardised(self, r: Values, total: Values, n: int) -> Values:
        """The error of the expected next residual in sds, ``[V]``."""
        return (r - self.mean(total, n)) / np.sqrt(self.variance(n))

    def marginal_variance(self, n: int) -> Values:
        """Variance of the next residual at each voxel, the diagonal of P D P, ``[V]``."""
        d = self.variance(n)
        inner = weighted_gram(self.basis, d)
        out = np.empty_like(d)
        for part in blocks(len(d)):
            b = self.basis[part]
            out[part] = d[part] * (1 - 2 * (b * b).sum(1)) + np.einsum("vk,kl,vl->v", b, inner, b, optimize=True)
        return out

    def complement(self, values: Values) -> Values:
        """The projection P values on the complement, ``[V]``."""
        return values - (self.basis @ project(self.basis, values).astype(np.float32)).astype(values.dtype)

    def _factor(self, n: int) -> tuple[tuple[Values, bool], float]:
        """The Cholesky factor of M after n visits, and log|D| + log|M|."""
        if n not in self._factors:
            d = self.variance(n)
            factor = cho_factor(weighted_gram(self.basis, 1 / d))
            log_det = np.log(d).sum(dtype=np.float64) + 2 * np.log(np.diag(factor[0])).sum()
            self._factors[n] = factor, float(log_det)
        return self._factors[n]


class Components(NamedTuple):
    """Variances of the noise and of the random intercept of subjects, ``[V]`` each."""

    noise: Values
    persistent: Values


class MeanSquares:
    """Sums of squares within and between subjects, added one subject at a time: the ANOVA of a random intercept.

    With N visits of m subjects: E[within / (N - m)] = sigma^2 and E[between / m] = sigma^2 + tau^2 N / m, where between
    = sum_i n_i rbar_i^2 for values with cohort mean 0.
    """

    def __init__(self, size: int) -> None:
        self.within, self.between = np.zeros(size), np.zeros(size)
        self.visits = self.subjects = 0

    def add(self, values: Values) -> None:
        """Add the visits of one subject, ``[visit, V]``."""
        mean = values.mean(0)
        self.within += ((values - mean) ** 2).sum(0)
        self.between += len(values) * mean.astype(np.float64) ** 2
        self.visits += len(values)
        self.subjects += 1

    def components(self, shrink: bool = True) -> Components:
        """Estimated variances per voxel.

        ``shrink``: shrink mean squares of few visits towards those of all voxels (`shrunk`), and truncate
        ``persistent`` at 0.
        """
        dof = self.visits - self.subjects
        noise, between = self.within / dof, self.between / self.subjects
        if not shrink:
            return Components(noise, (between - noise) * self.subjects / self.visits)
        level = shrunk(noise, dof)
        persistent = np.maximum(shrunk(between, self.subjects) - level, 0) * self.subjects / self.visits
        return Components(level.astype(np.float32), persistent.astype(np.float32))


def weight(noise: Values, persistent: Values, n: int) -> Values:
    """Shrinkage weight of the mean of n past values: w = n tau^2 / (n tau^2 + sigma^2)."""
    return n * persistent / (n * persistent + noise)


def variance(noise: Values, persistent: Values, n: int) -> Values:
    """Variance of the next value after n values: D = sigma^2 + tau^2 sigma^2 / (n tau^2 + sigma^2)."""
    return noise + persistent * noise / (n * persistent + noise)


def shrunk(mean_square: Values, dof: float) -> Values:
    """Shrink mean squares with ``dof`` degrees of freedom towards their common value over voxels.

    Empirical Bayes: sigma_v^2 ~ s0^2 d0 / chi2(d0) over voxels, d0 and s0^2 by the moments of log s^2 (Smyth 2004,
    Stat Appl Genet Mol Biol 3, eq. 6-10). Voxels that never change thereby get a positive variance.
    """
    logs = np.log(mean_square[mean_square > 0])
    spread = float(logs.var() - polygamma(1, dof / 2))
    prior = MAX_DOF
    if spread > polygamma(1, MAX_DOF / 2):
        low = polygamma(1, MIN_DOF / 2)
        root = brentq(lambda d: polygamma(1, d / 2) - spread, MIN_DOF, MAX_DOF) if spread < low else MIN_DOF
        prior = float(root)
    common = logs.mean() - digamma(dof / 2) + np.log(dof / 2) + digamma(prior / 2) - np.log(prior / 2)
    return (prior * np.exp(common) + dof * mean_square) / (prior + dof)


def blocks(size: int) -> Iterator[slice]:
    """Slices of `BLOCK` voxels."""
    for start in range(0, size, BLOCK):
        yield slice(start, min(start + BLOCK, size))


def project(basis: NDArray[np.float32], values: Values) -> NDArray[np.float64]:
    """B^T values, ``[V] -> [K]`` or ``[n, V] -> [n, K]``."""
    parts = (values[..., part].astype(np.float32, copy=False) @ basis[part] for part in blocks(len(basis)))
    return np.sum([part.astype(np.float64) for part in parts], axis=0)


def weighted_gram(basis: NDArray[np.float32], weights: Values) -> NDArray[np.float64]:
    """B^T diag(weights) B, ``[K, K]``."""
    parts = (basis[part].T @ (basis[part] * weights[part, None].astype(np.float32)) for part in blocks(len(basis)))
    return np.sum([part.astype(np.float64) for part in parts], axis=0)
