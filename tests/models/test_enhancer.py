"""Thin slices from thick ones: learned from a store, kept in a run, drawn so that their means are the thick slices."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from paired_stores import make_store
from small_cohorts import small_cohort

import crow
from crow.errors import CohortError, ConfigError, OutputError
from crow.scans.store import ScanStore

SHAPE = (10, 9, 12)
QUICK = {
    "training": {"max_epochs": 3, "steps_per_epoch": 4}, "flow": {"depth": 2, "hidden": 8, "levels": 1},
    "images": {"size": 8},
}  # fmt: skip


def waves(count: int = 16) -> np.ndarray:
    """Waves along z of a height and place of their own, with a little noise."""
    rng = np.random.default_rng(0)
    height, place = rng.uniform(0.2, 0.5, (count, 1, 1, 1)), rng.uniform(0, 6, (count, 1, 1, 1))
    z = np.indices(SHAPE)[2]
    return (1 + height * np.sin(z / 1.5 + place) + 0.02 * rng.normal(size=(count, *SHAPE))).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    torch.set_num_threads(1)
    return make_store(tmp_path_factory.mktemp("thin") / "store", "CBF", waves())


@pytest.fixture(scope="module")
def model(store: ScanStore, tmp_path_factory: pytest.TempPathFactory) -> crow.Enhancer:
    return crow.Enhancer(seed=1, **QUICK).fit(store, 2, "z", tmp_path_factory.mktemp("thin") / "run" / "run")


def test_draws_are_thin_and_their_means_are_the_thick_slices(model: crow.Enhancer) -> None:
    thick = model.slices.thick(waves(1)[0])
    draws = model.sample(thick, 6, seed=3)
    assert draws.shape == (6, *SHAPE)
    for draw in draws:
        np.testing.assert_allclose(model.slices.thick(draw), thick, atol=1e-5)
    assert draws.std(0).mean() > 0.003
    np.testing.assert_array_equal(draws, model.sample(thick, 6, seed=3))
    assert not np.array_equal(draws, model.sample(thick, 6, seed=4))


def test_volumes_of_any_size(model: crow.Enhancer) -> None:
    thick = np.random.default_rng(0).uniform(0.5, 1.5, (5, 13, 3)).astype(np.float32)
    assert model.sample(thick, 1).shape == (1, 5, 13, 6)


def test_training_finds_what_thin_slices_are(store: ScanStore, model: crow.Enhancer) -> None:
    """More probable than at the start, and less than certain."""
    training = {"max_epochs": 10, "steps_per_epoch": 6, "learning_rate": 5e-3}
    longer = crow.Enhancer(seed=1, **(QUICK | {"training": training})).fit(store)
    assert longer.log["validation"].iloc[0] > model.log["validation"].min() > longer.log["validation"].min()
    assert 1 < longer.metrics["validation_bits_per_dim"] < 7


@pytest.mark.parametrize("noise", ["uniform", pytest.param("variational", marks=pytest.mark.slow)])
def test_a_run_comes_back_the_same(store: ScanStore, tmp_path: Path, noise: str) -> None:
    model = crow.Enhancer(seed=2, dequantisation=noise, **QUICK).fit(store, 3, "y", tmp_path / "run")
    again = crow.load(tmp_path / "run")
    assert isinstance(again, crow.Enhancer) and again.slices == model.slices and again.metrics == model.metrics
    learned = any(name.startswith("dequantizer.") for name, _ in again.fitted().named_parameters())
    assert learned == (noise == "variational")
    log_prob = model.log_prob(store)
    pd.testing.assert_frame_equal(log_prob, again.log_prob(store))
    assert list(log_prob.columns) == ["subject", "session", "time", "log_prob"] and len(log_prob) == 16
    assert (log_prob["log_prob"] < 0).all()
    with pytest.raises(OutputError, match="exists already"):
        crow.Enhancer(**QUICK).fit(store, 2, "z", tmp_path / "run")


@pytest.mark.parametrize(
    ("factor", "axis", "message"),
    [(1, "z", "--factor 1: out of range"), (2, "w", "--axis w: choose x"), (8, "z", "too small for patches")],
)
def test_slices_that_cannot_be_are_refused(store: ScanStore, factor: int, axis: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        crow.Enhancer(**QUICK).fit(store, factor, axis)


def test_tables_and_other_modalities_are_refused(model: crow.Enhancer, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="a table; a store of scans is needed"):
        crow.Enhancer(**QUICK).fit(small_cohort())
    with pytest.raises(CohortError, match="scans of modality pet; the run was trained on CBF"):
        model.log_prob(make_store(tmp_path / "pet", "pet", waves(2)))
