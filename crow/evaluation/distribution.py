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
FOLDS = 5  # of the discriminator, by subject: fewer subjects of a kind cannot be judged


def by_region(real: pd.DataFrame, synthetic: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """One row a region: the Wasserstein-1 distance (in sds of the real), the Jensen-Shannon divergence (bits, over 30
    bins of equal width), of values; and the Wasserstein distance of the changes a year between visits.

    Both tables have subject, time and the regions, a row a visit, sorted by subject and time. Missing values do not
    count: changes are between visits at which the region was measured. NaN where there is nothing to compare.
    """
    rows = []
    for region in regions:
        a, b = (table[region].dropna().to_numpy(float) for table in (real, synthetic))
        steps = [_steps(table, region) for table in (real, synthetic)]
        rows.append({
            "region": region, "wasserstein": _distance(a, b), "jensen_shannon": _divergence(a, b),
            "wasserstein_change": _distance(*(step["change"].to_numpy(float) for step in steps)),
            "autocorrelation_real": _autocorrelation(steps[0]), "autocorrelation_synthetic": _autocorrelation(steps[1]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def overall(real: pd.DataFrame, synthetic: pd.DataFrame, regions: Sequence[str], seed: int = 0) -> dict[str, float]:
    """The MMD of visits (as many of both, at most 1,000), the mean and largest difference of the regions' correlations,
    and the `discriminator_auc`.

    The squared MMD is that of `crow.objectives.mmd` of values in sds of the real, divided by the root of the number of
    regions: its kernels are as wide as one region is, whose distances grow with their number. Visits that lack a region
    have no part in it; correlations are those of the visits that have both regions.
    """
    names = list(regions)
    mean, sd = real[names].mean(), real[names].std(ddof=0)
    a, b = (((table[names] - mean) / sd).dropna().to_numpy(float) for table in (real, synthetic))
    rng, size = np.random.default_rng(seed), min(len(a), len(b), MOST)
    first, second = (
        torch.from_numpy(values[rng.permutation(len(values))[:size]] / len(names) ** 0.5).float()[:, None]
        for values in (a, b)
    )
    correlations = [table[names].corr().to_numpy() for table in (real, synthetic)]
    gap = np.abs(correlations[0] - correlations[1])[np.triu_indices(len(names), 1)]
    gap = gap[~np.isnan(gap)]
    together = torch.ones(size, 1, dtype=torch.bool)
    return {
        "mmd": float(mmd(first, second, together)) if size > 1 else float("nan"),
        "correlation_difference_mean": float(gap.mean()) if len(gap) else 0.0,
        "correlation_difference_largest": float(gap.max()) if len(gap) else 0.0,
        "discriminator_auc": discriminator_auc(real, synthetic, names, seed),
    }


def discriminator_auc(real: pd.DataFrame, synthetic: pd.DataFrame, regions: Sequence[str], seed: int = 0) -> float:
    """Area under the curve of gradient boosting that tells real from synthetic visits and changes since the last one,
    cross-validated by subject: 0.5 where nothing tells them apart, NaN with fewer than 5 subjects of a kind.

    A value that is missing in one kind only tells them apart, too.
    """
    tables = []
    for k, table in enumerate((real, synthetic)):
        values = table[list(regions)]
        change = values.groupby(table["subject"]).diff().add_suffix("_change")
        subject = f"{k} " + table["subject"].astype(str)
        tables.append(pd.concat([values, change], axis=1).assign(subject=subject, real=1 - k))
    if min(table["subject"].nunique() for table in tables) < FOLDS:
        return float("nan")
    both = pd.concat(tables, ignore_index=True)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    model = HistGradientBoostingClassifier(max_iter=100, random_state=seed)
    x, y = both.drop(columns=["subject", "real"]).to_numpy(float), both["real"].to_numpy()
    p = cross_val_predict(model, x, y, groups=both["subject"], cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, p))


def _steps(table: pd.DataFrame, region: str) -> pd.DataFrame:
    """A row a measured visit with one before it: ``now, before, change`` (a year)."""
    seen = table[["subject", "time", region]].dropna()
    before = seen.groupby("subject")[["time", region]].shift()
    steps = pd.DataFrame({"now": seen[region], "before": before[region], "years": seen["time"] - before["time"]})
    return steps.dropna().assign(change=lambda rows: (rows["now"] - rows["before"]) / rows["years"])


def _distance(a: Values, b: Values) -> float:
    """In sds of a; NaN where there is nothing to compare."""
    return float(stats.wasserstein_distance(a, b) / a.std()) if min(len(a), len(b)) > 1 and a.std() else float("nan")


def _divergence(a: Values, b: Values) -> float:
    if not (len(a) and len(b)):
        return float("nan")
    edges = np.histogram_bin_edges(np.concatenate([a, b]), BINS)
    p, q = (np.histogram(values, edges)[0] for values in (a, b))
    return float(jensenshannon(p, q, 2) ** 2)


def _autocorrelation(steps: pd.DataFrame) -> float:
    """Correlation of a visit with the subject's visit before it."""
    varies = len(steps) > 2 and steps["now"].std() > 0 and steps["before"].std() > 0
    return float(np.corrcoef(steps["now"], steps["before"])[0, 1]) if varies else float("nan")
