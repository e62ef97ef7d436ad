"""Distances between the distributions of synthetic subjects and of real test subjects."""

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
MAX_VISITS = 1000  # in the MMD, whose cost is quadratic
FOLDS = 5  # of the discriminator, by subject; with fewer subjects of a kind there is no evaluation


def by_region(real: pd.DataFrame, synthetic: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """Distances between real and synthetic visits, region by region.

    Parameters
    ----------
    real, synthetic : DataFrame
        One row per visit, sorted by subject and time: ``subject``, ``time`` (years) and the regions. Missing values do
        not count; changes are between visits at which the region was observed.
    regions : sequence of str
        Columns to compare.

    Returns
    -------
    DataFrame
        One row per region: ``wasserstein`` (Wasserstein-1 distance of values, in sds of the real ones),
        ``jensen_shannon`` (bits, over 30 bins of equal width), ``wasserstein_change`` (of changes per year between
        visits), ``autocorrelation_real`` and ``autocorrelation_synthetic`` (with the previous visit). NaN if there is
        nothing to compare.
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
    """Distances between real and synthetic visits over all regions together.

    Parameters
    ----------
    real, synthetic : DataFrame
        As in `by_region`.
    regions : sequence of str
        Columns to compare.
    seed : int
        Seed of the subsamples and of the discriminator.

    Returns
    -------
    dict of str to float
        ``mmd``, the squared maximum mean discrepancy (`crow.objectives.mmd`) of equal numbers of complete visits, at
        most 1,000, in sds of the real ones divided by the square root of the number of regions, because the kernels
        have the width of one region; ``correlation_difference_mean`` and ``correlation_difference_largest`` of the
        correlations between regions; and `discriminator_auc`.
    """
    names = list(regions)
    mean, sd = real[names].mean(), real[names].std(ddof=0)
    a, b = (((table[names] - mean) / sd).dropna().to_numpy(float) for table in (real, synthetic))
    rng, size = np.random.default_rng(seed), min(len(a), len(b), MAX_VISITS)
    first, second = (
        torch.from_numpy(values[rng.permutation(len(values))[:size]] / len(names) ** 0.5).float()[:, None]
        for values in (a, b)
    )
    correlations = [table[names].corr().to_numpy() for table in (real, synthetic)]
    gap = np.abs(correlations[0] - correlations[1])[np.triu_indices(len(names), 1)]
    gap = gap[~np.isnan(gap)]
    mask = torch.ones(size, 1, dtype=torch.bool)
    return {
        "mmd": float(mmd(first, second, mask)) if size > 1 else float("nan"),
        "correlation_difference_mean": float(gap.mean()) if len(gap) else 0.0,
        "correlation_difference_largest": float(gap.max()) if len(gap) else 0.0,
        "discriminator_auc": discriminator_auc(real, synthetic, names, seed),
    }


def discriminator_auc(real: pd.DataFrame, synthetic: pd.DataFrame, regions: Sequence[str], seed: int = 0) -> float:
    """AUC of gradient boosting that separates real from synthetic visits, by values and changes since the last visit.

    It is cross-validated by subject: 0.5 if they cannot be separated, NaN with fewer than 5 real or synthetic subjects.
    Values that are missing in one kind only also separate them.
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
    """One row per observed visit with a previous one: ``now, before, change`` (per year)."""
    observed = table[["subject", "time", region]].dropna()
    before = observed.groupby("subject")[["time", region]].shift()
    years = observed["time"] - before["time"]
    steps = pd.DataFrame({"now": observed[region], "before": before[region], "years": years})
    return steps.dropna().assign(change=lambda rows: (rows["now"] - rows["before"]) / rows["years"])


def _distance(a: Values, b: Values) -> float:
    """In sds of a; NaN if there is nothing to compare."""
    return float(stats.wasserstein_distance(a, b) / a.std()) if min(len(a), len(b)) > 1 and a.std() else float("nan")


def _divergence(a: Values, b: Values) -> float:
    if not (len(a) and len(b)):
        return float("nan")
    edges = np.histogram_bin_edges(np.concatenate([a, b]), BINS)
    p, q = (np.histogram(values, edges)[0] for values in (a, b))
    return float(jensenshannon(p, q, 2) ** 2)


def _autocorrelation(steps: pd.DataFrame) -> float:
    """Correlation of a visit with the subject's previous visit."""
    varies = len(steps) > 2 and steps["now"].std() > 0 and steps["before"].std() > 0
    return float(np.corrcoef(steps["now"], steps["before"])[0, 1]) if varies else float("nan")
