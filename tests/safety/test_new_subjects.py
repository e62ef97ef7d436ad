"""The covariates of new subjects are drawn from a model of their own: no subject of the cohort is in the table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import refused, run
from small_cohorts import in_memory

import crow
from crow.cohort import Cohort
from crow.errors import CohortError
from crow.simulate import simulate_adni
from crow.synthetic.covariate_model import CovariateModel

QUICK = ["--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=1", "--set", "model.members=2",
         "--set", "model.hidden=4", "--set", "model.blocks=1"]  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    path = tmp_path_factory.mktemp("adni") / "cohort.csv"
    table = simulate_adni(200, 4, 3, 0).table
    first = table.groupby("RID").cumcount() == 0
    table["CDRSB"] = table["CDRSB"].where(first | (table.index % 5 != 0))
    table["APOE4"] = table["APOE4"].where(table["RID"] % 10 != 0)
    table.loc[table["RID"] == table["RID"].iloc[0], "PTGENDER"] = "Other"  # a level of one subject
    table.to_csv(path, index=False)
    return crow.read_cohort(path, strict=False)


@pytest.fixture(scope="module")
def drawn(cohort: Cohort) -> pd.DataFrame:
    return CovariateModel.fit(cohort).draw(1000, np.random.default_rng(0))


def test_draws_are_like_the_cohort(cohort: Cohort, drawn: pd.DataFrame) -> None:
    real, new = (one.groupby("subject").first() for one in (cohort.visits, drawn))
    for name in ("age", "CDRSB", "PTEDUCAT"):
        sd = real[name].astype(float).std()
        assert abs(new[name].astype(float).mean() - real[name].astype(float).mean()) < 0.25 * sd
        assert 0.7 < new[name].astype(float).std() / sd < 1.3
    shares = [one["DX"].value_counts(normalize=True) for one in (real, new)]
    assert (shares[0] - shares[1]).abs().max() < 0.1
    by_level = [one.groupby("DX")["CDRSB"].mean() for one in (real, new)]
    assert by_level[1]["CN"] < by_level[1]["MCI"] < by_level[1]["Dementia"]
    assert drawn["time"].max() <= cohort.visits["time"].max() + 1e-6
    assert abs(drawn["CDRSB"].isna().mean() - cohort.visits["CDRSB"].isna().mean()) < 0.05
    assert abs(new["APOE4"].isna().mean() - real["APOE4"].isna().mean()) < 0.06


def test_constants_stay_constant_within_a_subject(cohort: Cohort, drawn: pd.DataFrame) -> None:
    for name in cohort.schema.fixed:
        assert drawn.groupby("subject")[name].nunique(dropna=False).eq(1).all()
    assert drawn.groupby("subject")["time"].apply(lambda times: times.is_monotonic_increasing and times.is_unique).all()


def test_no_subject_and_no_rare_level_is_in_the_draws(cohort: Cohort, drawn: pd.DataFrame) -> None:
    """A subject is described by age, schedule and covariates: no draw has those of a real one."""
    assert "Other" not in set(drawn["PTGENDER"])
    columns = ["age", "PTGENDER", "PTEDUCAT", "APOE4", "ICV"]
    real, new = (one.groupby("subject")[columns].first().round(3) for one in (cohort.visits, drawn))
    assert real.merge(new, on=columns).empty
    real_times, new_times = (
        set(one.groupby("subject")["time"].apply(lambda times: tuple(times.round(3)))) for one in (cohort.visits, drawn)
    )
    long = {times for times in real_times & new_times if len(times) > 2}
    assert len(long) < 5


def test_a_table_tells_its_origin_and_copies_only_if_asked(
    cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    run("train", "--cohort", str(cohort.path), "--out", folder, *QUICK)
    ask = ["generate", "--run", folder, "--new-subjects", 30]
    output = run(*ask, "--out", tmp_path / "new.csv")
    origin = json.loads((tmp_path / "new.provenance.json").read_text())
    assert origin["Synthetic"] is True and origin["Seed"] == 0 and len(origin["Model"]["sha256"]) == 64
    assert "drawn from a model" in output and "drawn from a model" in origin["Covariates"]
    real, new = (pd.read_csv(path) for path in (str(cohort.path), tmp_path / "new.csv"))
    assert set(new["ICV"]).isdisjoint(real["ICV"])
    output = run(*ask, "--covariates-of-subjects", "--out", tmp_path / "copied.csv")
    copied = pd.read_csv(tmp_path / "copied.csv")
    assert "real subjects" in output and copied["RID"].str.startswith("copied").all()
    assert set(copied["ICV"]) <= set(real["ICV"])
    assert "cannot be used" in refused(
        capsys, *ask, "--covariates-of-subjects", "--covariates", str(cohort.path), "--out", tmp_path / "x.csv"
    )
    again = run(*ask, "--out", tmp_path / "again.csv")
    assert again and (tmp_path / "again.csv").read_bytes() == (tmp_path / "new.csv").read_bytes()


def test_values_of_fewer_than_five_subjects_are_never_drawn() -> None:
    number = np.arange(40)
    few = np.where(number < 3, 123.4567 + number, np.nan)
    table = pd.DataFrame({
        "subject": [f"s{k}" for k in np.repeat(number, 3)],
        "age": 60.0 + np.repeat(number / 2, 3) + np.tile(range(3), 40),
        "postcode": [f"PC{k}" for k in np.repeat(number, 3)], "twin": [f"T{k // 2}" for k in np.repeat(number, 3)],
        "few": np.repeat(few, 3), "score": np.where(np.repeat(number, 3) == 7, 900.0, np.repeat(number, 3) % 6.0),
        "R1": np.linspace(0, 1, 120),
    })  # fmt: skip
    kinds = {"postcode": "categorical", "twin": "categorical", "few": "numeric", "score": "numeric"}
    cohort = in_memory(table, ["R1"], kinds)
    drawn = CovariateModel.fit(cohort).draw(300, np.random.default_rng(0))
    assert drawn[["postcode", "twin", "few"]].isna().all(axis=None)
    assert drawn["score"].astype(float).max() < 900
    names = cohort.subjects[:4]
    with pytest.raises(CohortError, match="4 subjects; covariates of new subjects need at least 5"):
        CovariateModel.fit(cohort.of(names))
