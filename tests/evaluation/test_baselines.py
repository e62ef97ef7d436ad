"""The registry of baselines: a new one takes one line, and one whose library is missing is left out."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_cohorts import small_cohort, with_visits

import crow
from crow.cohort import Cohort
from crow.data.forecast import Forecast
from crow.errors import ConfigError
from crow.evaluation import baselines, cinn_baseline, gru_baseline
from crow.evaluation.comparison import compare, compare_folds
from crow.evaluation.result import EvaluationResult
from crow.evaluation.synthetic import by_family
from crow.run.config import Config

MIXED = {"training": {"max_epochs": 0}, "model": {"members": 1, "initialise": "mixed_model"}}


class ZeroBaseline:
    """Forecasts zero with a small error, and has no density."""

    name = "zero"

    def fit(self, training: Cohort, seed: int = 0) -> "ZeroBaseline":
        self.regions = training.regions
        return self

    def forecast(self, history: Cohort, targets: pd.DataFrame, draws: int = 200, seed: int = 0) -> Forecast:
        shape = (len(targets), draws, len(self.regions))
        return Forecast(targets, self.regions, np.random.default_rng(seed).normal(0, 1e-3, shape))

    def log_prob(self, cohort: Cohort) -> None:
        return None


def evaluated(names: str, cohort: Cohort | None = None) -> EvaluationResult:
    cohort = cohort or small_cohort()
    training, test = cohort.of(cohort.subjects[4:]), cohort.of(cohort.subjects[:4])
    return compare(crow.CRow(**MIXED).fit(training), training, test, names, draws=20)


def test_a_registered_baseline_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(baselines.BASELINES, "zero", ZeroBaseline)
    assert "zero" in baselines.baseline_names("all")
    found = evaluated("last,zero")
    assert list(found.metrics["forecast"]) == ["crow", "last visit", "zero"]
    assert ("NLL of zero", "the model has no density.") in found.left_out
    result, _ = compare_folds(Config.model_validate(MIXED), small_cohort(), 2, "zero", draws=20)
    assert list(result.metrics["forecast"]) == ["crow", "zero"]


def test_a_baseline_without_its_library_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("statsmodels", "crow.evaluation.mixed_baseline"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    found = evaluated("last,mixed")
    assert list(found.metrics["forecast"]) == ["crow", "last visit"]
    reason = dict(found.left_out)["mixed"]
    assert reason == (
        "The linear mixed model of --baselines needs statsmodels, which is not installed: "
        "pip install 'crow-longitudinal[baselines]'."
    )


def test_a_baseline_that_cannot_be_fitted_to_missing_regions_is_left_out_with_the_reason() -> None:
    cohort = small_cohort()
    visits = cohort.visits.assign(ROI01=cohort.visits["ROI01"].where(cohort.visits.index % 5 != 2))
    found = evaluated("last,published", with_visits(cohort, visits))
    assert list(found.metrics["forecast"]) == ["crow", "last visit"]
    assert "needs every region" in dict(found.left_out)["crow, published objective"]


def test_an_error_inside_crow_is_not_taken_for_a_missing_library() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_baseline"):
        baselines.imported("no_such_baseline.Class")()


def test_the_mixed_model_is_always_among_the_baselines() -> None:
    assert baselines.with_mixed_model("simple") == ["last", "mean", "slope", "multivariate"]
    assert baselines.with_mixed_model("mixed,last") == ["mixed", "last", "multivariate"]
    assert baselines.with_mixed_model("boosting") == ["boosting", "multivariate"]
    assert baselines.with_mixed_model("none") == []


def test_names_are_expanded_in_order_and_unknown_ones_refused() -> None:
    assert baselines.baseline_names("gru, simple,last") == ["gru", "last", "mean", "slope"]
    assert baselines.baseline_names("none") == [] and set(baselines.baseline_names("all")) == set(baselines.BASELINES)
    with pytest.raises(ConfigError, match="--baselines magic: there is no such baseline"):
        baselines.baseline_names("last,magic")


@pytest.mark.parametrize("baseline", [gru_baseline.GRUBaseline, cinn_baseline.CINNBaseline])
def test_validation_subjects_of_a_baseline_are_whole_families(baseline: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that are split are those of the families; equal names stay together (`crow.cohort.split`)."""
    cohort = small_cohort()
    family = {name: f"F{k // 2}" for k, name in enumerate(cohort.subjects)}
    split: list[list[str]] = []

    def record(names: list[str], *rest: object) -> list[np.ndarray]:
        split.append(list(names))
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[baseline.__module__], "validation_folds", record)
    with pytest.raises(KeyboardInterrupt):
        baseline().fit(replace(cohort, groups=pd.Series(family)))
    assert split == [list(family.values())]


def test_relatives_count_as_one_subject_in_the_privacy_audit() -> None:
    cohort = small_cohort()
    family = {name: f"F{k // 2}" for k, name in enumerate(cohort.subjects)}
    visits = by_family(replace(cohort, groups=pd.Series(family)))
    assert list(visits["subject"]) == [family[name] for name in cohort.visits["subject"]]
    assert by_family(cohort).equals(cohort.visits)
