"""Distances between equal distributions, and between distributions that differ in one respect."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from crow.evaluation.distribution import by_region, discriminator_auc, overall

REGIONS = ["A", "B"]


def cohort(seed: int, n: int = 150, shift: float = 0.0, rho: float = 0.7, persist: float = 0.9) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    mixed = np.linalg.cholesky(np.array([[1, rho], [rho, 1]]))
    level = rng.normal(size=(n, 1, 2))
    values = np.sqrt(persist) * level + np.sqrt(1 - persist) * rng.normal(size=(n, 4, 2))
    table = pd.DataFrame((values @ mixed.T).reshape(-1, 2) + shift, columns=REGIONS)
    return table.assign(subject=np.repeat([f"s{k}" for k in range(n)], 4), time=np.tile(np.arange(4.0), n))


def test_equal_distributions_are_close() -> None:
    table = by_region(cohort(0), cohort(1), REGIONS)
    assert (table["wasserstein"] < 0.25).all() and (table["jensen_shannon"] < 0.06).all()
    assert (table["autocorrelation_real"] - table["autocorrelation_synthetic"]).abs().max() < 0.08
    found = overall(cohort(0), cohort(1), REGIONS)
    assert abs(found["discriminator_auc"] - 0.5) < 0.08 and found["correlation_difference_largest"] < 0.15


def test_a_shift_is_measured_and_detected() -> None:
    """A shift by one sd is a distance of one, and the discriminator detects it."""
    table, same = by_region(cohort(0), cohort(0, shift=1.0), REGIONS), overall(cohort(0), cohort(1), REGIONS)
    assert table["wasserstein"].to_numpy() == pytest.approx(1 / cohort(0)[REGIONS].std(ddof=0).to_numpy())
    found = overall(cohort(0), cohort(1, shift=1.0), REGIONS)
    assert found["mmd"] > 5 * same["mmd"] and found["discriminator_auc"] > 0.65


def test_lost_persistence_is_detected_although_single_visits_look_right() -> None:
    """Single visits keep their distribution; change, autocorrelation and the discriminator differ."""
    table = by_region(cohort(0), cohort(1, persist=0.0), REGIONS)
    assert (table["wasserstein"] < 0.25).all() and (table["wasserstein_change"] > 0.5).all()
    assert (table["autocorrelation_synthetic"] < 0.2).all() and (table["autocorrelation_real"] > 0.8).all()
    assert discriminator_auc(cohort(0), cohort(1, persist=0.0), REGIONS) > 0.8
    assert overall(cohort(0), cohort(1, rho=0.0), REGIONS)["correlation_difference_largest"] > 0.5


def test_distances_equal_those_of_a_second_implementation() -> None:
    a, b = cohort(0), cohort(1, shift=0.5)
    found = by_region(a, b, ["A"]).iloc[0]
    quantiles = np.linspace(0.0005, 0.9995, 1000)
    distance = np.abs(np.quantile(a["A"], quantiles) - np.quantile(b["A"], quantiles)).mean() / a["A"].std(ddof=0)
    assert found["wasserstein"] == pytest.approx(distance, rel=0.02)
    edges = np.histogram_bin_edges(np.concatenate([a["A"], b["A"]]), 30)
    p, q = (np.histogram(t["A"], edges)[0] / len(t) for t in (a, b))
    middle = (p + q) / 2
    assert found["jensen_shannon"] == pytest.approx((stats.entropy(p, middle, 2) + stats.entropy(q, middle, 2)) / 2)
