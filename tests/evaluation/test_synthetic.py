"""Synthetic subjects of fitted models: what is compared, and what is left out with the reason."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from small_cohorts import in_memory, small_cohort

import crow
from crow.cohort import Cohort
from crow.evaluation.contrasts import Contrast
from crow.evaluation.group_evaluation import Group, evaluate_groups
from crow.evaluation.result import EvaluationResult
from crow.evaluation.synthetic import evaluate_synthetic, synthetic_visits
from crow.simulate import simulate_wide

MIXED: dict[str, Any] = {"training": {"max_epochs": 0}, "model": {"members": 1, "initialise": "mixed_model"}}
SHORT: dict[str, Any] = {"max_epochs": 1, "steps_per_epoch": 2}
PUBLISHED: dict[str, Any] = {"training": SHORT, "model": {"objective": "inn", "blocks": 1}}


def wide(subjects: int = 130) -> tuple[Cohort, Cohort]:
    """Five regions that rise with CDR-SB, 100 training subjects; every ninth visit lacks a region."""
    table = simulate_wide(subjects, 3, 5, seed=1).table
    table["ROI03"] = table["ROI03"].where(table.index % 9 != 4)
    regions = [name for name in table if name.startswith("ROI")]
    cohort = in_memory(table, regions, {"CDRSB": "numeric"})
    return cohort.of(cohort.subjects[:100]), cohort.of(cohort.subjects[100:])


@pytest.fixture(scope="module")
def cohorts() -> tuple[Cohort, Cohort]:
    torch.set_num_threads(1)
    return wide()


@pytest.fixture(scope="module")
def model(cohorts: tuple[Cohort, Cohort]) -> crow.CRow:
    return crow.CRow(**MIXED).fit(cohorts[0])


@pytest.fixture(scope="module")
def result(cohorts: tuple[Cohort, Cohort], model: crow.CRow) -> EvaluationResult:
    return evaluate_synthetic(model, *cohorts, seed=3)


def test_missing_values_stay_missing(cohorts: tuple[Cohort, Cohort], model: crow.CRow) -> None:
    drawn = synthetic_visits(model, cohorts[0], 5)
    real = cohorts[0].visits
    pd.testing.assert_frame_equal(drawn.isna(), real.isna())
    assert (drawn[["subject", "time", "CDRSB"]] == real[["subject", "time", "CDRSB"]]).all(axis=None)
    assert (drawn["ROI01"] != real["ROI01"]).all()


def test_synthetic_subjects_of_a_good_model_are_as_close_as_real_ones(result: EvaluationResult) -> None:
    """Each distance is close to that of real training subjects."""
    found = result.metrics["distribution"]
    for name in ("wasserstein", "jensen_shannon", "wasserstein_change", "mmd", "autocorrelation_difference"):
        assert 0 < found[name] < 2.5 * found[f"{name}_real"], name
    assert found["discriminator_auc"] < 0.75 and 0.3 < found["discriminator_auc_real"] < 0.7
    assert len(result.tables["distribution"]) == 5
    assert result.metrics["privacy"]["verdict"] == "pass"
    useful = result.metrics["usefulness"]
    assert set(useful) == {"CDRSB", "next visit"} and all(0.8 < row["ratio"] < 1.2 for row in useful.values())


def test_synthetic_group_effects_have_the_sign_of_real_ones(result: EvaluationResult) -> None:
    table, found = result.tables["group_effects"], result.metrics["group_effects"]
    assert list(table["contrast"].unique()) == ["CDRSB", "CDRSB change"] == list(found)
    last = table[table["contrast"] == "CDRSB"]
    assert (last["d_real"] > 0.3).all() and (last["d_synthetic"] > 0).all()
    assert ((last["d_synthetic_low"] < last["d_synthetic"]) & (last["d_synthetic"] < last["d_synthetic_high"])).all()
    assert found["CDRSB"]["subjects"] == "all subjects" and found["CDRSB"]["subjects_second"] >= 10
    assert any("the groups of" in warning for warning in result.warnings)


def test_the_result_is_json_and_reproducible(
    result: EvaluationResult, cohorts: tuple[Cohort, Cohort], model: crow.CRow
) -> None:
    json.dumps(result.json(), allow_nan=False)
    assert dict(result.left_out)["tadpole"].startswith("TADPOLE needs ADAS13 and Ventricles_ICV among")
    again = evaluate_groups(model, *cohorts, seed=3)
    assert again.metrics["group_effects"] == result.metrics["group_effects"]


def test_the_published_objective_has_no_membership_inference(cohorts: tuple[Cohort, Cohort]) -> None:
    training, test = (replace(each, visits=each.visits.dropna(subset=["ROI03"])) for each in cohorts)
    found = evaluate_synthetic(crow.CRow(**PUBLISHED).fit(training), training, test)
    assert "membership_auc" not in found.metrics["privacy"] and "group_effects" in found.metrics
    assert "no likelihood" in dict(found.left_out)["privacy.membership_auc"]


def test_too_few_subjects_are_left_out_with_the_reason() -> None:
    cohort = small_cohort()
    training, test = cohort.of(cohort.subjects[2:]), cohort.of(cohort.subjects[:2])
    found = evaluate_synthetic(crow.CRow(**MIXED).fit(training), training, test)
    reasons = dict(found.left_out)
    assert "2 subjects: at least 5 training" in reasons["distribution"] and "2 subjects" in reasons["privacy"]
    assert "at least 10 are needed" in reasons["usefulness.CDRSB"]


def test_a_contrast_without_members_is_left_out(cohorts: tuple[Cohort, Cohort], model: crow.CRow) -> None:
    odd = Contrast("CDRSB", (0.0, 0.0, 0.0), (0.0, 500.0, 900.0))
    found = evaluate_groups(model, *cohorts, contrasts=[odd])
    assert not found.metrics
    assert "and 0 subjects: at least 2 are needed in each" in dict(found.left_out)["group_effects.CDRSB"]


def test_last_values_and_changes_by_hand() -> None:
    """Two subjects with three visits and one, two regions; NaN without a value, or without two for a change."""
    values = np.array([[1.0, 2.0], [3.0, np.nan], [7.0, 9.0], [5.0, np.nan]])[:, None]
    group = Group(pd.Series(["a", "a", "a", "b"]), values, ~np.isnan(values[:, 0]))
    np.testing.assert_array_equal(group.at("last")[0], [[7, 9], [5, np.nan]])
    np.testing.assert_array_equal(group.at("change")[0], [[6, 7], [np.nan, np.nan]])


def test_a_cohort_without_covariates() -> None:
    table = simulate_wide(40, 3, 3, seed=1).table
    cohort = in_memory(table, ["ROI01", "ROI02", "ROI03"], {})
    training, test = cohort.of(cohort.subjects[:30]), cohort.of(cohort.subjects[30:])
    found = evaluate_synthetic(crow.CRow(**MIXED).fit(training), training, test)
    assert "its covariates: none" in dict(found.left_out)["group_effects"]
    assert list(found.metrics["usefulness"]) == ["next visit"] and found.metrics["distribution"]["mmd"] > 0
