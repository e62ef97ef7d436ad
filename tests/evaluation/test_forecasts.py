"""Scores of forecasts in hand-made and simulated cases with known answers."""

import numpy as np
import pandas as pd
import pytest
import scoringrules
from scipy import stats
from small_cohorts import in_memory

from crow.data.forecast import Forecast
from crow.evaluation.forecasts import (
    in_units,
    isolated_targets,
    skill,
    split_history,
    summarise,
    value_scores,
    visit_scores,
    with_groups,
)


def cohort(subjects: int = 60, visits: int = 4):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "subject": np.repeat([f"s{k:03d}" for k in range(subjects)], visits),
        "age": np.repeat(rng.uniform(60, 80, subjects), visits) + np.tile(1.5 * np.arange(visits), subjects),
        "sex": np.repeat(rng.choice(["F", "M"], subjects), visits),
    })  # fmt: skip
    table["A"], table["B"] = rng.normal(10, 2, len(table)), rng.normal(-3, 0.5, len(table))
    return in_memory(table, ["A", "B"], {"sex": "categorical"})


def true_forecast(targets: pd.DataFrame, draws: int = 400, spread: float = 1.0) -> Forecast:
    """The true distribution of the values, or one that is too wide or too narrow."""
    noise = np.random.default_rng(1).normal(size=(len(targets), draws, 2))
    return Forecast(targets, ["A", "B"], np.array([10, -3]) + spread * noise * np.array([2, 0.5]))


def test_the_first_half_of_the_visits_is_given() -> None:
    full = cohort(3, 5)
    history, targets = split_history(full)
    assert (history.visits.groupby("subject").size() == 3).all() and (targets.groupby("subject").size() == 2).all()
    joined = pd.concat([history.visits, targets]).sort_values(["subject", "time"])
    pd.testing.assert_frame_equal(joined.reset_index(drop=True), full.visits.reset_index(drop=True))


def test_a_right_forecast_is_calibrated() -> None:
    history, targets = split_history(cohort())
    scores = value_scores(true_forecast(targets), targets, history)
    table = summarise(scores, ["region"]).set_index("region")
    assert len(scores) == 2 * len(targets) and (scores["ahead"] > 0).all()
    for region, sd in (("A", 2.0), ("B", 0.5)):
        assert table.loc[region, "MAE"] == pytest.approx(sd * np.sqrt(2 / np.pi), rel=0.15)
        assert table.loc[region, "RMSE"] == pytest.approx(sd, rel=0.15)
        assert table.loc[region, "CRPS"] == pytest.approx(sd / np.sqrt(np.pi), rel=0.15)
        entropy = np.log(sd) + 0.5 * np.log(2 * np.pi * np.e)
        assert table.loc[region, "NLL per value"] == pytest.approx(entropy, abs=0.15)
        for share in (50, 80, 90, 95):
            assert abs(table.loc[region, f"coverage {share} %"] - share / 100) < 0.1
    assert stats.kstest(scores["pit"], "uniform").pvalue > 0.01
    narrow = summarise(value_scores(true_forecast(targets, spread=0.3), targets, history)).iloc[0]
    assert narrow["coverage 90 %"] < 0.6 and narrow["CRPS"] > summarise(scores).iloc[0]["CRPS"]


def test_crps_by_hand() -> None:
    """Draws 0 and 2 of a truth of 1: mean |x - y| = 1, half the mean |x - x'| = .5."""
    history, targets = split_history(cohort(1, 2))
    targets = targets.assign(A=1.0, B=np.nan)
    values = np.zeros((1, 2, 2))
    values[0, 1] = 2
    scores = value_scores(Forecast(targets, ["A", "B"], values), targets, history)
    assert scores["region"].tolist() == ["A"]
    row = scores.iloc[0]
    assert (row["crps"], row["error"], row["squared"], row["pit"]) == (0.5, 0.0, 0.0, 0.5)
    assert row["nll"] == pytest.approx(0.5 * np.log(2 * np.pi * 2))  # N(1, 2) at its mean


def test_energy_of_one_region_is_its_crps() -> None:
    history, targets = split_history(cohort(10))
    forecast = true_forecast(targets)
    one = Forecast(targets, ["A"], forecast.values[..., :1])
    energy = visit_scores(one, targets, np.array([2.0]))["energy"]
    crps = value_scores(one, targets, history)["crps"] / 2
    np.testing.assert_allclose(energy, crps, rtol=1e-6)
    truth, scale = targets[["A", "B"]].to_numpy(), np.array([2.0, 0.5])
    whole = visit_scores(forecast, targets, scale)["energy"]
    np.testing.assert_allclose(whole, scoringrules.es_ensemble(truth / scale, forecast.values / scale), rtol=1e-6)
    assert len(visit_scores(forecast, targets.assign(A=np.nan, B=np.nan), np.ones(2))) == 0


def test_each_target_is_isolated_after_its_history() -> None:
    """Independent visits: the density of each does not depend on the visits in between."""
    full = cohort(5, 5)
    history, targets = split_history(full)
    isolated = isolated_targets(history, targets, targets.assign(age=1.0 + np.arange(len(targets))))
    last = isolated.visits.groupby("subject").tail(1)
    assert isolated.visits.groupby("subject").size().tolist() == [4] * len(targets)
    np.testing.assert_array_equal(last[["time", "A", "B"]], targets[["time", "A", "B"]])
    assert last["age"].tolist() == (1.0 + np.arange(len(targets))).tolist()
    given = isolated.visits.drop(last.index)
    owner = given["subject"].astype(int).map(targets["subject"].reset_index(drop=True))
    source = history.visits.set_index(["subject", "time"])
    np.testing.assert_array_equal(given["A"], source["A"].loc[pd.MultiIndex.from_arrays([owner, given["time"]])])
    log_prob = stats.norm.logpdf(targets[["A", "B"]], [10, -3], [2, 0.5]).sum(1)
    incomplete = targets.assign(B=targets["B"].mask(targets.index == 0))
    scores = visit_scores(true_forecast(targets), incomplete, np.ones(2), log_prob)
    np.testing.assert_allclose(scores["nll"], -log_prob)
    assert scores["values"].tolist() == [1, *[2] * (len(targets) - 1)]


def test_an_incomplete_visit_is_scored_over_its_measured_regions() -> None:
    _, targets = split_history(cohort(10))
    forecast = true_forecast(targets)
    lacking = targets.assign(B=np.nan)
    one = Forecast(targets, ["A"], forecast.values[..., :1])
    energy = visit_scores(forecast, lacking, np.array([2.0, 0.5]))["energy"]
    np.testing.assert_allclose(energy, visit_scores(one, targets, np.array([2.0]))["energy"])


def test_scores_by_group_average_to_the_scores_of_all() -> None:
    history, targets = split_history(cohort())
    scores = with_groups(value_scores(true_forecast(targets), targets, history), targets, ["sex"])
    by = summarise(scores, ["horizon"]).set_index("horizon")
    assert set(by.index) == {"1-2 y", "2-4 y"} and (by["values"] == 120).all()
    assert set(scores["age band"]) <= {"<65", "65-75", "75-85", ">85"} and set(scores["sex"]) == {"F", "M"}
    weighted = summarise(scores, ["sex"])
    assert np.average(weighted["MAE"], weights=weighted["values"]) == pytest.approx(scores["error"].mean())
    scaled = summarise(in_units(scores, scores["region"].map({"A": 2.0, "B": 0.5}))).iloc[0]
    assert scaled["RMSE"] == pytest.approx(1, rel=0.15)


def test_skill_lies_inside_its_interval() -> None:
    history, targets = split_history(cohort())
    own, reference = (value_scores(true_forecast(targets, spread=s), targets, history) for s in (1.0, 3.0))
    value, low, high = skill(own, reference, "crps")
    assert 0 < low < value < high < 1
    assert value == pytest.approx(1 - own["crps"].mean() / reference["crps"].mean())
    assert skill(own, own, "crps") == (0.0, 0.0, 0.0)
    assert skill(own, reference.sample(frac=1, random_state=0), "crps") == (value, low, high)
