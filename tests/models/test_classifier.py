"""Classes from few labels: learned from regions or scans, kept in a run, with a refusal of what was never seen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_cohorts import in_memory, small_cohort, with_visits
from small_stores import ball, make_store

import crow
from crow.cohort import Cohort
from crow.cohort.split import validation_of_each_class
from crow.data.examples import UNKNOWN
from crow.errors import CohortError, RunError
from crow.models.classifier import error_interval
from crow.representation.classes import Classes
from crow.scans.store import ScanStore

QUICK = {"training": {"max_epochs": 2, "steps_per_epoch": 3}, "flow": {"depth": 2, "hidden": 8, "levels": 1}}


def groups(people: int = 200, labelled: int = 20) -> Cohort:
    """One visit each; the groups lie two sds apart in A, and every fifth of ``people`` up to ``labelled`` is known."""
    rng = np.random.default_rng(0)
    group = np.arange(people) % 2
    a = rng.normal(10 + 4 * group, 1)
    table = pd.DataFrame({
        "subject": [f"s{k:03d}" for k in range(people)], "age": 70.0, "A": a, "B": a + rng.normal(0, 1, people),
        "DX": np.where(np.arange(people) < labelled, np.where(group, "AD", "CN"), None),
    })  # fmt: skip
    return in_memory(table, ["A", "B"], {"DX": "categorical"})


@pytest.fixture(scope="module")
def model() -> crow.Classifier:
    torch.set_num_threads(1)
    training = {"max_epochs": 15, "steps_per_epoch": 15, "learning_rate": 1e-2}
    return crow.Classifier(training=training, flow={"depth": 2, "hidden": 16}).fit(groups(), "dx")


def test_classes_are_told_and_what_was_never_seen_is_refused(model: crow.Classifier) -> None:
    told = model.predict(groups())
    assert list(told) == ["subject", "session", "time", "p_AD", "p_CN", "predicted", "log_prob", "refused"]
    assert (told["predicted"] == np.where(np.arange(200) % 2, "AD", "CN")).mean() > 0.95
    assert np.allclose(told["p_AD"] + told["p_CN"], 1) and told["refused"].mean() < 0.02
    strange = groups()
    strange.visits["B"] -= 8
    assert model.predict(strange)["refused"].mean() > 0.8
    assert model.metrics["labelled_visits"] == 20 and model.metrics["validation_error"] < 0.3


def test_the_density_is_in_original_units(model: crow.Classifier) -> None:
    """It integrates to one over a grid of values."""
    a, b = np.meshgrid(np.arange(0, 25, 0.2), np.arange(0, 25, 0.2))
    grid = pd.DataFrame({
        "subject": [f"g{k}" for k in range(a.size)], "age": 70.0, "A": a.ravel(), "B": b.ravel(),
    })  # fmt: skip
    log_prob = model.predict(in_memory(grid, ["A", "B"], {}))["log_prob"]
    assert abs(np.exp(log_prob).sum() * 0.2 * 0.2 - 1) < 0.02


@pytest.mark.parametrize("architecture", ["semi-conditional", "infocnf", "ccnf"])
def test_a_run_comes_back_the_same(tmp_path: Path, architecture: str) -> None:
    cohort = small_cohort(20)
    model = crow.Classifier(architecture=architecture, seed=2, **QUICK).fit(cohort, "sex", tmp_path / "run")
    again = crow.load(tmp_path / "run")
    assert isinstance(again, crow.Classifier) and again.metrics == model.metrics
    told = model.predict(cohort)
    pd.testing.assert_frame_equal(told, again.predict(cohort))
    assert len(told) == len(cohort.visits)
    held = "".join((tmp_path / "run" / name).read_text() for name in ("model.json", "metrics.json"))
    assert not any(subject in held for subject in cohort.subjects)


def test_the_seed_decides_the_run() -> None:
    first, same, other = (crow.Classifier(seed=s, **QUICK).fit(small_cohort(), "sex") for s in (1, 1, 2))
    assert first.metrics == same.metrics != other.metrics


@pytest.mark.parametrize("cut", [pytest.param(None, marks=pytest.mark.slow), "axial"])
def test_scans(tmp_path: Path, cut: str | None) -> None:
    store = make_store(tmp_path / "store", ball())
    settings = {**QUICK, "images": {"slice": cut, "position": 8.0, "size": 8}}
    model = crow.Classifier(**settings).fit(store, "sex", tmp_path / "run")
    told = crow.load(tmp_path / "run").predict(store)
    pd.testing.assert_frame_equal(told, model.predict(store))
    assert len(told) == len(store.rows) and (told["log_prob"] < 0).all() and set(told["predicted"]) <= {"F", "M"}
    other = make_store(tmp_path / "other", ball(), modality="FLAIR")
    with pytest.raises(CohortError, match=r"FLAIR; the run was trained on\s+T1w"):
        model.predict(other)
    with pytest.raises(CohortError, match="trained on T1w scans"):
        model.predict(groups())


def test_other_columns_are_refused(model: crow.Classifier, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="Missing: A, B"):
        model.predict(small_cohort())
    make_store(tmp_path / "store", ball())
    with pytest.raises(CohortError, match="trained on a table of regions"):
        model.predict(ScanStore.open(tmp_path / "store"))
    with pytest.raises(RunError, match="Classifier is not fitted"):
        crow.Classifier().predict(groups())


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ([], "no visit is labelled"),
        (["AD", "AD", "AD"], r"only one class \(subjects: AD 3\)"),
        (["AD", "AD", "CN"], "subjects per class: AD 2, CN 1. Every class needs at least 2"),
        (["AD", "CN"], "too few labelled subjects per class: AD 1, CN 1"),
        ([f"g{k}" for k in range(30)], "30 different values"),
    ],
)
def test_labels_that_cannot_be_learned_from(known: list[str], message: str) -> None:
    cohort = groups()
    cohort.visits["DX"] = [*known, *[None] * (len(cohort.visits) - len(known))]
    with pytest.raises(CohortError, match=message):
        crow.Classifier(**QUICK).fit(cohort, "DX")


def test_a_label_that_is_no_column() -> None:
    with pytest.raises(CohortError, match="weight is not a covariate"):
        crow.Classifier(**QUICK).fit(groups(), "weight")
    with pytest.raises(CohortError, match="1 region; a flow needs at least 2"):
        crow.Classifier(**QUICK).fit(small_cohort(regions=1), "sex")


def test_numbers_can_be_classes() -> None:
    cohort = groups()
    cohort.visits["DX"] = cohort.visits["DX"].map({"CN": 0.0, "AD": 1.0})
    classes = Classes.fit(cohort, cohort.visits, "DX")
    assert classes.levels == ["0", "1"] and classes.shares == [0.5, 0.5]
    assert classes.encode(cohort.visits)[[0, 1, 50]].tolist() == [0, 1, UNKNOWN]


def test_subjects_are_held_out_of_every_class_whole() -> None:
    subject = pd.Series([f"s{k:02d}" for k in range(40) for _ in range(3)])
    label = torch.full((120,), UNKNOWN)
    label[:6], label[6:12], label[12:30] = 0, 1, 2
    label[2] = 1
    for seed in range(5):
        validation = validation_of_each_class(list(subject), label.numpy(), 0.15, seed)
        assert all(len(set(validation[subject == name])) == 1 for name in subject.unique())
        for level in range(3):
            of_class = validation[label.numpy() == level]
            assert of_class.any() and not of_class.all()
        assert validation[30:].mean() == pytest.approx(0.15, abs=0.04)


def test_a_visit_more_changes_no_other(model: crow.Classifier) -> None:
    cohort = groups()
    few = with_visits(cohort, cohort.visits.iloc[:7])
    pd.testing.assert_frame_equal(model.predict(few), model.predict(cohort).iloc[:7])


def test_the_interval_of_the_error_is_over_subjects() -> None:
    """Ten visits of one subject that are wrong together tell no more than one."""
    alone, repeated = np.arange(30), np.repeat(np.arange(30), 10)
    wrong = np.arange(30) % 5 == 0
    low, high = error_interval(wrong, alone)
    assert error_interval(np.repeat(wrong, 10), repeated) == pytest.approx((low, high), abs=0.01)
    apart = error_interval(np.repeat(wrong, 10), np.arange(300))
    assert apart[1] - apart[0] < 0.5 * (high - low)
    assert error_interval(np.zeros(200, bool), np.repeat(np.arange(20), 10))[1] > 0.1


def test_the_interval_of_the_error_covers_the_true_rate() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        rate = rng.beta(1, 4, 40)
        low, high = error_interval(rng.random(200) < np.repeat(rate, 5), np.repeat(np.arange(40), 5))
        covered += low <= 0.2 <= high
    assert 0.91 < covered / 300 < 0.99
