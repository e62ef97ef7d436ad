"""Bands of figures begin at the filtered level and agree with the forecast; centiles are those of healthy subjects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from crow.cohort.covariate_paths import future_visits
from crow.models.crow import CRow
from crow.pipelines.bands import POINTS, Bands
from crow.simulate import simulate_adni


@pytest.fixture(scope="module")
def model() -> tuple[CRow, pd.DataFrame]:
    torch.set_num_threads(1)
    table = simulate_adni(40, 4, seed=0).table
    settings = {"model": {"members": 1}, "training": {"max_epochs": 1, "steps_per_epoch": 1}}
    return CRow(**settings).fit(table), table


def test_a_band_begins_at_the_level_and_passes_through_the_forecast(model: tuple[CRow, pd.DataFrame]) -> None:
    fitted, table = model
    cohort = fitted.as_cohort(table)
    subject = cohort.subjects[0]
    bands = Bands(fitted, cohort, subject)
    band = bands.fan(4.0, lambda asked: future_visits(cohort, asked), draws=50)
    last = float(cohort.of([subject]).visits["time"].max())
    own = band[band["region"] == "Hippocampus"].reset_index(drop=True)
    assert len(own) == POINTS + 1 and own["time"].iloc[0] == last
    width = own["q95"] - own["q05"]
    assert 0 < width.iloc[0] < width.iloc[1], "a level has a narrower interval than a new measurement"
    asked = pd.DataFrame({"subject": subject, "time": last + np.array([1.0, 4.0])})
    drawn = fitted.forecast(cohort, asked, draws=50).long
    expected = drawn[drawn["region"] == "Hippocampus"]
    found = own[own["time"].round(6).isin((last + np.array([1.0, 4.0])).round(6))]
    np.testing.assert_allclose(found[["q05", "median", "q95"]], expected[["q05", "median", "q95"]], rtol=1e-5)


def test_centiles_are_of_the_healthy_level_at_the_ages_of_the_subject(model: tuple[CRow, pd.DataFrame]) -> None:
    fitted, table = model
    cohort = fitted.as_cohort(table)
    subject = cohort.subjects[0]
    found = Bands(fitted, cohort, subject).centiles(2.0)
    assert found is not None and found[0] == "subjects with DX CN"
    own, centiles = cohort.of([subject]).visits, found[1]
    assert centiles["age"].min() == pytest.approx(own["age"].min(), abs=1e-6)
    assert centiles["age"].max() == pytest.approx(own["age"].max() + 2.0, abs=1e-6)
    assert set(centiles["region"]) == set(cohort.regions) and (centiles["q05"] < centiles["q95"]).all()


def test_a_forecast_knows_the_units_of_its_regions(model: tuple[CRow, pd.DataFrame]) -> None:
    fitted, table = model
    subject = str(fitted.as_cohort(table).subjects[0])
    forecast = fitted.forecast(table, pd.DataFrame({"subject": [subject], "time": [9.0]}), draws=20)
    assert forecast.plot(regions=["Hippocampus"]).axes[0].get_ylabel() == "cm³"
