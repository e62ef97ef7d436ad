"""Invented visits: learned from regions or scans, kept in a run, drawn with the attributes that were asked for."""

import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_cohorts import in_memory, small_cohort
from small_stores import ball, make_store

import crow
from crow.cohort import Cohort, Finding
from crow.data.examples import Examples
from crow.errors import CohortError, ConfigError, OutputError, RunError
from crow.run.cross_sectional_config import CrossSectionalConfig
from crow.training.module import FlowModule

QUICK = {"training": {"max_epochs": 2, "steps_per_epoch": 3}, "flow": {"depth": 2, "hidden": 8, "levels": 1}}


def groups(people: int = 300) -> Cohort:
    """One visit each; ROI1 depends on the sex by two sds, ROI2 on nothing but ROI1."""
    rng = np.random.default_rng(0)
    sex = np.arange(people) % 2
    roi1 = rng.normal(100 + 20 * sex, 10)
    table = pd.DataFrame({
        "subject": [f"s{k:03d}" for k in range(people)], "age": rng.uniform(60, 80, people),
        "sex": np.where(sex, "M", "F"), "ROI1": roi1, "ROI2": 0.1 * roi1 + rng.normal(0, 1, people),
    })  # fmt: skip
    return in_memory(table, ["ROI1", "ROI2"], {"sex": "categorical"})


@pytest.fixture(scope="module")
def model() -> crow.Synthesizer:
    torch.set_num_threads(1)
    settings = {"training": {"max_epochs": 20, "learning_rate": 1e-2}, "flow": {"depth": 3, "hidden": 16}}
    return crow.Synthesizer(**settings).fit(groups(), ["sex"])


def test_the_attributes_asked_for_are_those_drawn(model: crow.Synthesizer) -> None:
    real = groups().visits.groupby("sex")[["ROI1", "ROI2"]].mean()
    for sex in "FM":
        rows, values = model.sample(f"sex={sex}", 1000, seed=3)
        assert (rows["sex"] == sex).all() and isinstance(values, pd.DataFrame)
        assert abs(values["ROI1"].mean() - real.loc[sex, "ROI1"]) < 4
        assert 6 < values["ROI1"].std() < 14
        assert 0.4 < np.corrcoef(values["ROI1"], values["ROI2"])[0, 1] < 0.95
    again = model.sample("sex=F", 5, seed=3)[1]
    pd.testing.assert_frame_equal(again, model.sample("sex=F", 5, seed=3)[1])


def test_the_density_is_in_original_units(model: crow.Synthesizer) -> None:
    """It integrates to one over a grid of values, given the sex."""
    a, b = np.meshgrid(np.arange(30, 200, 2.0), np.arange(0, 25, 0.4))
    grid = pd.DataFrame({
        "subject": [f"g{k}" for k in range(a.size)], "age": 70.0, "sex": "F", "ROI1": a.ravel(), "ROI2": b.ravel(),
    })  # fmt: skip
    log_prob = model.log_prob(in_memory(grid, ["ROI1", "ROI2"], {"sex": "categorical"}))["log_prob"]
    assert abs(np.exp(log_prob).sum() * 2 * 0.4 - 1) < 0.02
    assert "sex" in repr(model.attributes) and "2 regions" in repr(model)


def test_a_run_comes_back_the_same(tmp_path: Path) -> None:
    cohort = small_cohort(20)
    model = crow.Synthesizer(seed=2, **QUICK).fit(cohort, ["sex", "CDRSB"], tmp_path / "run")
    again = crow.load(tmp_path / "run")
    assert isinstance(again, crow.Synthesizer) and again.metrics == model.metrics
    pd.testing.assert_frame_equal(model.log_prob(cohort), again.log_prob(cohort))
    assert len(again.log_prob(cohort)) == cohort.visits["CDRSB"].notna().sum()
    with pytest.raises(OutputError, match="exists already"):
        crow.Synthesizer(**QUICK).fit(cohort, ["sex"], tmp_path / "run")
    held = "".join((tmp_path / "run" / name).read_text() for name in ("model.json", "metrics.json"))
    assert not any(subject in held for subject in cohort.subjects)


def test_the_seed_decides_the_run() -> None:
    first, same, other = (crow.Synthesizer(seed=s, **QUICK).fit(small_cohort(), ["sex"]) for s in (1, 1, 2))
    assert first.metrics == same.metrics != other.metrics


@pytest.mark.parametrize("cut", [None, "axial"])
def test_scans(tmp_path: Path, cut: str | None) -> None:
    store = make_store(tmp_path / "store", ball())
    settings = {**QUICK, "images": {"slice": cut, "position": 8.0, "size": 8}}
    model = crow.Synthesizer(**settings).fit(store, ["sex", "age"], tmp_path / "run")
    rows, values = crow.load(tmp_path / "run").sample("sex=F", 3)
    assert len(rows) == 3 and values.shape == (3, *((6, 6, 1) if cut else (6, 6, 4)))
    assert np.isfinite(values).all() and values.max() <= model.inputs.high
    nats = model.log_prob(store)["log_prob"]
    assert len(nats) == len(store.rows) and (nats < 0).all()
    pd.testing.assert_series_equal(nats, crow.load(tmp_path / "run").log_prob(store)["log_prob"])


def test_scans_of_people_who_were_seen_once_are_enough(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ball())
    store.finish([Finding("single-visit", "error", "every subject has one usable visit")])
    with pytest.raises(CohortError, match="every subject has one usable visit"):
        store.cohort().require_usable()
    assert crow.Synthesizer(**QUICK, images={"size": 8}).fit(store, ["sex"]).metrics["visits"] == len(store.rows)
    store.finish([Finding("few-subjects", "error", "2 subjects are too few")])
    with pytest.raises(CohortError, match="too few"):
        crow.Synthesizer(**QUICK, images={"size": 8}).fit(store, ["sex"])


@pytest.mark.parametrize("architecture", ["cglow", "caglow"])
def test_attributes_have_their_effects_from_the_start(architecture: str) -> None:
    """The sexes differ in ROI1 by two sds; a short training on few people does not lose it."""
    cohort = groups(60)
    more = {"pretrain_epochs": 2} if architecture == "caglow" else {}
    model = crow.Synthesizer(**QUICK, architecture=architecture, **more)
    model.fit(cohort, ["sex", "age"])
    means = {sex: model.sample(f"sex={sex}", 2000)[1]["ROI1"] for sex in "FM"}
    assert means["M"].mean() - means["F"].mean() == pytest.approx(20, abs=6)
    assert means["F"].std() == pytest.approx(10, rel=0.25)


def test_what_is_never_negative_is_never_invented_so() -> None:
    """Long-tailed volumes, some near zero."""
    cohort = groups(60)
    cohort.visits["ROI2"] = np.exp(np.random.default_rng(1).normal(5, 1, 60))
    model = crow.Synthesizer(**QUICK).fit(cohort, ["sex"])
    values = model.sample("", 4000)[1]["ROI2"]
    assert values.min() > 0 and np.log(values).mean() == pytest.approx(5, abs=0.5)
    other = cohort.visits.assign(ROI2=0.0)
    assert np.isfinite(model.log_prob(in_memory(other, ["ROI1", "ROI2"], {"sex": "categorical"}))["log_prob"]).all()


def test_an_encoder_of_attributes(tmp_path: Path) -> None:
    """Two trainings in one run, which comes back with both; the density is that of the first, given the attributes."""
    settings = {**QUICK, "architecture": "caglow", "pretrain_epochs": 2}
    model = crow.Synthesizer(**settings).fit(groups(60), ["sex"], tmp_path / "run")
    again = crow.load(tmp_path / "run")
    pd.testing.assert_frame_equal(model.sample("sex=F", 4)[1], again.sample("sex=F", 4)[1])
    pd.testing.assert_frame_equal(model.log_prob(groups()), again.log_prob(groups()))
    other = groups()
    other.visits["sex"] = other.visits["sex"].map({"F": "M", "M": "F"})
    assert model.log_prob(other)["log_prob"].mean() < model.log_prob(groups())["log_prob"].mean() - 0.5
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_too_few_people() -> None:
    with pytest.raises(CohortError, match="4 subjects are left to train on"):
        crow.Synthesizer(**QUICK).fit(small_cohort(4), ["sex"])
    with pytest.raises(RunError, match="Synthesizer is not fitted"):
        crow.Synthesizer().sample("", 1)


def test_a_run_of_another_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such run folder"):
        crow.Synthesizer.load(tmp_path / "run")
    with pytest.raises(ConfigError, match="no architecture 'infocnf'"):
        crow.Synthesizer(architecture="infocnf")
    assert issubclass(type(crow.Synthesizer().config), CrossSectionalConfig)


def test_an_interrupted_training_goes_on_to_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, settings = small_cohort(20), {**QUICK, "training": {"max_epochs": 4, "steps_per_epoch": 3}}
    whole = crow.Synthesizer(**settings).fit(cohort, ["sex"], tmp_path / "whole")
    step, steps = FlowModule.training_step, []

    def interrupted(self: FlowModule, batch: Examples) -> torch.Tensor:
        steps.append(batch)
        if len(steps) == 8:
            raise KeyboardInterrupt
        return step(self, batch)

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(FlowModule, "training_step", interrupted)
        patch.setattr("crow.training.checkpoint.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        part = crow.Synthesizer(**settings).fit(cohort, ["sex"], tmp_path / "part")
    signal.signal(signal.SIGINT, handler)
    assert len(part.log) == 3 and (tmp_path / "part" / "checkpoints").is_dir()
    assert isinstance(crow.load(tmp_path / "part"), crow.Synthesizer)
    done = crow.Synthesizer(**settings).fit(cohort, ["sex"], tmp_path / "part", resume=True)
    assert len(done.log) == 5 and not (tmp_path / "part" / "checkpoints").exists()
    pd.testing.assert_frame_equal(whole.log_prob(cohort), done.log_prob(cohort))
    with pytest.raises(RunError, match="belongs to another training"):
        patched = tmp_path / "other"
        with monkeypatch.context() as patch:
            steps.clear()
            patch.setattr(FlowModule, "training_step", interrupted)
            patch.setattr("crow.training.checkpoint.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
            crow.Synthesizer(**settings).fit(cohort, ["sex"], patched)
        signal.signal(signal.SIGINT, handler)
        crow.Synthesizer(**settings).fit(cohort, ["CDRSB"], patched, resume=True)


def test_what_is_said_of_a_scan_depends_on_no_other(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ball())
    model = crow.Synthesizer(**QUICK, images={"size": 8}).fit(store, ["sex"])
    whole, few = model.log_prob(store)["log_prob"], model.log_prob(store.subset(np.array([5, 7])))["log_prob"]
    pd.testing.assert_series_equal(few, whole[[5, 7]])


def test_a_run_tells_no_ones_age(tmp_path: Path) -> None:
    cohort = groups(60)
    crow.Synthesizer(**QUICK).fit(cohort, ["age"], tmp_path / "run")
    told = (tmp_path / "run" / "model.json").read_text()
    assert not any(f"{age:.3f}" in told for age in cohort.visits["age"])
    (age,) = crow.load(tmp_path / "run").attributes.attributes
    assert age.low <= cohort.visits["age"].min() and cohort.visits["age"].max() <= age.high


def test_attributes_in_python_are_checked_as_those_written(model: crow.Synthesizer) -> None:
    assert (model.sample({"sex": "F"}, 2)[0]["sex"] == "F").all()
    with pytest.raises(ConfigError, match=r"no attribute nope in this run\. Choose from sex"):
        model.sample({"nope": 1})
    with pytest.raises(CohortError, match="column sex is missing, which the model needs"):
        model.log_prob(in_memory(groups().visits[["subject", "age", "ROI1", "ROI2"]], ["ROI1", "ROI2"], {}))
