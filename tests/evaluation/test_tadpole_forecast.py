"""TADPOLE submissions: their months, their forecasts, and what they need."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import crow
from crow.cohort import Cohort
from crow.cohort.reader import read_cohort
from crow.cohort.schema import Schema
from crow.errors import CohortError
from crow.evaluation.tadpole import COLUMNS, MONTHS, PROBABILITIES, check_submission
from crow.evaluation.tadpole_forecast import evaluate_tadpole, tadpole_submission
from crow.simulate import simulate_adni

REGIONS = ["ADAS13", "Ventricles"]
MIXED: dict[str, Any] = {"training": {"max_epochs": 0}, "model": {"members": 1, "initialise": "mixed_model"}}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("tadpole") / "cohort.csv"
    simulate_adni(70, seed=2).table.to_csv(path, index=False)
    return read_cohort(path, regions=REGIONS, covariates=["DX", "ICV"], subject="PTID")


@pytest.fixture(scope="module")
def model(cohort: Cohort) -> crow.CRow:
    return crow.CRow(**MIXED).fit(cohort.of(cohort.subjects[:55]))


def test_a_submission_has_60_months_of_plausible_forecasts(cohort: Cohort, model: crow.CRow) -> None:
    training, others = cohort.of(cohort.subjects[:55]), cohort.of(cohort.subjects[55:])
    table = tadpole_submission(model, training, others, draws=20)
    check_submission(table, "the submission")
    assert list(table) == COLUMNS and len(table) == MONTHS * len(others.subjects)
    np.testing.assert_allclose(table[PROBABILITIES].sum(axis=1), 1)
    subject = others.subjects[3]
    rows = table[table["RID"] == str(int(subject[-4:]))].reset_index(drop=True)
    last = others.visits[others.visits["subject"] == subject].iloc[-1]
    day = others.start[subject] + pd.Timedelta(days=last["time"] * 365.25)
    assert pd.Period(rows["Forecast Date"][0], "M") == day.to_period("M") + 1
    assert rows["Forecast Month"].tolist() == list(range(1, 61))
    assert pd.Period(rows["Forecast Date"][59], "M") == day.to_period("M") + 60
    near = rows.iloc[0]
    assert near["Ventricles_ICV"] == pytest.approx(last["Ventricles"] / last["ICV"], rel=0.1)
    stage = {"CN": 0, "MCI": 1, "Dementia": 2}[last["DX"]]
    assert near[PROBABILITIES].astype(float).to_numpy().argmax() == stage
    width = rows["ADAS13 50% CI upper"] - rows["ADAS13 50% CI lower"]
    assert width[59] > 0 and near["ADAS13 50% CI lower"] < near["ADAS13"] < near["ADAS13 50% CI upper"]


def test_a_common_first_month_can_be_set(cohort: Cohort, model: crow.CRow) -> None:
    one = cohort.of(cohort.subjects[60:61])
    table = tadpole_submission(model, cohort, one, start="2031-02", draws=4)
    assert table["Forecast Date"].iloc[0] == "2031-02"
    with pytest.raises(CohortError, match="does not come after the last visit"):
        tadpole_submission(model, cohort, one, start="1990-01", draws=4)


def test_scores_are_reported_beside_those_of_the_last_visit(cohort: Cohort, model: crow.CRow) -> None:
    training, others = cohort.of(cohort.subjects[:55]), cohort.of(cohort.subjects[55:])
    found = evaluate_tadpole(model, training, others, draws=20).metrics["tadpole"]
    assert found["mAUC"] > 0.8 and found["BCA"] > 0.7 and found["MAE ADAS13"] < 8
    assert {"WES ADAS13", "CPA Ventricles_ICV", "last visit mAUC", "last visit MAE ADAS13"} <= set(found)
    ages = replace(others, schema=others.schema.model_copy(update={"time_kind": "years"}))
    assert evaluate_tadpole(model, training, ages, draws=20).metrics["tadpole"]["BCA"] == pytest.approx(
        found["BCA"], abs=0.1
    )
    with pytest.raises(CohortError, match="is of the kind years"):
        tadpole_submission(model, training, ages)


def test_a_missing_column_is_named(cohort: Cohort, model: crow.CRow) -> None:
    def without(**changes: Any) -> Cohort:
        return replace(cohort, schema=Schema.model_validate({**cohort.schema.model_dump(), **changes}))

    undiagnosed = without(covariates={"ICV": "numeric"})
    assert "column of diagnoses" in evaluate_tadpole(model, undiagnosed, cohort).left_out[0][1]
    one = crow.CRow(**MIXED).fit(without(regions=["Ventricles"]))
    assert "needs ADAS13 among the regions" in evaluate_tadpole(one, cohort, cohort).left_out[0][1]
