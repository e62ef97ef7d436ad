"""The forecasting benchmark: its split, its rows, and leaspy's row only for the same split."""

import json
from pathlib import Path

import forecast
import pytest
import tables
from small_cohorts import small_cohort

import crow
from crow.evaluation.comparison import compare

MIXED = {"training": {"max_epochs": 0}, "model": {"members": 1, "initialise": "mixed_model"}}


def test_a_quarter_of_the_subjects_are_test_subjects_and_not_trained_on() -> None:
    cohort = small_cohort(16)
    training, test = tables.split(cohort)
    assert len(test.subjects) == 4 and set(training.subjects) | set(test.subjects) == set(cohort.subjects)
    assert not set(training.subjects) & set(test.subjects)


def test_rows_are_the_metrics_of_crow_evaluate() -> None:
    training, test = tables.split(small_cohort(16))
    result = compare(crow.CRow(**MIXED).fit(training), training, test, "last", draws=40)
    (row,) = forecast.baseline_rows(result)
    expected = result.metrics["forecast"]["last visit"]
    assert row["model"] == "last visit" and set(row) == {"model", *forecast.COLUMNS, "seconds"}
    for column in forecast.COLUMNS:
        assert row[column] == pytest.approx(expected[column], abs=1e-4)


def test_the_row_of_leaspy_is_shown_for_the_same_split_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "RESULTS", tmp_path)
    (tmp_path / "leaspy_t.json").write_text(json.dumps({"model": "leaspy", "MAE": 0.3, "test subjects": 50}))
    assert forecast.leaspy("t", 50) == {"model": "leaspy", "MAE": 0.3}
    assert forecast.leaspy("t", 40)["seconds"] == "not run" and forecast.leaspy("u", 50)["seconds"] == "not run"
