"""Masks given scans: learned from a store and files of masks, kept in a run, drawn in the space of the scan."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simulated_scans
import torch
from small_cohorts import small_cohort

import crow
from crow.data.mask_scores import calibration_error, dice
from crow.errors import CohortError
from crow.models.segmenter import _read_masks
from crow.pipelines.prepare import prepare
from crow.representation.masks import find_masks
from crow.scans.store import ScanStore
from crow.scans.template import load_template

QUICK = {
    "training": {"max_epochs": 2, "steps_per_epoch": 3}, "flow": {"depth": 2, "hidden": 8, "levels": 1},
    "images": {"size": 8},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of ten people's scans, a ball as bright as nothing else in each, its place their own, and its masks;
    the last scan has none."""
    torch.set_num_threads(1)
    folder, rng = tmp_path_factory.mktemp("segment"), np.random.default_rng(0)
    table = simulated_scans.cohort(folder / "bids", subjects=10)
    grid = load_template(8.0).grid
    voxels = np.indices(grid.shape)
    for s in range(10):
        middle = np.array([13, 15, 12]) + rng.uniform(-2, 2, 3)
        for v in range(2):
            ball = ((voxels - middle[:, None, None, None]) ** 2).sum(0) < (3.0 - 0.3 * v) ** 2
            scan = simulated_scans.head(8.0, seed=2 * s + v) * (1 - ball) + 900 * ball
            simulated_scans.save(folder / "bids" / f"sub-{s}_ses-{v}_T1w.nii.gz", scan.astype(np.float32))
            if (s, v) != (9, 1):
                simulated_scans.save(folder / "masks" / f"sub-{s}_ses-{v}_mask.nii.gz", ball.astype(np.uint8))
    prepare(table, folder / "store", resolution=8, registration="none", jobs=1)
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> ScanStore:
    return ScanStore.open(folder / "store")


@pytest.fixture(scope="module")
def model(folder: Path, store: ScanStore) -> crow.Segmenter:
    settings = QUICK | {"training": {"max_epochs": 10, "steps_per_epoch": 12, "learning_rate": 2e-2}}
    return crow.Segmenter(seed=1, **settings).fit(store, folder / "masks", out=folder / "run")


def test_masks_are_found_in_scans_without_one(model: crow.Segmenter, store: ScanStore) -> None:
    """The bright ball of the scan that had no mask; every draw is a mask, and the probability is their mean."""
    row = 19
    found = model.segment(store, row, 8, seed=2)
    bright = np.asarray(found.scan.dataobj) > 850
    assert dice(found.probability > 0.5, bright) > 0.8
    assert found.masks.shape == (8, *bright.shape) and found.masks.dtype == bool
    np.testing.assert_allclose(found.probability, found.masks.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.volumes, found.masks.reshape(8, -1).sum(1) * 512, rtol=1e-5)
    np.testing.assert_array_equal(found.masks, model.segment(store, row, 8, seed=2).masks)
    assert not np.array_equal(found.masks, model.segment(store, row, 8, seed=3).masks)
    assert model.metrics["validation_dice"] > 0.7 and model.metrics["visits"] == 19


def test_a_run_comes_back_the_same(model: crow.Segmenter, folder: Path, store: ScanStore, tmp_path: Path) -> None:
    again = crow.load(folder / "run")
    assert isinstance(again, crow.Segmenter) and again.metrics == model.metrics
    assert again.fitted().shift_sd == pytest.approx(model.fitted().shift_sd)
    np.testing.assert_array_equal(model.sample(store, 0, 2), again.sample(store, 0, 2))
    for s in range(2):
        name = f"sub-{s}_ses-0_mask.nii.gz"
        (tmp_path / name).write_bytes((folder / "masks" / name).read_bytes())
    log_prob = model.log_prob(store, tmp_path)
    pd.testing.assert_frame_equal(log_prob, again.log_prob(store, tmp_path))
    assert len(log_prob) == 2 and (log_prob["log_prob"] < 0).all()


def test_one_bad_mask_of_many_is_left_out_and_only_bad_ones_end_early(
    folder: Path, store: ScanStore, tmp_path: Path
) -> None:
    names = sorted((folder / "masks").iterdir())[:6]
    for k, path in enumerate(names):
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 60 if k == 2 else None])
    visits = store.cohort().visits
    truth, bad = _read_masks(store, find_masks(store, visits, tmp_path), None)
    assert len(truth) == 5 and len(bad) == 1 and names[2].name in bad[0]
    for path in (folder / "masks").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:60])
    with pytest.raises(CohortError, match="masks of 0 subjects") as refused:
        crow.Segmenter(**QUICK).fit(store, tmp_path)
    assert str(refused.value).count("\n") == 3 and str(refused.value).count("_mask.nii.gz") >= 3


def test_what_cannot_be_learned_from_is_refused(folder: Path, store: ScanStore, tmp_path: Path) -> None:
    model = crow.Segmenter(**QUICK)
    with pytest.raises(CohortError, match="no mask for any scan"):
        model.fit(store, tmp_path)
    for s in range(2):
        name = f"sub-{s}_ses-0_mask.nii.gz"
        (tmp_path / name).write_bytes((folder / "masks" / name).read_bytes())
    with pytest.raises(CohortError, match="masks of 2 subjects; at least"):
        model.fit(store, tmp_path)
    with pytest.raises(CohortError, match="a table; a store of scans is needed"):
        model.fit(small_cohort(), tmp_path)


def test_overlap_and_calibration() -> None:
    a, b = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    assert dice(a, b) == 0.5 and dice(~a & a, ~a & a) == 1
    y = np.random.default_rng(0).random(20_000) < 0.3
    assert calibration_error(np.full(20_000, 0.3), y) < 0.01
    assert calibration_error(np.full(20_000, 0.5), y) == pytest.approx(0.2, abs=0.01)
    assert calibration_error(y, y) == pytest.approx(0, abs=1e-12)
