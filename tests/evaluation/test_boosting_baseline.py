"""Gradient-boosted quantiles: calibrated on a cohort that it can learn, with and without missing values."""

import numpy as np
import pytest
from small_cohorts import in_memory, with_visits

from crow.cohort import Cohort
from crow.errors import CohortError
from crow.evaluation.boosting_baseline import LEVELS, BoostingBaseline, _draws
from crow.evaluation.evaluate_model import forecast_task
from crow.evaluation.forecasts import value_scores
from crow.evaluation.simple_baselines import SimpleBaseline
from crow.simulate import simulate_wide


def cohorts() -> tuple[Cohort, Cohort]:
    table = simulate_wide(120, 4, 3, 0).table
    both = in_memory(table, [name for name in table if name.startswith("ROI")], {"CDRSB": "numeric"})
    return both.of(both.subjects[:90]), both.of(both.subjects[90:])


def test_it_is_calibrated_and_better_than_the_last_visit() -> None:
    training, test = cohorts()
    history, targets, inputs = forecast_task(test, "carry")
    ours = BoostingBaseline().fit(training)
    scores = value_scores(ours.forecast(history, inputs), targets, history)
    last = value_scores(SimpleBaseline("last visit").fit(training).forecast(history, inputs), targets, history)
    assert scores["crps"].mean() < last["crps"].mean()
    assert 0.7 < scores["inside_90"].mean() < 0.97
    again = BoostingBaseline().fit(training).forecast(history, inputs)
    np.testing.assert_array_equal(again.values, ours.forecast(history, inputs).values)
    assert ours.log_prob(test) is None


def test_missing_values_neither_break_it_nor_count() -> None:
    training, test = cohorts()
    gaps = np.random.default_rng(0).random((len(training), 3)) < 0.3
    visits = training.visits.copy()
    visits[training.regions] = visits[training.regions].mask(gaps)
    history, _, inputs = forecast_task(test, "carry")
    unseen = with_visits(history, history.visits.assign(ROI01=np.nan))
    forecast = BoostingBaseline().fit(with_visits(training, visits)).forecast(unseen, inputs)
    assert np.isfinite(forecast.values).all()


def test_a_region_without_later_values_is_refused_by_name() -> None:
    training, _ = cohorts()
    first = training.visits.groupby("subject").cumcount() == 0
    visits = training.visits.assign(ROI02=training.visits["ROI02"].where(first))
    with pytest.raises(CohortError, match="column ROI02: 0 values at later visits"):
        BoostingBaseline().fit(with_visits(training, visits))


def test_draws_have_the_quantiles_that_were_given() -> None:
    quantiles = np.sort(np.random.default_rng(1).normal(size=(len(LEVELS), 2, 1)), 0)
    drawn = _draws(quantiles, 200_000, 0)
    np.testing.assert_allclose(np.quantile(drawn, LEVELS, axis=1), quantiles, atol=0.03)
