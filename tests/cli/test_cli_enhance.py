"""`crow enhance`: a store to a run, a run and a file of thick slices to thin ones."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import simulated_scans
import torch
from commands import done, refused

from crow.pipelines.prepare import prepare
from crow.scans.template import load_template

QUICK = [
    *("--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2", "--set", "images.size=8"),
    *("--set", "flow.depth=2", "--set", "flow.hidden=8", "--set", "flow.levels=1"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of thin scans, the run, and a scan of slices that are twice as thick."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("enhance")
    table = simulated_scans.cohort(folder / "bids", subjects=10)
    prepare(table, folder / "store", resolution=8, registration="none", jobs=1)
    done(["enhance", "--cohort", folder / "store", "--factor", "2", "--out", folder / "run", *QUICK])
    thin, affine = simulated_scans.head(8.0, seed=99)[:, :, :24], load_template(8.0).grid.matrix.copy()
    affine[:3, 3] += affine[:3, 2] / 2
    affine[:3, 2] *= 2
    thick = thin.reshape(*thin.shape[:2], 12, 2).mean(3)
    simulated_scans.save(folder / "thick" / "sub-new_ses-1_T1w.nii.gz", thick.astype(np.int16), affine)
    return folder


def test_thin_slices_of_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = folder / "thick" / "sub-new_ses-1_T1w.nii.gz"
    words = ["enhance", "--run", folder / "run", "--scan", scan, "--draws", "4", "--out", tmp_path / "made"]
    done(words)
    assert "4 draws; mean standard deviation" in capsys.readouterr().out
    here = tmp_path / "made" / "sub-new" / "ses-1" / "anat"
    assert sorted(path.name.split("_desc-")[1] for path in here.iterdir()) == [
        "enhanced_T1w.png", "median_T1w.json", "median_T1w.nii.gz", "sample1_T1w.json", "sample1_T1w.nii.gz",
        "sample2_T1w.json", "sample2_T1w.nii.gz", "sd_T1w.json", "sd_T1w.nii.gz",
    ]  # fmt: skip
    thick, grid = nib.load(scan), load_template(8.0).grid
    for desc in ("median", "sample1"):
        image = nib.load(here / f"sub-new_ses-1_desc-{desc}_T1w.nii.gz")
        assert image.shape == (*grid.shape[:2], 24) and image.get_data_dtype() == np.int16
        np.testing.assert_allclose(image.affine, grid.matrix, atol=1e-4)
        means = image.get_fdata().reshape(*thick.shape, 2).mean(3)
        np.testing.assert_allclose(means, thick.get_fdata(), atol=1.1)  # each is rounded
    facts = json.loads((here / "sub-new_ses-1_desc-median_T1w.json").read_text())
    assert facts["synthetic"] is True and facts["Draws"] == 4 and facts["Sources"] == [scan.name]
    assert facts["Slices"] == {"factor": 2, "axis": "z"}
    before = {path: path.read_bytes() for path in here.iterdir()}
    assert "exists already" in refused(capsys, *words)
    assert before == {path: path.read_bytes() for path in here.iterdir()}
    done([*words, "--overwrite"])


def test_other_scans_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thin = folder / "bids" / "sub-0_ses-0_T1w.nii.gz"
    ask = ("enhance", "--run", folder / "run", "--out", tmp_path / "made", "--scan")
    assert "voxels of 8 x 8 x 8 mm" in refused(capsys, *ask, thin)
    other = tmp_path / "sub-new_FLAIR.nii.gz"
    other.write_bytes((folder / "thick" / "sub-new_ses-1_T1w.nii.gz").read_bytes())
    assert "a scan of modality FLAIR; the run was trained on T1w" in refused(capsys, *ask, other)
    assert "no such file" in refused(capsys, *ask, tmp_path / "nothing.nii.gz")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give --cohort to train, or --run to apply"),
        (["--run", "x"], "--scan is missing: name the file"),
        (["--run", "x", "--scan", "y", "--factor", "2"], "--factor: only for training"),
        (["--cohort", "x", "--scan", "y"], "--scan: only for use with --run"),
        (["--cohort", "nothing"], "nothing"),
    ],
)
def test_options_that_cannot_be_combined(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, "enhance", *words)
