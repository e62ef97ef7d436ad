"""Scans whose background is not 0, scans that are masks or labels, and headers that contradict themselves."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from simulated_scans import cohort, head, save

from crow.pipelines.prepare import Prepared, prepare
from crow.scans.background import above_background, background_level, label_note
from crow.scans.nifti import open_scan, orientation_note
from crow.scans.template import load_template

HEAD = head()
INSIDE = HEAD > 0
NOISE = np.abs(np.random.default_rng(3).normal(0, 8, HEAD.shape)).astype(np.float32)
NOISY = np.where(INSIDE, HEAD, NOISE)


def z_scored(values: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    chosen = values if inside is None else values[inside]
    out = (values - chosen.mean()) / chosen.std()
    return np.where(inside, out, 0.0) if inside is not None else out


@pytest.mark.parametrize(
    "scan", [z_scored(HEAD), z_scored(NOISY), HEAD - 2000, z_scored(HEAD, INSIDE), z_scored(HEAD) * 1e-3],
    ids=["whole image", "noisy background", "shifted", "inside the mask", "small values"],
)  # fmt: skip
def test_a_background_below_0_becomes_0_and_the_brain_keeps_its_contrast(scan: np.ndarray) -> None:
    scan = scan.astype(np.float32)
    offset, constant = background_level(scan)
    found = above_background(scan, offset, constant)
    assert offset < 0 and found.min() == 0
    assert np.median(found[~INSIDE]) < 0.05 * np.median(found[INSIDE])
    assert np.corrcoef(found[INSIDE], HEAD[INSIDE])[0, 1] > 0.999


@pytest.mark.parametrize(
    "scan", [HEAD, NOISY, np.where(INSIDE, HEAD, np.random.default_rng(0).normal(0, 8, HEAD.shape)), -HEAD],
    ids=["plain", "noisy", "ringing", "inverted"],
)  # fmt: skip
def test_other_scans_stay_as_they_are(scan: np.ndarray) -> None:
    assert background_level(scan.astype(np.float32)) == (0.0, None)


@pytest.mark.parametrize("inside", [None, INSIDE], ids=["whole image", "inside the mask"])
def test_standardised_scans_are_prepared_like_the_others(tmp_path: Path, inside: np.ndarray | None) -> None:
    table = cohort(tmp_path, subjects=1)
    plain = run(table, tmp_path / "plain").store
    for path in sorted(tmp_path.glob("*.nii.gz")):
        save(path, z_scored(np.asarray(nib.load(path).dataobj), inside))  # type: ignore[attr-defined]
    done = run(table, tmp_path / "store")
    assert done.failed == 0
    assert any("below 0" in finding.message for finding in done.findings if finding.code == "scan-noted")
    mask = load_template(8.0).mask & (plain.array("intensity")[0] > 0)
    for row in (0, 1):
        before, after = plain.array("intensity")[row][mask], done.store.array("intensity")[row][mask]
        assert np.corrcoef(before, after)[0, 1] > 0.999
        gain, offset = done.store.array("scale")[row]
        scan = np.asarray(nib.load(done.store.visits["scan"][row]).dataobj)  # type: ignore[attr-defined]
        np.testing.assert_allclose(np.median((after * gain + offset) - scan[mask]), 0, atol=0.02 * np.ptp(scan))


@pytest.mark.parametrize(
    ("values", "what"),
    [(INSIDE, "a mask: its only values are 0 and 1"), (255 * INSIDE, "a mask: its only values are 0 and 255"),
     (np.kron(np.arange(64).reshape(4, 4, 4), np.ones((6, 6, 6))), "a map of labels")],
)  # fmt: skip
def test_masks_and_labels_in_place_of_scans_are_refused(tmp_path: Path, values: np.ndarray, what: str) -> None:
    table = cohort(tmp_path)
    path = tmp_path / pd.read_csv(table)["scan"][1]
    save(path, values.astype(np.int16))
    done = run(table, tmp_path / "store")
    (failed,) = [finding.message for finding in done.findings if finding.code == "scan-failed"]
    assert what in failed and "crow segment" in failed


def test_rounded_scans_are_no_labels() -> None:
    assert label_note(HEAD) is None
    assert label_note(np.rint(HEAD / HEAD.max() * 255)) is None
    assert label_note(np.rint(HEAD / HEAD.max() * 20)) is None


def test_forms_that_disagree_are_a_warning_that_names_the_one_that_is_used(tmp_path: Path) -> None:
    table = cohort(tmp_path, subjects=1)
    path = tmp_path / pd.read_csv(table)["scan"][1]
    image = nib.load(path)
    moved = image.affine @ np.diag([-1.0, 1, 1, 1])  # type: ignore[attr-defined]
    image.set_qform(moved, 1)  # type: ignore[attr-defined]
    nib.save(image, path)
    np.testing.assert_allclose(open_scan(path).affine, load_template(8.0).grid.matrix, atol=1e-3)
    done = run(table, tmp_path / "store")
    (warning,) = [finding for finding in done.findings if finding.code == "scan-orientation"]
    assert warning.severity == "warning" and str(path) in warning.message
    assert "exchange left and right; the sform is used" in warning.message
    assert "sform" in done.page.read_text()


def test_forms_that_agree_or_stand_alone_are_no_warning(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", HEAD)
    assert orientation_note(open_scan(path)) is None
    image = nib.load(path)
    image.set_qform(np.diag([3.0, 3, 3, 1]), 0)  # type: ignore[attr-defined]
    nib.save(image, path)
    assert orientation_note(open_scan(path)) is None


def run(table: Path, out: Path) -> Prepared:
    return prepare(table, out, resolution=8.0, registration="none", jobs=1)
