"""Generated scans on disk: BIDS names, affine and data type of the real scan, and no silent replacement."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from crow.errors import OutputError
from crow.scans.derivatives import describe_dataset, save_scan, scan_path, session_label

AFFINE = np.array([[-2.0, 0.1, 0, 90], [0, 1.9, 0.2, -120], [0.1, 0, 2.1, -70], [0, 0, 0, 1]])


def scan(folder: Path, kind: type, slope: float | None = None, intercept: float = 0.0) -> nib.Nifti1Image:
    image = nib.Nifti1Image(np.arange(24, dtype=kind).reshape(2, 3, 4), AFFINE)
    image.set_sform(AFFINE, 2)
    image.set_qform(AFFINE, 1)
    if slope is not None:
        image.header.set_slope_inter(slope, intercept)
    nib.save(image, folder / "real.nii")
    return nib.load(folder / "real.nii")


@pytest.mark.parametrize(("years", "label"), [(1, "plus1y"), (1.5, "plus1p5y"), (0.25, "plus0p25y"), (2.0, "plus2y")])
def test_session_labels_have_letters_and_digits_only(years: float, label: str) -> None:
    assert session_label(years) == label


def test_bids_derivative_names() -> None:
    path = scan_path(Path("out"), "sub-01", "plus1p5y", "synthetic", "T1w")
    assert path == Path("out/sub-01/ses-plus1p5y/anat/sub-01_ses-plus1p5y_desc-synthetic_T1w.nii.gz")
    path = scan_path(Path("out"), "a_1-b", "x", "change", "pet", space="MNI152NLin2009aSym")
    assert path == Path("out/sub-a1b/ses-x/pet/sub-a1b_ses-x_space-MNI152NLin2009aSym_desc-change_pet.nii.gz")


@pytest.mark.parametrize(
    ("kind", "slope", "intercept"), [(np.int16, None, 0), (np.uint8, 0.5, 3.0), (np.float32, None, 0)]
)
def test_a_scan_is_written_in_the_format_of_the_real_one(
    tmp_path: Path, kind: type, slope: float | None, intercept: float
) -> None:
    like = scan(tmp_path, kind, slope, intercept)
    values = (np.arange(24).reshape(2, 3, 4) * (slope or 1.0) + intercept).astype(np.float32)
    save_scan(tmp_path / "x.nii.gz", values, like, {"synthetic": True})
    found = nib.load(tmp_path / "x.nii.gz")
    assert found.get_data_dtype() == kind
    np.testing.assert_allclose(found.get_fdata(), values, atol=1e-5)
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-6)
    assert [int(found.header[code]) for code in ("sform_code", "qform_code")] == [2, 1]
    assert json.loads((tmp_path / "x.json").read_text()) == {"SkullStripped": False, "synthetic": True}


def test_integers_are_rounded(tmp_path: Path) -> None:
    values = np.linspace(0, 255, 24, dtype=np.float32).reshape(2, 3, 4)
    save_scan(tmp_path / "x.nii.gz", values, scan(tmp_path, np.uint8), {})
    found = nib.load(tmp_path / "x.nii.gz")
    assert found.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(found.get_fdata(), np.rint(values))


def test_values_beyond_the_integers_are_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(-7, 300, 24, dtype=np.float32).reshape(2, 3, 4)
    save_scan(tmp_path / "x.nii.gz", values, scan(tmp_path, np.uint8), {})
    np.testing.assert_allclose(nib.load(tmp_path / "x.nii.gz").get_fdata(), values, rtol=1e-6)


def test_maps_are_floats_whatever_the_scan_is(tmp_path: Path) -> None:
    save_scan(
        tmp_path / "x.nii.gz", np.full((2, 3, 4), -0.25, np.float32), scan(tmp_path, np.uint8, 0.5), {}, integers=False
    )
    found = nib.load(tmp_path / "x.nii.gz")
    assert found.get_data_dtype() == np.float32 and (found.get_fdata() == -0.25).all()


def test_existing_files_are_not_replaced(tmp_path: Path) -> None:
    path, values = tmp_path / "x.nii.gz", np.ones((2, 3, 4), np.float32)
    save_scan(path, values, scan(tmp_path, np.int16), {})
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"x\.nii\.gz: exists already"):
        save_scan(path, 2 * values, scan(tmp_path, np.int16), {})
    assert path.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == [
        "real.nii",
        "x.json",
        "x.nii.gz",
    ]
    save_scan(path, 2 * values, scan(tmp_path, np.int16), {}, overwrite=True)
    assert np.asarray(nib.load(path).dataobj).max() == 2


def test_datasets_of_other_tools_are_not_touched(tmp_path: Path) -> None:
    describe_dataset(tmp_path / "ours")
    describe_dataset(tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert "need defacing" in (tmp_path / "ours" / "README").read_text()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "dataset_description.json").write_text('{"Name": "study", "BIDSVersion": "1.8.0"}')
    with pytest.raises(OutputError, match="crow did not make"):
        describe_dataset(tmp_path / "raw")


@pytest.mark.parametrize(
    ("kind", "slope", "intercept", "low", "high"),
    [(np.int16, None, 0.0, 0.0, 1.3), (np.uint8, None, 0.0, 0.0, 2.0), (np.int16, None, 0.0, 40.0, 90.0),
     (np.int16, 0.1, 0.0, 0.0, 3.0), (np.uint8, 0.01, 1.0, 0.8, 1.4)],
)  # fmt: skip
def test_a_small_change_is_not_rounded_away(
    tmp_path: Path, kind: type, slope: float | None, intercept: float, low: float, high: float
) -> None:
    """Ratios, Jacobians and percentages in coarse integers, as tools write them without a slope."""
    values = np.linspace(low, high, 24, dtype=np.float32).reshape(2, 3, 4)
    save_scan(tmp_path / "x.nii.gz", values, scan(tmp_path, kind, slope, intercept), {})
    found = nib.load(tmp_path / "x.nii.gz")
    assert found.get_data_dtype() == np.float32
    np.testing.assert_allclose(found.get_fdata(), values, rtol=1e-6)


def test_integers_with_a_fine_slope_are_kept(tmp_path: Path) -> None:
    values = np.linspace(0, 1.3, 24, dtype=np.float32).reshape(2, 3, 4)
    save_scan(tmp_path / "x.nii.gz", values, scan(tmp_path, np.int16, 0.0005), {})
    found = nib.load(tmp_path / "x.nii.gz")
    assert found.get_data_dtype() == np.int16 and found.dataobj.slope == pytest.approx(0.0005)
    np.testing.assert_allclose(found.get_fdata(), values, atol=0.0003)


def test_masks_and_labels_stay_integers(tmp_path: Path) -> None:
    save_scan(tmp_path / "x.nii.gz", np.eye(24, dtype=np.float32)[1].reshape(2, 3, 4), scan(tmp_path, np.uint8), {})
    assert nib.load(tmp_path / "x.nii.gz").get_data_dtype() == np.uint8
