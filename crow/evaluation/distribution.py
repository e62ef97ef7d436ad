"""Whether whole synthetic subjects are distributed as real ones that training did not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from crow.objectives.mmd import mmd

Values = NDArray[np.float64]
BINS = 30
MOST = 1000  # visits in the MMD, whose cost is their square


def by_region(real: pd.DataFrame, synthetic: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """One row a region: the Wasserstein distance (in sds of the real), the Jensen-Shannon divergence (bits, over 30
    bins of equal width), of values; and the Wasserstein distance of the changes a year between visits.

    Both tables have subject, time and the regions, a row a visit.
    """
    rows = []
    for region in regions:
        a, b = (table[region].dropna().to_numpy(float) for table in (real, synthetic))
        sd = a.std()
        edges = np.histogram_bin_edges(np.concatenate([a, b]), BINS)
        p, q = (np.histogram(values, edges)[0] for values in (a, b))
        change = [_yearly_change(table, region) for table in (real, synthetic)]
        rows.append({
            "region": region, "wasserstein": stats.wasserstein_distance(a, b) / sd,
            "jensen_shannon": float(jensenshannon(p, q, 2) ** 2),
            "wasserstein_change": _distance(*change),
            "autocorrelation_real": _autocorrelation(real, region),
            "autocorrelation_synthetic": _autocorrelation(synthetic, region),
        })  # fmt: skip
    return pd.DataFrame(rows)


def overall(real: pd.DataFrame, synthetic: pd.DataFrame, regions: Sequence[str], seed: int = 0) -> dict[str, float]:
    """The MMD of standardised visits (as many of both, at most 1,000), the mean and largest difference of the regions'
    correlations, and the `discriminator_auc`."""
    a, b = (table[list(regions)].dropna().to_numpy(float) for table in (real, synthetic))
    mean, sd = a.mean(0), a.std(0)
    rng, size = np.random.default_rng(seed), min(len(a), len(b), MOST)
    chosen = [values[rng.permutation(len(values))[:size]] for values in (a, b)]
    standard = [torch.from_numpy((values - mean) / sd).float()[:, None] for values in chosen]
    gap = np.abs(np.atleast_2d(np.corrcoef(a.T) - np.corrcoef(b.T)))[np.triu_indices(len(regions), 1)]
    return {
        "mmd": float(mmd(standard[0], standard[1], torch.ones(size, 1, dtype=torch.bool))),
        "correlation_difference_mean": float(gap.mean()) if len(gap) else 0.0,
        "correlation_difference_largest": float(gap.max()) if len(gap) else 0.0,
        "discriminator_auc": discriminator_auc(real, synthetic, regions, seed),
    }


def discriminator_auc(real: pd.DataFrame, synthetic: pd.DataFrame, regions: Sequence[str], seed: int = 0) -> float:
    """Area under the curve of gradient boosting that tells real from synthetic visits and changes since the last one,
    cross-validated by subject: 0.5 where nothing tells them apart."""
    tables = []
    for k, table in enumerate((real, synthetic)):
        values = table[list(regions)]
        change = values.groupby(table["subject"]).diff().add_suffix("_change")
        subject = f"{k} " + table["subject"].astype(str)
        tables.append(pd.concat([values, change], axis=1).assign(subject=subject, real=1 - k))
    both = pd.concat(tables, ignore_index=True)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    model = HistGradientBoostingClassifier(max_iter=100, random_state=seed)
    x, y = both.drop(columns=["subject", "real"]).to_numpy(float), both["real"].to_numpy()
    p = cross_val_predict(model, x, y, groups=both["subject"], cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, p))


def _yearly_change(table: pd.DataFrame, region: str) -> Values:
    steps = table.groupby("subject")[[region, "time"]].diff().dropna()
    return (steps[region] / steps["time"]).to_numpy(float)


def _distance(a: Values, b: Values) -> float:
    """In sds of a; NaN where there is nothing to compare."""
    return float(stats.wasserstein_distance(a, b) / a.std()) if len(a) > 1 and len(b) > 1 else float("nan")


def _autocorrelation(table: pd.DataFrame, region: str) -> float:
    """Correlation of a visit with the subject's visit before it."""
    pairs = pd.DataFrame({"now": table[region], "before": table.groupby("subject")[region].shift()}).dropna()
    return float(np.corrcoef(pairs["now"], pairs["before"])[0, 1]) if len(pairs) > 2 else float("nan")
