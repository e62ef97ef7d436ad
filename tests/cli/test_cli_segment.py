"""`crow segment`: a store and masks to a run, a run and a store to masks, probabilities and volumes."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import simulated_scans
import torch
from commands import done, refused

from crow.pipelines.prepare import prepare
from crow.places import is_store
from crow.scans.store import ScanStore
from crow.scans.template import load_template

QUICK = [
    *("--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2", "--set", "images.size=8"),
    *("--set", "flow.depth=2", "--set", "flow.hidden=8", "--set", "flow.levels=1"),
]  # fmt: skip
VENTRICLES = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, labels of the scans' structures, and the run of the ventricles."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("segment")
    table = simulated_scans.cohort(folder / "bids", subjects=10)
    for s in range(10):
        for v in range(2):
            path = folder / "labels" / f"sub-{s}" / f"sub-{s}_ses-{v}_dseg.nii.gz"
            simulated_scans.save(path, load_template(8.0).structures)
    prepare(table, folder / "store", resolution=8, registration="none", jobs=1)
    done(["segment", "--cohort", folder / "store", "--masks", folder / "labels", "--label", str(VENTRICLES),
          "--out", folder / "run", *QUICK])  # fmt: skip
    return folder


def test_masks_of_some_scans(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["segment", "--run", folder / "run", "--cohort", folder / "store", "--subject", "S3", "--draws", "6",
             "--save-scan-draws", "2", "--out", tmp_path / "made"]  # fmt: skip
    done(words)
    assert "S3 1: " in capsys.readouterr().out
    here = tmp_path / "made" / "sub-S3" / "ses-1" / "anat"
    stem = "sub-S3_ses-1_desc-"
    like = nib.load(folder / "bids" / "sub-3_ses-0_T1w.nii.gz")
    p = nib.load(here / f"{stem}segmented_probseg.nii.gz")
    mask = nib.load(here / f"{stem}segmented_mask.nii.gz")
    draws = [nib.load(here / f"{stem}sample{k}_mask.nii.gz") for k in (1, 2)]
    for image in (p, mask, *draws):
        assert image.shape == like.shape
        np.testing.assert_allclose(image.affine, like.affine, atol=1e-4)
    assert p.get_fdata().min() >= 0 and p.get_fdata().max() <= 1
    np.testing.assert_array_equal(mask.get_fdata(), p.get_fdata() > 0.5)
    assert {tuple(np.unique(draw.get_fdata())) for draw in draws} <= {(0, 1), (0,)}
    assert mask.get_data_dtype() == np.uint8
    facts = json.loads((here / f"{stem}segmented_probseg.json").read_text())
    assert facts["Label"] == VENTRICLES and facts["Sources"] == ["sub-3_ses-0_T1w.nii.gz"] and facts["Draws"] == 6
    volumes = pd.read_csv(tmp_path / "made" / "volumes.tsv", sep="\t")
    assert len(volumes) == 2 and (volumes["q05"] <= volumes["volume"]).all()
    assert (volumes["volume"] <= volumes["q95"]).all()
    assert (tmp_path / "made" / "masks.png").read_bytes()[:4] == b"\x89PNG"
    assert "exists already" in refused(capsys, *words)
    done([word if word != "S3" else "S4" for word in words] + ["--overwrite"])
    both = pd.read_csv(tmp_path / "made" / "volumes.tsv", sep="\t")
    assert both["subject"].tolist() == ["S3", "S3", "S4", "S4"]
    assert both["volume"].tolist()[:2] == volumes["volume"].tolist()


def test_one_bad_scan_of_many_is_a_warning(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = [folder / "bids" / f"sub-7_ses-{v}_T1w.nii.gz" for v in range(2)]
    whole = [scan.read_bytes() for scan in scans]
    words = ["segment", "--run", folder / "run", "--cohort", folder / "store", "--subject", "S7", "--draws", "2"]
    try:
        scans[0].write_bytes(whole[0][:100])
        done([*words, "--out", tmp_path / "made"])
        assert "This scan is left out." in capsys.readouterr().out
        assert len(pd.read_csv(tmp_path / "made" / "volumes.tsv", sep="\t")) == 1
        scans[1].write_bytes(whole[1][:100])
        assert "none of its 2 scans can be segmented" in refused(capsys, *words, "--out", tmp_path / "none")
    finally:
        for scan, content in zip(scans, whole, strict=True):
            scan.write_bytes(content)


def test_a_scan_that_is_not_prepared(folder: Path, tmp_path: Path) -> None:
    scan = folder / "bids" / "sub-5_ses-1_T1w.nii.gz"
    done(["segment", "--run", folder / "run", "--cohort", scan, "--draws", "2", "--out", tmp_path / "made"])
    (p,) = (tmp_path / "made").rglob("*_probseg.nii.gz")
    assert p.name == "sub-5_ses-1_desc-segmented_probseg.nii.gz" and nib.load(p).shape == nib.load(scan).shape
    assert is_store(tmp_path / "made_store")


def test_bad_masks_leave_no_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ("segment", "--cohort", folder / "store", "--out", tmp_path / "run", *QUICK, "--masks")
    assert "Choose one with --label" in refused(capsys, *ask, folder / "labels")
    assert "no voxel has the label 99" in refused(capsys, *ask, folder / "labels", "--label", "99")
    assert "no mask for any scan" in refused(capsys, *ask, tmp_path)
    assert not (tmp_path / "run").exists()


def test_other_scans_and_subjects_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ("segment", "--run", folder / "run", "--out", tmp_path / "made", "--cohort")
    assert "no subject S77. Available: S0" in refused(capsys, *ask, folder / "store", "--subject", "S77")
    store = ScanStore.open(folder / "store")
    info = store.info.model_copy(update={"modality": "T2w"})
    other = ScanStore.create(tmp_path / "t2w", info, store.cohort(), store.template, store.mask)
    other.array("status")[:] = 1
    other.finish([])
    assert "scans of modality T2w; the run was trained on T1w" in refused(capsys, *ask, tmp_path / "t2w")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--cohort is missing: name the scans"),
        (["--cohort", "x"], "Give --masks (a folder)"),
        (["--cohort", "x", "--run", "y", "--label", "2"], "--label: only for training"),
        (["--cohort", "x", "--masks", "y", "--subject", "z"], "--subject: only for use with --run"),
    ],
)
def test_options_that_cannot_be_combined(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, "segment", *words)
