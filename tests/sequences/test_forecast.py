"""A forecast says what its draws are."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mstats

from crow.data.forecast import STATISTICS, Forecast, quantiles_of


@pytest.fixture
def forecast() -> Forecast:
    """Three visits of two subjects, 200 draws of two regions."""
    visits = pd.DataFrame({"subject": ["a", "a", "b"], "time": [1.0, 2.5, 3.0], "age": [70.0, 71.5, 66.0],
                           "CDRSB": [1.0, 2.0, 0.0]}, index=[4, 7, 9])  # fmt: skip
    shift = np.array([[[5.0, 1.0]], [[4.0, 2.0]], [[9.0, 3.0]]])
    return Forecast(visits, ["H", "V"], shift + np.random.default_rng(0).normal(size=(3, 200, 2)))


def test_summary_is_of_the_draws(forecast: Forecast) -> None:
    summary = forecast.summary
    assert list(summary.columns) == [*forecast.visits, *(f"{r}_{s}" for r in ("H", "V") for s in STATISTICS)]
    pd.testing.assert_frame_equal(summary[list(forecast.visits)], forecast.visits)
    for k, region in enumerate(("H", "V")):
        drawn = pd.DataFrame(forecast.values[:, :, k].T)
        np.testing.assert_allclose(summary[f"{region}_mean"], drawn.mean())
        np.testing.assert_allclose(summary[f"{region}_sd"], drawn.std())
        np.testing.assert_allclose(summary[f"{region}_median"], drawn.median())
        for q in (0.05, 0.25, 0.75, 0.95):
            wanted = [mstats.mquantiles(values, q, 0, 0)[0] for _, values in drawn.items()]
            np.testing.assert_allclose(summary[f"{region}_q{round(100 * q):02d}"], wanted)


def test_an_interval_of_draws_holds_as_many_new_ones_as_it_says() -> None:
    draws, new = np.split(np.random.default_rng(0).normal(size=(21, 40000)), [20])
    low, high = quantiles_of(draws, [0.1, 0.9], axis=0)
    assert ((low <= new) & (new <= high)).mean() == pytest.approx(0.8, abs=0.006)  # by numpy's default .72


def test_long_has_a_row_a_visit_and_region(forecast: Forecast) -> None:
    long = forecast.long
    assert list(long.columns) == ["subject", "time", "age", "region", *STATISTICS]
    row = long[(long["subject"] == "a") & (long["time"] == 2.5) & (long["region"] == "V")]
    assert row[list(STATISTICS)].to_numpy()[0].tolist() == [forecast.summary.loc[7, f"V_{s}"] for s in STATISTICS]
    assert len(long) == 6


def test_samples_are_trajectories(forecast: Forecast) -> None:
    samples = forecast.draws
    assert list(samples.columns) == ["subject", "time", "draw", "H", "V"]
    one = samples[(samples["subject"] == "a") & (samples["draw"] == 17)]
    assert list(one["time"]) == [1.0, 2.5]
    np.testing.assert_array_equal(one[["H", "V"]], forecast.values[:2, 17])
    assert len(samples) == 600


def test_it_shows_itself(forecast: Forecast) -> None:
    assert repr(forecast) == "Forecast of 3 visits of 2 subjects, 2 regions, 200 draws"
    shown = forecast._repr_html_()
    assert repr(forecast) in shown
    assert "H_median" in shown and shown.count("<tr") == 4
