"""TADPOLE's format and scores, in cases that are small enough to compute by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from crow.errors import CohortError
from crow.evaluation.tadpole import (
    COLUMNS,
    MONTHS,
    balanced_accuracy,
    months,
    multiclass_auc,
    read_submission,
    score,
    weighted_error,
    write_submission,
)


def submission() -> pd.DataFrame:
    """Subject 1 is CN for certain, subject 2 AD (0.6) or MCI (0.4); ADAS13 rises by one per month from 10."""
    rows = []
    for rid, p in (("1", (2.0, 0.0, 0.0)), ("2", (0.0, 0.4, 0.6))):
        for k, month in enumerate(months("2018-01")):
            adas = 10.0 + k
            rows.append([rid, k + 1, month, *p, adas, adas - 1, adas + 1, 0.02, 0.015, 0.025])
    return pd.DataFrame(rows, columns=COLUMNS)


def truth() -> pd.DataFrame:
    return pd.DataFrame({
        "RID": ["1", "2", "2"], "date": ["2018-01-20", "2018-03-05", "2030-01-01"], "diagnosis": ["CN", "AD", "MCI"],
        "ADAS13": [10.5, 15.0, np.nan], "Ventricles_ICV": [0.02, 0.03, 0.021],
    })  # fmt: skip


def test_scores_by_hand() -> None:
    """ADAS13: |10 - 10.5| = .5 inside [9, 11]; |12 - 15| = 3 outside; equal weights. Ventricles: 0, .01, .001."""
    found = score(submission(), truth())
    assert found["MAE ADAS13"] == pytest.approx(1.75) and found["WES ADAS13"] == pytest.approx(1.75)
    assert found["CPA ADAS13"] == pytest.approx(0.0)
    assert found["MAE Ventricles_ICV"] == pytest.approx(0.011 / 3)
    assert found["CPA Ventricles_ICV"] == pytest.approx(abs(2 / 3 - 0.5))
    # Predicted CN, AD, AD for CN, AD, MCI. CN: (1 + 1) / 2. MCI: (0 + 1) / 2. AD: (1 + 1/2) / 2.
    assert found["BCA"] == pytest.approx((1 + 0.5 + 0.75) / 3)
    # CN against each other: 1. MCI against AD: the two visits have the same forecast, so 1/2.
    assert found["mAUC"] == pytest.approx((1 + 1 + 0.5) / 3)


def test_the_auc_equals_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 60)
    probabilities = rng.dirichlet([1, 1, 1], 60)
    expected = roc_auc_score(classes, probabilities, multi_class="ovo", average="macro")
    assert multiclass_auc(classes, probabilities) == pytest.approx(expected)
    assert np.isnan(multiclass_auc([1, 1], probabilities[:2]))


def test_narrow_intervals_weigh_more() -> None:
    assert weighted_error(np.array([1.0, 4.0]), np.array([0.0, 0.0]), np.array([1.0, 3.0])) == pytest.approx(
        (1 * 1 + 4 / 3) / (1 + 1 / 3)
    )
    assert balanced_accuracy([0, 0, 1], np.array([0, 1, 1]), 3) == pytest.approx((0.75 + 0.75) / 2)


def test_a_written_submission_is_read_back(tmp_path: Path) -> None:
    write_submission(submission(), tmp_path / "s.csv")
    again = read_submission(tmp_path / "s.csv")
    assert list(again) == COLUMNS and len(again) == 2 * MONTHS
    assert score(again, truth()) == pytest.approx(score(submission(), truth()))
    dates = again["Forecast Date"].tolist()
    assert dates[:2] == ["2018-01", "2018-02"] and dates[MONTHS - 1] == "2022-12"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="ADAS13"), "also needs the columns ADAS13"),
        (lambda t: t.iloc[1:], "RID 1 has 59 rows; a submission has 60 months"),
        (lambda t: t.assign(ADAS13=t["ADAS13"].where(t.index != 3)), "RID 1, 2018-04: no ADAS13"),
        (lambda t: t.assign(**{"ADAS13 50% CI lower": 1e3}), "interval of ADAS13 ends below its lower bound"),
        (lambda t: t.assign(**{"CN relative probability": -1.0}), "must not be negative"),
    ],
)
def test_an_invalid_submission_is_refused_and_not_written(change, message: str, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=message):
        write_submission(change(submission()), tmp_path / "s.csv")
    assert not list(tmp_path.iterdir())


def test_a_subject_without_a_forecast_is_refused() -> None:
    with pytest.raises(CohortError, match="RID 3: the submission has no forecast"):
        score(submission(), truth().assign(RID="3"))
