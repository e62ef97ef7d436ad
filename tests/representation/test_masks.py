"""Masks of the scans of a store: matching, resampling, and error messages."""

from pathlib import Path

import numpy as np
import pytest
import simulated_scans

from crow.errors import CohortError, ScanError
from crow.pipelines.prepare import prepare
from crow.representation.masks import find_masks, read_mask
from crow.scans.store import ScanStore
from crow.scans.template import load_template


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    folder = tmp_path_factory.mktemp("masks")
    table = simulated_scans.cohort(folder / "bids")
    return prepare(table, folder / "store", resolution=8, registration="none", jobs=1).store


LABELS = load_template(8.0).structures


def test_files_are_found_by_subject_and_session_or_by_name(store: ScanStore, tmp_path: Path) -> None:
    visits = store.cohort().visits
    simulated_scans.save(tmp_path / "bids" / "sub-0" / "sub-0_ses-1_dseg.nii.gz", LABELS)
    simulated_scans.save(tmp_path / "bids" / "sub-1" / "sub-1_ses-0_T2w.nii.gz", LABELS)
    assert find_masks(store, visits, tmp_path / "bids").map(lambda path: path.name).to_dict() == {
        1: "sub-0_ses-1_dseg.nii.gz"
    }
    name = Path(visits["scan"].iloc[2]).name
    simulated_scans.save(tmp_path / "plain" / name, LABELS)
    assert list(find_masks(store, visits, tmp_path / "plain").index) == [2]


def test_nothing_or_two_files_are_refused(store: ScanStore, tmp_path: Path) -> None:
    visits = store.cohort().visits
    for folder in (tmp_path / "absent", Path(visits["scan"].iloc[0]).parent):  # scans are not masks
        with pytest.raises(CohortError, match=r"no mask for any scan .*sub-01_ses-1_dseg.nii.gz"):
            find_masks(store, visits, folder)
    for name in ("sub-0_ses-1_dseg.nii.gz", "sub-0_ses-1_desc-other_mask.nii.gz"):
        simulated_scans.save(tmp_path / "two" / name, LABELS)
    with pytest.raises(CohortError, match=r"several masks for sub-0_ses-1_T1w.nii.gz: sub-0.*Keep only"):
        find_masks(store, visits, tmp_path / "two")


def test_a_mask_is_resampled_like_its_scan(store: ScanStore, tmp_path: Path) -> None:
    """The scans are already on the grid, so the mask does not change."""
    path = simulated_scans.save(tmp_path / "sub-0_ses-0_dseg.nii.gz", LABELS)
    np.testing.assert_array_equal(read_mask(store, 0, path, 9), LABELS == 9)
    path = simulated_scans.save(tmp_path / "sub-0_ses-0_mask.nii.gz", 3 * (LABELS == 9).astype(np.int16))
    np.testing.assert_array_equal(read_mask(store, 0, path), LABELS == 9)


@pytest.mark.parametrize(
    ("values", "label", "message"),
    [
        (LABELS, None, "has the labels 1, 2, 3.*Choose one with --label"),
        (LABELS, 77, "no voxel has the label 77; the labels are 1, 2, 3"),
        (0 * LABELS, None, "the mask is empty"),
        (LABELS / np.float32(20), None, r"has values such as 0\.\d+, so it is not a mask. Threshold it"),
        (LABELS[:-1], 9, r"has 25 x 30 x 25 voxels, unlike its scan, sub-0_ses-0_T1w.nii.gz \(26 x 30 x 25 voxels\)"),
    ],
)
def test_invalid_masks_are_refused(
    store: ScanStore, tmp_path: Path, values: np.ndarray, label: int | None, message: str
) -> None:
    with pytest.raises(ScanError, match=message):
        read_mask(store, 0, simulated_scans.save(tmp_path / "sub-0_ses-0_dseg.nii.gz", values), label)


def test_a_mask_with_another_affine_is_refused(store: ScanStore, tmp_path: Path) -> None:
    affine = load_template(8.0).grid.matrix.copy()
    affine[0, 3] += 8
    path = simulated_scans.save(tmp_path / "sub-0_ses-0_dseg.nii.gz", LABELS, affine)
    with pytest.raises(ScanError, match="has another affine than its scan"):
        read_mask(store, 0, path, 9)
