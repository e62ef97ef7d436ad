"""Simple baselines: their forecasts, the growth of their errors, and their density."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from small_cohorts import in_memory

from crow.cohort import Cohort
from crow.evaluation.forecasts import split_history, summarise, value_scores
from crow.evaluation.point_baseline import GrowingError
from crow.evaluation.simple_baselines import Rule, SimpleBaseline

RULES: tuple[Rule, ...] = ("last visit", "mean of the past", "subject slope")


def walks(subjects: int = 300, visits: int = 5, seed: int = 0) -> Cohort:
    """A: a random walk of variance 0.25 per year from the subject's level; B: the subject's line, without noise."""
    rng = np.random.default_rng(seed)
    gap = np.concatenate([np.zeros((subjects, 1)), rng.uniform(0.5, 2, (subjects, visits - 1))], 1)
    time = gap.cumsum(1)
    a = rng.normal(0, 3, (subjects, 1)) + (np.sqrt(0.25 * gap) * rng.normal(size=gap.shape)).cumsum(1)
    b = rng.normal(5, 1, (subjects, 1)) + rng.normal(0, 1, (subjects, 1)) * time
    age = rng.uniform(60, 70, (subjects, 1)) + time
    table = pd.DataFrame({
        "subject": np.repeat([f"s{k:03d}" for k in range(subjects)], visits), "age": age.ravel(), "A": a.ravel(),
        "B": b.ravel(),
    })  # fmt: skip
    return in_memory(table, ["A", "B"], {})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("last visit", [4.0, 9.0, 3.0]), ("mean of the past", [3.0, 9.0, 2.0]), ("subject slope", [7.0, 9.0, 6.0])],
)
def test_forecasts_follow_the_rule(rule: Rule, expected: list[float]) -> None:
    """A: 2 and 4 at 0 and 1 year; B: missing (training mean 9); C: 1 and 3. Forecast 1 year later, by the line 1.5."""
    table = pd.DataFrame({"subject": ["s", "s"], "age": [70.0, 71.0], "A": [2.0, 4.0], "B": [np.nan, np.nan]})
    history = in_memory(table.assign(C=[1.0, 3.0]), ["A", "B", "C"], {})
    model = SimpleBaseline(rule)
    model.regions, model.mean, model.sd = ["A", "B", "C"], np.array([0.0, 9.0, 0.0]), np.ones(3)
    model.error = GrowingError(np.ones(2), np.zeros((2, 3)), np.zeros(3))
    ahead = 1.5 if rule == "subject slope" else 1.0
    targets = pd.DataFrame({"subject": ["s"], "time": [1.0 + ahead]})
    found = model.forecast(history, targets, 50).values.mean(1)[0]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_errors_grow_as_in_the_simulation() -> None:
    """The variance of a random walk grows by 0.25 per year; the line predicts B exactly."""
    cohort = walks()
    last = SimpleBaseline("last visit").fit(cohort)
    assert last.error.growth[0, 0] < 0.08 and last.error.growth[1, 0] == pytest.approx(0.25, rel=0.15)
    test = walks(seed=1)
    history, targets = split_history(test)
    scores = value_scores(last.forecast(history, targets, 400), targets, history)
    table = summarise(scores[scores["region"] == "A"]).iloc[0]
    assert abs(table["coverage 90 %"] - 0.9) < 0.03 and abs(table["coverage 50 %"] - 0.5) < 0.05
    line = SimpleBaseline("subject slope").fit(cohort)
    drawn = line.forecast(history, targets)
    several = history.visits.groupby("subject").size().loc[targets["subject"]].to_numpy() > 1
    assert np.abs(drawn.values.mean(1)[several, 1] - targets["B"].to_numpy()[several]).max() < 1e-6


@pytest.mark.parametrize("rule", RULES)
def test_the_density_is_normal_and_integrates_to_one(rule: Rule) -> None:
    """Missing values do not count."""
    cohort = walks(40, 3)
    model = SimpleBaseline(rule).fit(cohort)
    two = cohort.visits[cohort.visits["subject"] == "s000"].iloc[:2].reset_index(drop=True)

    def density(value: float) -> float:
        visits = two.assign(A=[two["A"][0], value], B=[two["B"][0], np.nan])
        return float(np.exp(model.log_prob(Cohort(visits, cohort.schema, cohort.start))["log_prob"].iloc[1]))

    assert integrate.quad(density, -60, 60, points=[two["A"][0]], limit=200)[0] == pytest.approx(1, abs=1e-4)
    first = model.log_prob(cohort)["log_prob"].iloc[0]
    values = cohort.visits[["A", "B"]].to_numpy()
    assert first == pytest.approx(stats.norm.logpdf(values[0], model.mean, model.sd).sum())
    same = model.forecast(cohort, pd.DataFrame({"subject": ["s001"], "time": [20.0]}), 10, seed=3)
    assert np.array_equal(same.values, model.forecast(cohort, same.visits, 10, seed=3).values)
