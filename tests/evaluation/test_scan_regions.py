"""Mean changes of scans and regions are fitted by least squares; wrong rates of change are detected."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from small_cohorts import in_memory
from small_stores import SHAPE, ball, make_store, with_files

from crow.evaluation.region_baselines import (
    OWN_CHANGE,
    REGRESSION,
    Measured,
    RegionBaselines,
    covariate_columns,
)
from crow.evaluation.scan_baselines import LAST_SCAN, MEAN_CHANGE, ScanBaselines
from crow.evaluation.scan_regions import ScanRegions, region_summary, registration_summary, yearly_rates
from crow.representation.follow_up import FollowUp
from crow.scans.store import DONE, ScanStore, StoreInfo
from crow.scans.template import load_template

YEARS = np.array([0.0, 1.0, 3.5])
RATES = {"hippocampus_left": -0.04, "ventricles": 0.1}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    """Scans on the template's 8 mm grid that change in two structures, at irregular times, with a level per subject."""
    template = load_template(8.0)
    table = pd.DataFrame({"subject": np.repeat(["a", "b", "c", "d"], 3), "age": 70 + np.tile(YEARS, 4)})
    cohort = in_memory(table, [], {})
    info = StoreInfo(modality="pet", space="x", grid=template.grid, cohort_schema=cohort.schema,
                     settings={"resolution": 8.0})  # fmt: skip
    store = ScanStore.create(tmp_path_factory.mktemp("regions") / "s", info, cohort, template.t1, template.mask)
    change = sum(rate * template.structure(name) for name, rate in RATES.items())
    for row in range(12):
        noise = 0.01 * np.random.default_rng(row).normal(size=template.grid.shape)
        store.array("intensity")[row] = (1 + row // 3 + YEARS[row % 3] * change + noise).astype(np.float32)
        store.array("status")[row] = DONE
    store.finish([])
    return with_files(store)


def test_the_mean_change_is_that_of_least_squares_with_a_level_per_subject(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ball())
    visits = store.cohort().visits.drop(index=[4, 5])  # leaves a subject with a single scan, which does not count
    visits["time"] *= np.random.default_rng(0).uniform(0.5, 2, len(visits))
    found = ScanBaselines.fit(with_files(store), visits)
    assert found is not None and found.subjects == 7
    rows = visits.index.to_numpy()
    design = np.column_stack([visits["time"], pd.get_dummies(visits["subject"]).to_numpy(float)])
    scans = np.stack([np.asarray(store.array("intensity")[int(row)]) for row in rows]).reshape(len(rows), -1)
    slope = np.linalg.lstsq(design, scans.astype(float), rcond=None)[0][0].reshape(SHAPE)
    np.testing.assert_allclose(found.slope, slope, atol=1e-5)
    pairs = visits["subject"].to_numpy()[1:] == visits["subject"].to_numpy()[:-1]
    changes, gaps = np.diff(scans, axis=0)[pairs], np.diff(visits["time"])[pairs]
    np.testing.assert_allclose(found.sd_last, np.sqrt((changes**2).mean(0)).reshape(SHAPE), atol=1e-5)
    error = changes - gaps[:, None] * slope.ravel()
    np.testing.assert_allclose(found.sd_change, np.sqrt((error**2).mean(0)).reshape(SHAPE), atol=1e-5)
    forecasts = found.expected(np.ones(SHAPE, np.float32), 2.0)
    np.testing.assert_allclose(forecasts[MEAN_CHANGE].mean - forecasts[LAST_SCAN].mean, 2 * found.slope, atol=1e-6)


def test_simulated_changes_are_recovered_and_forecasts_are_in_the_scans_units(store: ScanStore) -> None:
    regions = ScanRegions.of(store, moving=False, truth=None)
    assert regions is not None and regions.source == "mean values"
    visits = store.cohort().visits
    regions.fit(visits)
    assert regions.baselines is not None
    for k, name in enumerate(regions.names):
        assert regions.baselines.slope[k] == pytest.approx(RATES.get(name, 0.0), abs=0.004)
    image = np.asarray(store.array("intensity")[2])
    like = nib.Nifti1Image(100 * image, store.info.grid.matrix)
    up = [100 * (image + shift) for shift in (0.1, 0.3)]
    follow_up = FollowUp(like, up[0], up[0], np.ones_like(image), up)
    past = regions.past(visits[visits["subject"] == "a"], covariate_columns(visits, visits, [])[0])
    forecast = regions.forecast(follow_up, 2, 100.0, 0.0, 1.5, past)
    np.testing.assert_allclose(forecast.draws, np.repeat([[0.1], [0.3]], len(regions.names), 1), atol=1e-5)
    scores = pd.DataFrame(regions.scores(forecast, np.full(len(regions.names), 0.2)))
    np.testing.assert_allclose(scores.loc[scores["model"] == "crow", "error"], 0, atol=1e-5)
    summary = region_summary(scores)
    assert summary["crow"]["coverage 50 %"] == 1 and set(summary) == {"crow", LAST_SCAN, MEAN_CHANGE, OWN_CHANGE}
    assert ScanRegions.of(with_files(make_other(store)), False, None) is None


def make_other(store: ScanStore) -> ScanStore:
    return make_store(store.path.with_name("other"), ball())


def test_rates_that_are_twice_as_fast_are_detected() -> None:
    rng = np.random.default_rng(0)
    rate = rng.normal(-1, 0.5, 40)
    real = pd.DataFrame({"subject": [f"s{k}" for k in range(40)], "region": "r", "rate": rate})
    drawn = [real.assign(rate=factor * rate + 0.1 * rng.normal(size=40)) for factor in [1] * 30]
    same = yearly_rates(real, pd.concat(drawn)).iloc[0]
    twice = yearly_rates(real, pd.concat(drawn).assign(rate=lambda t: 2 * t["rate"])).iloc[0]
    assert same["wasserstein"] < 0.1 < 1.5 < twice["wasserstein"] and same["correlation"] > 0.95
    assert twice["mean_synthetic"] == pytest.approx(2 * same["mean_synthetic"])


def test_baselines_of_regions_find_individual_and_covariate_change() -> None:
    rng = np.random.default_rng(0)
    times = np.array([0.0, 1.0, 2.0])
    subjects = []
    for _ in range(40):
        group, own = rng.integers(0, 2), 0.2 * rng.normal()
        rate = np.array([1 + group, 1 + own])
        values = 50 + times[:, None] * rate + 0.01 * rng.normal(size=(3, 2))
        subjects.append(Measured(times, values, np.tile([float(group), 7.0], (3, 1))))
    found = RegionBaselines.fit(subjects, False, 2)
    np.testing.assert_allclose(found.slope, [1.5, 1.0], atol=0.15)
    assert found.sd[REGRESSION][0] < 0.1 < 0.4 < found.sd[MEAN_CHANGE][0] < found.sd[LAST_SCAN][0]
    assert found.sd[OWN_CHANGE][1] < 0.05 < found.sd[MEAN_CHANGE][1]
    group = np.array([[1.0, 7.0]])
    past = Measured(times[:2], np.array([[50.0, 50], [51, 53]]), np.repeat(group, 2, 0))
    forecasts = found.forecasts(past, 2.0)
    np.testing.assert_allclose(forecasts[OWN_CHANGE][0], [2, 6], atol=1e-9)
    assert forecasts[REGRESSION][0][0] == pytest.approx(4, abs=0.1)
    once = Measured(times[:1], past.values[:1], group)
    np.testing.assert_allclose(found.forecasts(once, 2.0)[OWN_CHANGE][0], 2 * found.slope)


def test_covariates_of_other_visits_have_the_columns_of_training() -> None:
    training = pd.DataFrame({"age": [70.0, 71], "sex": ["F", "M"], "dose": [1.0, 2.0]}, index=[3, 4])
    other = pd.DataFrame({"age": [80.0, 81], "sex": ["M", None]}, index=[7, 9])
    first, second = covariate_columns(training, other, ["sex", "dose"])
    np.testing.assert_array_equal(first[4], [71, 0, 1, 2])
    np.testing.assert_array_equal(second[7], [80, 0, 1, np.nan])
    np.testing.assert_array_equal(second[9], [81, np.nan, np.nan, np.nan])


def test_registration_that_finds_half_of_the_change_is_reported() -> None:
    change = np.array([-2.0, -1.0, -3.0, -4.0])
    table = pd.DataFrame({"region": "r", "change": change, "registered": 0.5 * change})
    assert registration_summary(table) == pytest.approx({"slope": 0.5, "correlation": 1.0, "MAE": 1.25})
