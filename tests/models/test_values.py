"""What values can be: levels and bounds in forecasts, gross errors in histories, units of another table."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crow import CRow
from crow.cohort import Cohort, read_cohort
from crow.errors import CohortError
from crow.pipelines.history import doubtful_values
from crow.simulate import simulate_adni

REGIONS = ["MMSE", "CDRSB", "Ventricles", "Hippocampus"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    path = tmp_path_factory.mktemp("values") / "cohort.csv"
    simulate_adni(subjects=60, seed=1).table.to_csv(path, index=False)
    return read_cohort(path, regions=REGIONS)


@pytest.fixture(scope="module")
def model(cohort: Cohort) -> CRow:
    settings = {"model": {"members": 1, "hidden": 4, "blocks": 1}, "training": {"max_epochs": 1, "steps_per_epoch": 2}}
    return CRow(**settings).fit(cohort)


def changed(cohort: Cohort, row: int, region: str, factor: float) -> Cohort:
    visits = cohort.visits.copy()
    visits.loc[visits.index[row], region] *= factor
    return replace(cohort, visits=visits)


def later(cohort: Cohort, years: float) -> pd.DataFrame:
    last = cohort.visits.groupby("subject")["time"].last()
    return (last + years).rename("time").reset_index()


def test_forecasts_are_possible_values(model: CRow, cohort: Cohort) -> None:
    forecast = model.forecast(cohort, later(cohort, 6.0), draws=100)
    mmse, cdr, ventricles = (forecast.values[:, :, forecast.regions.index(name)] for name in REGIONS[:3])
    assert mmse.min() >= 0 and mmse.max() <= 30 and (mmse == mmse.round()).all()
    assert cdr.min() >= 0 and cdr.max() <= 18 and (2 * cdr == (2 * cdr).round()).all()
    assert ventricles.min() >= 0
    levels = sum(forecast.probability_of("MMSE", at_least=k, at_most=k)["probability"] for k in range(31))
    np.testing.assert_allclose(levels, 1.0)


def test_the_log_probability_of_levels_is_below_zero(model: CRow, cohort: Cohort) -> None:
    """Of one score alone: a probability, not a density."""
    alone = cohort.visits.assign(**{name: np.nan for name in REGIONS if name != "MMSE"})
    scores = model.log_prob(replace(cohort, visits=alone))["log_prob"]
    assert scores.notna().all() and (scores < 0).all()


def test_a_gross_error_is_named_and_moves_nothing(model: CRow, cohort: Cohort) -> None:
    row = 7
    wrong = changed(cohort, row, "Hippocampus", 10.0)
    subject = wrong.visits["subject"].iloc[row]
    found = model.gross_errors(wrong)
    assert found[["subject", "region"]].to_numpy().tolist() == [[subject, "Hippocampus"]]
    assert model.gross_errors(cohort).empty
    (line,) = doubtful_values(model.gross_errors(wrong))
    assert f"subject {subject}" in line and "Hippocampus" in line and f"{found['value'].iloc[0]:g}" in line
    missing = cohort.visits.copy()
    missing.loc[missing.index[row], "Hippocampus"] = np.nan
    visits = later(cohort.of([subject]), 1.0)
    moved, expected = (model.forecast(data, visits, draws=50) for data in (wrong, replace(cohort, visits=missing)))
    np.testing.assert_allclose(moved.values, expected.values)


def test_another_unit_is_refused_with_its_factor(model: CRow, cohort: Cohort) -> None:
    visits = cohort.visits.assign(Hippocampus=cohort.visits["Hippocampus"] / 1000)
    with pytest.raises(CohortError, match=r"Hippocampus.*about 1,000 times smaller.*Convert"):
        model.log_prob(replace(cohort, visits=visits))


def test_a_table_that_was_standardised_after_reading_is_refused(cohort: Cohort) -> None:
    visits = cohort.visits.copy()
    visits["CDRSB"] = (visits["CDRSB"] - visits["CDRSB"].mean()) / visits["CDRSB"].std()
    with pytest.raises(CohortError, match=r"column CDRSB: .* impossible, since its values are integer, 0 to 18"):
        CRow().fit(replace(cohort, visits=visits))
