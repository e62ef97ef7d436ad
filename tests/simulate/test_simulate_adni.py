"""Cohorts drawn by simulate_adni match their parameters."""

import numpy as np
import pandas as pd
import pytest

from crow.simulate import Simulation, simulate_adni

VOLUMES = ["Ventricles", "Hippocampus", "WholeBrain", "Entorhinal", "Fusiform", "MidTemp"]
COLUMNS = [
    *("RID", "PTID", "VISCODE", "EXAMDATE", "DX_bl", "DX", "AGE", "PTGENDER", "PTEDUCAT", "APOE4"),
    *("CDRSB", "ADAS13", "MMSE", *VOLUMES, "ICV", "Years_bl", "Month_bl", "M"),
]


@pytest.fixture(scope="module")
def large() -> Simulation:
    return simulate_adni(subjects=3000, visits=6, regions=8, seed=1)


def parameter(simulation: Simulation, key: str) -> np.ndarray:
    return np.array([region[key] for region in simulation.parameters["regions"].values()])


def log_deviations(simulation: Simulation) -> np.ndarray:
    """u [subjects, regions] by the documented formula, from the truth of the first visits."""
    truth, table = simulation.truth, simulation.table
    regions = list(simulation.parameters["regions"])
    course = (truth[["disease_time"]].to_numpy() - parameter(simulation, "midpoint")) / parameter(simulation, "width")
    expected = (
        np.log(parameter(simulation, "level"))
        + parameter(simulation, "ageing") * (table[["AGE"]].to_numpy() + table[["Years_bl"]].to_numpy() - 73)
        + parameter(simulation, "amplitude") / (1 + np.exp(-course))
        + simulation.parameters["head_size"] * np.log(table[["ICV"]].to_numpy() / simulation.parameters["icv"])
    )
    return (np.log(truth[regions].to_numpy()) - expected)[(table["VISCODE"] == "bl").to_numpy()]


def test_columns_are_those_of_adnimerge() -> None:
    assert list(simulate_adni(12).table.columns) == COLUMNS
    assert list(simulate_adni(12, regions=8).table.columns) == [*COLUMNS, "Region07", "Region08"]
    assert [name for name in simulate_adni(12, regions=2).table.columns if name in VOLUMES] == VOLUMES[:2]


def test_the_seed_determines_everything() -> None:
    first, again, other = simulate_adni(20, seed=4), simulate_adni(20, seed=4), simulate_adni(20, seed=5)
    pd.testing.assert_frame_equal(first.table, again.table)
    pd.testing.assert_frame_equal(first.truth, again.truth)
    assert first.parameters == again.parameters
    assert not first.table["Hippocampus"].head(20).equals(other.table["Hippocampus"].head(20))


def test_rates_follow_diagnosis_and_apoe(large: Simulation) -> None:
    subjects = large.table.assign(log_rate=np.log(large.truth["rate"])).groupby("RID").first()
    groups = subjects["DX_bl"].replace({"EMCI": "MCI", "LMCI": "MCI"})
    design = pd.get_dummies(groups).astype(float).assign(APOE4=subjects["APOE4"].astype(float))
    found, squares, *_ = np.linalg.lstsq(design.to_numpy(), subjects["log_rate"].to_numpy(), rcond=None)
    true = [np.log(large.parameters["groups"][name]["rate"]) for name in ("AD", "CN", "MCI")]
    assert found == pytest.approx([*true, large.parameters["rate_apoe4"]], abs=0.05)
    assert np.sqrt(squares[0] / len(subjects)) == pytest.approx(large.parameters["rate_sd"], abs=0.02)


def test_measured_hippocampus_shrinks_faster_with_disease_and_apoe(large: Simulation) -> None:
    table = large.table[large.table["DX_bl"] != "AD"].assign(log=np.log(large.table["Hippocampus"]))
    centred = table[["Years_bl", "log"]] - table.groupby("RID")[["Years_bl", "log"]].transform("mean")
    products = pd.DataFrame({"up": centred["Years_bl"] * centred["log"], "down": centred["Years_bl"] ** 2})

    def slope(by: pd.Series) -> pd.Series:
        sums = products.groupby(by.loc[products.index]).sum()
        return sums["up"] / sums["down"]

    by_diagnosis, by_apoe = slope(table["DX_bl"]), slope(table["APOE4"])
    assert -0.012 < by_diagnosis["CN"] < -0.006
    assert -0.040 < by_diagnosis["LMCI"] < -0.018
    assert by_apoe[0] > by_apoe[1] > by_apoe[2]


def test_subjects_vary_with_the_documented_covariance(large: Simulation) -> None:
    loadings = np.array([region["loadings"] for region in large.parameters["regions"].values()])
    covariance = loadings @ loadings.T + np.diag(parameter(large, "spread") ** 2)
    deviations = log_deviations(large)
    scale = np.sqrt(np.diag(covariance))
    unit = np.outer(scale, scale)
    np.testing.assert_allclose(np.cov(deviations.T) / unit, covariance / unit, atol=0.08)
    np.testing.assert_allclose(deviations.mean(axis=0) / scale, 0, atol=0.08)


def test_noise_has_the_documented_size(large: Simulation) -> None:
    regions = list(large.parameters["regions"])
    error = (large.table[regions] / large.truth[regions] - 1).to_numpy()
    np.testing.assert_allclose(error.std(axis=0), parameter(large, "noise"), rtol=0.05)
    np.testing.assert_allclose(error.mean(axis=0) / parameter(large, "noise"), 0, atol=0.05)


def test_visits_are_irregular_and_some_subjects_drop_out(large: Simulation) -> None:
    table = large.table.assign(date=pd.to_datetime(large.table["EXAMDATE"]))
    days = table.groupby("RID")["date"].diff().dt.days.dropna()
    assert days.min() > 30
    assert days.nunique() > 100
    since_first = (table["date"] - table.groupby("RID")["date"].transform("first")).dt.days
    np.testing.assert_allclose(table["Years_bl"] * 365.25, since_first, atol=0.01)
    assert (table.groupby("RID")["AGE"].transform("first") == table["AGE"]).all()
    assert table.groupby("RID").size().between(2, 6).all()
    last = table.groupby("RID").last()
    stayed = (last["M"] == 48).groupby(last["DX_bl"]).mean()
    assert stayed["AD"] < stayed["CN"] < 1


def test_diagnosis_never_reverts_and_scores_keep_their_limits(large: Simulation) -> None:
    order = large.table["DX"].map({"CN": 0, "MCI": 1, "Dementia": 2})
    assert (order.groupby(large.table["RID"]).diff().dropna() >= 0).all()
    assert large.table["CDRSB"].between(0, 18).all() and (large.table["CDRSB"] * 2 % 1 == 0).all()
    assert large.table["MMSE"].between(0, 30).all()
    assert large.table.groupby("DX")["MMSE"].mean().loc[["CN", "MCI", "Dementia"]].is_monotonic_decreasing


def test_volumes_are_plausible_in_mm3(large: Simulation) -> None:
    mean = large.table.groupby("DX")[VOLUMES].mean()
    assert 6_800 < mean.loc["CN", "Hippocampus"] < 7_700
    assert 5_200 < mean.loc["Dementia", "Hippocampus"] < 6_200
    assert 950_000 < mean.loc["Dementia", "WholeBrain"] < mean.loc["CN", "WholeBrain"] < 1_100_000
    assert mean.loc["CN", "Ventricles"] < mean.loc["MCI", "Ventricles"] < mean.loc["Dementia", "Ventricles"]
