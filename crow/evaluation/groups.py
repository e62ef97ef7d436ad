"""Group effects: how two groups differ in every region, and whether synthetic ones differ as real ones do."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from crow.errors import CohortError

Values = NDArray[np.float64]
FEWEST = 3  # regions whose effects can be in concordance


def cohens_d(first: Values, second: Values) -> Values:
    """``[*batch, region]``: (mean of second - mean of first) / pooled sd, of ``[*batch, person, region]``, NaN where
    missing. Source: Cohen 1988, 2.5.

    Raises CohortError for a group with fewer than 2 people; a region that fewer than 2 of a group have is NaN.
    """
    _check_sizes(first, second)
    (n, a, v), (m, b, w) = (_moments(group) for group in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        d = (b - a) / np.sqrt(((n - 1) * v + (m - 1) * w) / (n + m - 2))
    return np.where((n > 1) & (m > 1) & np.isfinite(d), d, np.nan)


def effects(
    first: Values, second: Values, regions: Sequence[str], level: float = 0.95, draws: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """One row a region: ``d``, its bootstrap interval ``d_low, d_high`` over people, and the t-test's ``p``."""
    resampled = bootstrapped(first, second, draws, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # regions that nobody has
        low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    d, p = cohens_d(first, second), p_values(first, second)
    return pd.DataFrame({"region": list(regions), "d": d, "d_low": low, "d_high": high, "p": p})


def bootstrapped(first: Values, second: Values, draws: int = 1000, seed: int = 0) -> Values:
    """``[draw, region]``: d of people of each group drawn with replacement."""
    _check_sizes(first, second)
    rng, n, m = np.random.default_rng(seed), len(first), len(second)
    return np.stack([
        cohens_d(first[rng.integers(n, size=n)], second[rng.integers(m, size=m)]) for _ in range(draws)
    ])  # fmt: skip


def p_values(first: Values, second: Values) -> Values:
    """``[*batch, region]`` of Student's t-test of ``[*batch, person, region]``; NaN where d is."""
    n, m = ((~np.isnan(group)).sum(-2) for group in (first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = cohens_d(first, second) / np.sqrt(1 / n + 1 / m)
        return np.asarray(2 * stats.t.sf(np.abs(t), n + m - 2))


def concordance(real: Values, synthetic: Values) -> float:
    """Lin's concordance correlation: 1 where both are the same, not only proportional. Source: Lin 1989, equation 3.

    Over the regions that both have; NaN with fewer than 3.
    """
    both = np.stack([np.asarray(real, float), np.asarray(synthetic, float)])
    a, b = both[:, ~np.isnan(both).any(0)]
    if len(a) < FEWEST:
        return float("nan")
    apart = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return float(2 * ((a - a.mean()) * (b - b.mean())).mean() / apart) if apart else 1.0


def concordance_interval(
    real: Values, resampled: Values, synthetic: Values, level: float = 0.95
) -> tuple[float, float]:
    """The interval of `concordance` by the effects of resampled real people ``[draw, region]``; it holds the estimate.

    Resampled effects are noisier than ``real`` and agree less with anything, so its lower end is rather too low.
    """
    estimate = concordance(real, synthetic)
    drawn = np.array([concordance(each, synthetic) for each in resampled])
    if np.isnan(estimate) or np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(min(low, estimate)), float(max(high, estimate))


def significant(p: Values, alpha: float = 0.05) -> int:
    """How many regions are significant after Bonferroni's correction for the number of those that were tested."""
    tested = np.asarray(p, float)
    tested = tested[~np.isnan(tested)]
    return int((tested < alpha / max(1, len(tested))).sum())


def _moments(group: Values) -> tuple[Values, Values, Values]:
    """Number, mean and variance of the people who have each region."""
    known = ~np.isnan(group)
    n = known.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, group, 0.0).sum(-2) / n
        apart = np.where(known, group - mean[..., None, :], 0.0)
        return n, mean, (apart**2).sum(-2) / (n - 1)


def _check_sizes(first: Values, second: Values) -> None:
    n, m = first.shape[-2], second.shape[-2]
    if min(n, m) < 2:
        raise CohortError(f"groups of {n} and {m} people: an effect needs at least 2 in each. Choose other groups.")
