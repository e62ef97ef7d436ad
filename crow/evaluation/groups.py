"""Group effects: how two groups differ in every region, and whether synthetic ones differ as real ones do."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from crow.errors import CohortError

Values = NDArray[np.float64]


def cohens_d(first: Values, second: Values) -> Values:
    """``[region]``: (mean of second - mean of first) / pooled sd, of ``[person, region]``. Source: Cohen 1988, 2.5.

    Raises CohortError for a group with fewer than 2 people.
    """
    n, m = _sizes(first, second)
    pooled = ((n - 1) * first.var(0, ddof=1) + (m - 1) * second.var(0, ddof=1)) / (n + m - 2)
    return (second.mean(0) - first.mean(0)) / np.sqrt(pooled)


def effects(
    first: Values, second: Values, regions: list[str], level: float = 0.95, draws: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """One row a region: ``d``, its bootstrap interval ``d_low, d_high`` over people, and the t-test's ``p``."""
    n, m = _sizes(first, second)
    rng = np.random.default_rng(seed)
    resampled = np.stack([
        cohens_d(first[rng.integers(n, size=n)], second[rng.integers(m, size=m)]) for _ in range(draws)
    ])  # fmt: skip
    low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    p = stats.ttest_ind(first, second).pvalue
    return pd.DataFrame({"region": regions, "d": cohens_d(first, second), "d_low": low, "d_high": high, "p": p})


def concordance(real: Values, synthetic: Values) -> float:
    """Lin's concordance correlation: 1 where both are the same, not only proportional. Source: Lin 1989, equation 3."""
    real, synthetic = np.asarray(real, float), np.asarray(synthetic, float)
    shared = ((real - real.mean()) * (synthetic - synthetic.mean())).mean()
    return float(2 * shared / (real.var() + synthetic.var() + (real.mean() - synthetic.mean()) ** 2))


def significant(p: Values, alpha: float = 0.05) -> int:
    """How many regions are significant after Bonferroni's correction for their number."""
    return int((np.asarray(p) < alpha / len(p)).sum())


def at_sample_size(
    first: Values, second: Values, n: int, m: int, alpha: float = 0.05, draws: int = 200, seed: int = 0
) -> tuple[float, float, float]:
    """Median, 5 and 95 % of the number of significant regions where ``n`` and ``m`` people are drawn of each group.

    Any difference becomes significant with enough synthetic people; at the real sample size the number can be compared.
    """
    _sizes(first, second)
    rng = np.random.default_rng(seed)
    counts = [
        significant(stats.ttest_ind(first[rng.integers(len(first), size=n)], second[rng.integers(len(second), size=m)])
                    .pvalue, alpha)
        for _ in range(draws)
    ]  # fmt: skip
    median, low, high = np.quantile(counts, [0.5, 0.05, 0.95])
    return float(median), float(low), float(high)


def _sizes(first: Values, second: Values) -> tuple[int, int]:
    if min(len(first), len(second)) < 2:
        raise CohortError(
            f"groups of {len(first)} and {len(second)} people: an effect needs at least 2 in each. Choose other groups."
        )
    return len(first), len(second)
