"""Group effects: Cohen's d by region, its significance, and the agreement of real and synthetic effects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from crow.errors import CohortError
from crow.evaluation.bootstrap import N_RESAMPLES, interval, resample_subjects

Values = NDArray[np.float64]
MIN_REGIONS = 3  # for a concordance


def cohens_d(first: Values, second: Values) -> Values:
    """Cohen's d: (mean of second - mean of first) / pooled sd. Source: Cohen 1988, 2.5.

    Parameters
    ----------
    first, second : ndarray of shape [*batch, subject, region]
        Values of two groups, NaN if missing.

    Returns
    -------
    ndarray of shape [*batch, region]
        NaN for a region that fewer than 2 subjects of a group have.

    Raises
    ------
    CohortError
        If a group has fewer than 2 subjects.
    """
    _check_sizes(first, second)
    (n, a, v), (m, b, w) = (_moments(group) for group in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        d = (b - a) / np.sqrt(((n - 1) * v + (m - 1) * w) / (n + m - 2))
    return np.where((n > 1) & (m > 1) & np.isfinite(d), d, np.nan)


def effects(
    first: Values, second: Values, regions: Sequence[str], level: float = 0.95, resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Effect sizes by region, with bootstrap intervals over subjects and p-values.

    Parameters
    ----------
    first, second : ndarray of shape [subject, region]
        Values of two groups, NaN if missing.
    regions : sequence of str
        Names of the regions.
    level : float
        Coverage of the interval.
    resamples, seed : int
        Number of bootstrap samples, and their seed.

    Returns
    -------
    DataFrame
        One row per region: ``region``, ``d``, ``d_low``, ``d_high``, and ``p`` of Student's t-test.

    Raises
    ------
    CohortError
        If a group has fewer than 2 subjects.
    """
    low, high = interval(bootstrapped(first, second, resamples, seed), level)
    d, p = cohens_d(first, second), p_values(first, second)
    return pd.DataFrame({"region": list(regions), "d": d, "d_low": low, "d_high": high, "p": p})


def bootstrapped(first: Values, second: Values, resamples: int = N_RESAMPLES, seed: int = 0) -> Values:
    """``[resample, region]``: Cohen's d of bootstrap samples of the subjects of each group."""
    _check_sizes(first, second)
    rng = np.random.default_rng(seed)
    rows = (resample_subjects(len(group), resamples, rng) for group in (first, second))
    return np.stack([cohens_d(first[a], second[b]) for a, b in zip(*rows, strict=True)])


def p_values(first: Values, second: Values) -> Values:
    """p-values of Student's t-test by region.

    Parameters
    ----------
    first, second : ndarray of shape [*batch, subject, region]
        Values of two groups, NaN if missing.

    Returns
    -------
    ndarray of shape [*batch, region]
        Two-sided p-values; NaN for a region that fewer than 2 subjects of a group have.
    """
    (n, a, v), (m, b, w) = (_moments(group) for group in (first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.asarray(stats.ttest_ind_from_stats(b, np.sqrt(w), m, a, np.sqrt(v), n).pvalue)
    return np.where((n > 1) & (m > 1), p, np.nan)


def concordance(real: Values, synthetic: Values) -> float:
    """Lin's concordance correlation coefficient. Source: Lin 1989, equation 3.

    Unlike a correlation it is 1 only if both are equal, not if they are proportional. torchmetrics' coefficient
    divides variances by n - 1, Lin's by n, and differs noticeably for few regions.

    Parameters
    ----------
    real, synthetic : ndarray of shape [region]
        Effects, NaN if missing.

    Returns
    -------
    float
        Between -1 and 1, over the regions that both have; NaN if there are fewer than 3.
    """
    both = np.stack([np.asarray(real, float), np.asarray(synthetic, float)])
    a, b = both[:, ~np.isnan(both).any(0)]
    if len(a) < MIN_REGIONS:
        return float("nan")
    apart = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return float(2 * ((a - a.mean()) * (b - b.mean())).mean() / apart) if apart else 1.0


def concordance_interval(
    real: Values, resampled: Values, synthetic: Values, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of `concordance` over real subjects; it contains the estimate.

    Resampled effects are noisier than ``real`` and agree less with anything, so the lower bound is conservative.

    Parameters
    ----------
    real, synthetic : ndarray of shape [region]
        Effects.
    resampled : ndarray of shape [resample, region]
        Effects of bootstrap samples of the real subjects.
    level : float
        Coverage of the interval.

    Returns
    -------
    tuple of float
        Lower and upper bound; NaN if there are fewer than 3 regions.
    """
    estimate = concordance(real, synthetic)
    low, high = map(float, interval(np.array([concordance(each, synthetic) for each in resampled]), level))
    if np.isnan(estimate) or np.isnan(low):
        return float("nan"), float("nan")
    return min(low, estimate), max(high, estimate)


def significant(p: Values, alpha: float = 0.05) -> int:
    """Number of regions that are significant after Bonferroni correction for the number of regions tested."""
    tested = np.asarray(p, float)
    tested = tested[~np.isnan(tested)]
    return int((tested < alpha / max(1, len(tested))).sum())


def _moments(group: Values) -> tuple[Values, Values, Values]:
    """Number, mean and variance of the subjects who have each region."""
    known = ~np.isnan(group)
    n = known.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, group, 0.0).sum(-2) / n
        apart = np.where(known, group - mean[..., None, :], 0.0)
        return n, mean, (apart**2).sum(-2) / (n - 1)


def _check_sizes(first: Values, second: Values) -> None:
    n, m = first.shape[-2], second.shape[-2]
    if min(n, m) < 2:
        raise CohortError(f"groups of {n} and {m} subjects: an effect needs at least 2 in each. Choose other groups.")
