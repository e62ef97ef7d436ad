"""The wide cohort: shape, seed, and truth."""

import numpy as np
import pandas as pd

from crow.simulate import simulate_wide


def test_shape_and_plain_columns() -> None:
    simulation = simulate_wide()
    assert simulation.table.shape == (279 * 3, 3 + 82)
    assert list(simulation.table.columns[:4]) == ["subject", "age", "CDRSB", "ROI01"]
    assert (simulation.table.groupby("subject")["age"].diff().dropna() >= 0.499).all()
    assert simulation.table.notna().all().all()


def test_more_subjects_are_added_to_the_same_population() -> None:
    few, more, other = simulate_wide(8, seed=3), simulate_wide(12, seed=3), simulate_wide(8, seed=4)
    pd.testing.assert_frame_equal(few.table, more.table.head(24))
    assert few.parameters["regions"] == more.parameters["regions"]
    assert not few.table.equals(other.table)


def test_truth_is_the_table_without_noise() -> None:
    simulation = simulate_wide(200, regions=10)
    regions = list(simulation.parameters["regions"])
    noise = np.array([region["noise"] for region in simulation.parameters["regions"].values()])
    error = (simulation.table[regions] / simulation.truth[regions] - 1).to_numpy()
    np.testing.assert_allclose(error.std(axis=0), noise, rtol=0.15)


def test_uptake_and_score_increase_along_the_disease() -> None:
    simulation = simulate_wide(300, regions=5)
    stage = pd.qcut(simulation.truth["disease_time"], 4, labels=False)
    means = simulation.table.drop(columns="subject").groupby(stage).mean()
    assert (means.drop(columns="age").diff().dropna() > 0).all().all()


def test_regions_are_correlated_between_subjects() -> None:
    simulation = simulate_wide(279)
    baseline = simulation.table.groupby("subject").first().filter(like="ROI")
    correlations = np.corrcoef(baseline.to_numpy().T)[np.triu_indices(82, 1)]
    assert np.abs(correlations).mean() > 0.2
