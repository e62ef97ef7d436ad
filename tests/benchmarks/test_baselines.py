"""Baselines on subjects whose lines are known; the mixed model's forecasts against its joint density."""

import numpy as np
import pandas as pd
import pytest
from baselines import MixedRegion, error_growth, last_visit, mixed_models, subject_slope
from protocol import task
from scipy.stats import multivariate_normal as normal

from crow.cohort.cohort import Cohort, Schema


def lines(noise: float) -> Cohort:
    """Forty subjects on lines of their own, of two regions, at five visits."""
    rng = np.random.default_rng(0)
    names = [f"s{k:02d}" for k in range(40)]
    visits = pd.DataFrame({"subject": np.repeat(names, 5), "time": np.tile(np.arange(5.0), 40)})
    visits["session"] = visits["time"].astype(str)
    visits["age"] = 70 + visits["time"] + np.repeat(rng.normal(0, 5, 40), 5)
    for region, scale in (("A", 1.0), ("B", 1000.0)):
        level, slope = rng.normal(5, 1, 40), rng.normal(-0.3, 0.2, 40)
        true = np.repeat(level, 5) + np.repeat(slope, 5) * visits["time"]
        visits[region] = scale * (true + noise * rng.normal(size=len(visits)))
    schema = Schema(layout="long", subject="subject", time="age", time_kind="age", regions=["A", "B"])
    return Cohort(visits, schema, visits.groupby("subject")["age"].first())


def test_the_density_of_all_visits_is_that_of_the_first_times_that_of_the_rest_given_them():
    model = MixedRegion(np.array([2.0, 0.3]), np.array([[1.0, 0.2], [0.2, 0.3]]), 0.4)
    t = np.array([0.0, 0.6, 1.0, 2.7, 4.0])
    z = fixed = np.stack([np.ones(5), t], 1)
    y = np.array([1.8, 2.9, 2.2, 4.0, 3.1])
    whole, first = model.moments(fixed, z), model.moments(fixed[:3], z[:3])
    rest = model.given(y[:3], fixed, z)
    parts = normal.logpdf(y[:3], *first) + normal.logpdf(y[3:], *rest)
    assert parts == pytest.approx(normal.logpdf(y, *whole), abs=1e-10)


def test_nearly_straight_lines_are_continued():
    found = task(lines(noise=0.01), "lines", standardised=True)
    mixed, _ = mixed_models(found)
    slope = subject_slope(found.history, found.targets)
    np.testing.assert_allclose(slope / found.scale, found.truth / found.scale, atol=0.1)
    np.testing.assert_allclose(np.median(mixed, axis=1) / found.scale, found.truth / found.scale, atol=0.1)


def test_the_mixed_model_knows_its_errors():
    found = task(lines(noise=0.5), "lines", standardised=True)
    draws, nll = mixed_models(found)
    z = (found.truth - draws.mean(1)) / draws.std(1)
    assert 0.6 < z.std() < 1.5
    # with noise of 0.5 in one region and 500 in the other, no model scores a visit better than its noise alone
    floor = np.log(0.5) + np.log(500) + 1 + np.log(2 * np.pi)
    assert floor - 0.3 < nll < floor + 2


def test_errors_grow_with_the_time_ahead():
    found = task(lines(noise=0.1), "lines", standardised=False)
    spread = error_growth(last_visit(found.history, found.targets), found.targets, found.history)
    sd = pd.DataFrame(spread(found.targets, found.history).std(1)).groupby(found.targets["time"].to_numpy()).mean()
    assert (sd.diff().dropna() > 0).all(axis=None)
