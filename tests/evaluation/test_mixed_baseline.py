"""The linear mixed model by statsmodels: its forecasts against its joint density, and on subjects with known lines."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal as normal
from small_cohorts import in_memory

from crow.cohort import Cohort
from crow.evaluation.forecasts import split_history
from crow.evaluation.mixed_baseline import MixedBaseline, MixedRegion

SCALES = {"A": 1.0, "B": 1000.0}


def lines(noise: float, seed: int = 0) -> Cohort:
    """Forty subjects, each on its own line, with two regions and five visits."""
    rng = np.random.default_rng(seed)
    visits = pd.DataFrame({"subject": np.repeat([f"s{k:02d}" for k in range(40)], 5)})
    time = np.tile(np.arange(5.0), 40)
    visits["age"] = 70 + time + np.repeat(rng.normal(0, 5, 40), 5)
    for region, scale in SCALES.items():
        level, slope = np.repeat(rng.normal(5, 1, 40), 5), np.repeat(rng.normal(-0.3, 0.2, 40), 5)
        visits[region] = scale * (level + slope * time + noise * rng.normal(size=len(visits)))
    return in_memory(visits, list(SCALES), {})


def test_the_density_of_all_visits_is_that_of_the_first_times_that_of_the_rest_given_them() -> None:
    model = MixedRegion(np.array([2.0, 0.3]), np.array([[1.0, 0.2], [0.2, 0.3]]), 0.4)
    t = np.array([0.0, 0.6, 1.0, 2.7, 4.0])
    z = fixed = np.stack([np.ones(5), t], 1)
    y = np.array([1.8, 2.9, 2.2, 4.0, 3.1])
    joint, first = model.moments(fixed, z), model.moments(fixed[:3], z[:3])
    rest = model.given(y[:3], fixed, z)
    parts = normal.logpdf(y[:3], *first) + normal.logpdf(y[3:], *rest)
    assert parts == pytest.approx(normal.logpdf(y, *joint), abs=1e-10)
    assert model.log_prob(y, fixed, z).sum() == pytest.approx(parts, abs=1e-10)


def test_nearly_straight_lines_are_continued_and_noise_is_estimated() -> None:
    scale = np.array(list(SCALES.values()))
    history, targets = split_history(lines(noise=0.01, seed=1))
    truth = targets[list(SCALES)].to_numpy() / scale
    exact = MixedBaseline().fit(lines(noise=0.01)).forecast(history, targets).values
    np.testing.assert_allclose(np.median(exact, axis=1) / scale, truth, atol=0.1)
    history, targets = split_history(lines(noise=0.5, seed=1))
    model = MixedBaseline().fit(lines(noise=0.5))
    draws = model.forecast(history, targets).values
    assert 0.7 < ((targets[list(SCALES)].to_numpy() - draws.mean(1)) / draws.std(1)).std() < 1.4
    # No model has a lower NLL per visit than the entropy of the noise alone: 0.5 in one region, 500 in the other.
    entropy = np.log(0.5) + np.log(500) + 1 + np.log(2 * np.pi)
    assert entropy - 0.3 < -model.log_prob(lines(noise=0.5, seed=1))["log_prob"].mean() < entropy + 2


def test_a_region_that_is_measured_only_with_a_covariate_has_no_effect_of_its_absence() -> None:
    visits = lines(noise=0.5).visits
    visits["score"] = np.random.default_rng(3).normal(size=len(visits)).round(2)
    visits.loc[::3, ["score", "B"]] = np.nan
    cohort = in_memory(visits[["subject", "age", "score", *SCALES]], list(SCALES), {"score": "numeric"})
    model = MixedBaseline().fit(cohort)
    both, measured = (one.beta for one in model.models)
    assert np.count_nonzero(both) == np.count_nonzero(measured) + 1
    history, targets = split_history(cohort)
    assert np.isfinite(model.forecast(history, targets).values).all()
