"""Valid files are read unchanged; every problem of a file is reported."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from crow.errors import ScanError
from crow.scans.nifti import open_scan, read_scan

SYNTHETIC = Path(__file__).parents[3] / "shared" / "data" / "bids_synthetic"
RAMP = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


def write(path: Path, values: np.ndarray = RAMP, code: int = 1) -> Path:
    image = nib.Nifti1Image(values, np.diag([2.0, 2, 2, 1]))
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code)
    nib.save(image, path)
    return path


def read(path: Path) -> tuple[np.ndarray, str | None]:
    return read_scan(open_scan(path))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_voxels_are_scaled_in_float32(tmp_path: Path, ending: str) -> None:
    image = nib.Nifti1Image(RAMP.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    nib.save(image, tmp_path / f"a{ending}")
    values, note = read(tmp_path / f"a{ending}")
    stored = np.asarray(nib.load(tmp_path / f"a{ending}").dataobj)  # type: ignore[attr-defined]
    assert values.dtype == np.float32
    assert note is None
    np.testing.assert_allclose(values, stored, rtol=1e-6)


def test_a_fourth_axis_of_length_one_is_dropped(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(write(tmp_path / "a.nii", RAMP[..., None]))[0], RAMP)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"gone\.nii: no such file"):
        open_scan(tmp_path / "gone.nii")


def test_not_nifti(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_text("a table, not a scan" * 40)
    with pytest.raises(ScanError, match="cannot be read as NIfTI"):
        open_scan(tmp_path / "a.nii")


def test_header_only(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(whole[:352])
    with pytest.raises(ScanError, match="only a header, no voxels"):
        open_scan(tmp_path / "a.nii")


@pytest.mark.skipif(not SYNTHETIC.is_dir(), reason="public data are not beside the repository")
def test_header_only_of_a_public_tree() -> None:
    with pytest.raises(ScanError, match=r"only a header, no voxels|volumes; one is needed"):
        open_scan(next(SYNTHETIC.rglob("*_T1w.nii")))


def test_truncated(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(whole[:-40])
    with pytest.raises(ScanError, match="truncated: 552 bytes, but its header declares 592"):
        open_scan(tmp_path / "a.nii")


def test_truncated_gz(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ScanError, match=r"a\.nii\.gz: truncated or damaged"):
        read(path)


def test_four_dimensions(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="has 3 volumes; one is needed"):
        open_scan(write(tmp_path / "a.nii", np.stack([RAMP] * 3, -1)))


@pytest.mark.parametrize(
    ("kind", "what"),
    [([("R", "u1"), ("G", "u1"), ("B", "u1")], r"colours \(RGB\)"), (np.complex64, "of type complex64")],
)
def test_colours_and_complex_numbers(tmp_path: Path, kind: object, what: str) -> None:
    with pytest.raises(ScanError, match=f"its voxels are {what}"):
        open_scan(write(tmp_path / "a.nii", np.zeros(RAMP.shape, kind)))  # type: ignore[call-overload]


def test_few_nan_are_set_to_zero_and_reported(tmp_path: Path) -> None:
    values = RAMP.copy()
    values[0, 0, :3] = np.nan
    found, note = read(write(tmp_path / "a.nii", values))
    assert note is not None
    assert note.startswith("3 voxels (5.00%) are NaN or infinite")
    assert (found[0, 0, :3] == 0).all()
    np.testing.assert_array_equal(found[1:], RAMP[1:])


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "100% of its voxels are NaN"), (0, "all its voxels are 0"), (7, "are 7")]
)
def test_constant_scans_are_refused(tmp_path: Path, value: float, what: str) -> None:
    with pytest.raises(ScanError, match=what):
        read(write(tmp_path / "a.nii", np.full_like(RAMP, value)))


def test_more_voxels_than_memory_is_refused_from_the_header(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((30000, 30000, 30000))
    header.set_sform(np.eye(4), 1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    with gzip.open(tmp_path / "a.nii.gz", "wb") as file:
        file.write(header.binaryblock + bytes(4))
    with pytest.raises(ScanError, match="declares 27,000,000,000,000 voxels"):
        open_scan(tmp_path / "a.nii.gz")


def test_no_orientation(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="sform and qform are both unset"):
        open_scan(write(tmp_path / "a.nii", code=0))


def test_voxels_without_a_size(tmp_path: Path) -> None:
    image = nib.Nifti1Image(RAMP, np.eye(4))
    image.header["sform_code"] = 1
    image.header["srow_x"] = 0
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[280:296] = bytes(16)  # srow_x
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    with pytest.raises(ScanError, match="not invertible"):
        open_scan(tmp_path / "a.nii")


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_a_freesurfer_image_is_read_where_it_lies(tmp_path: Path, kind: type) -> None:
    affine = np.array([[0.0, 0, -2, 30], [2, 0, 0, -20], [0, 2, 0, 5], [0, 0, 0, 1]])
    nib.save(nib.MGHImage(RAMP.astype(kind), affine), tmp_path / "a.mgz")
    image = open_scan(tmp_path / "a.mgz")
    assert isinstance(image, nib.Nifti1Image) and image.get_filename() == str(tmp_path / "a.mgz")
    np.testing.assert_array_equal(image.affine, affine)
    np.testing.assert_array_equal(read_scan(image)[0], RAMP)
    nib.save(nib.Nifti1Image(RAMP.astype(kind), image.affine, image.header), tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "b.nii.gz")[0], RAMP)


def test_a_freesurfer_image_without_orientation_or_voxels_is_refused(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(RAMP, np.eye(4)), tmp_path / "a.mgh")
    whole = bytearray((tmp_path / "a.mgh").read_bytes())
    whole[28:30] = bytes(2)  # goodRASFlag
    (tmp_path / "a.mgh").write_bytes(bytes(whole))
    with pytest.raises(ScanError, match="left and right are unknown"):
        open_scan(tmp_path / "a.mgh")
    nib.save(nib.MGHImage(RAMP, np.eye(4)), tmp_path / "b.mgz")
    cut = gzip.decompress((tmp_path / "b.mgz").read_bytes())[:330]
    (tmp_path / "b.mgz").write_bytes(gzip.compress(cut))
    with pytest.raises(ScanError, match=r"truncated|cannot be read"):
        read(tmp_path / "b.mgz")


@pytest.mark.parametrize("ending", [".hdr", ".img"])
def test_a_pair_of_header_and_image_is_named_by_either(tmp_path: Path, ending: str) -> None:
    image = nib.Nifti1Pair(RAMP, np.diag([2.0, 2, 2, 1]))
    image.set_sform(image.affine, 1)
    nib.save(image, tmp_path / "a.img")
    opened = open_scan(tmp_path / f"a{ending}")
    assert isinstance(opened, nib.Nifti1Image)
    np.testing.assert_array_equal(read_scan(opened)[0], RAMP)
    (tmp_path / "a.img").write_bytes((tmp_path / "a.img").read_bytes()[:100])
    with pytest.raises(ScanError, match="truncated"):
        open_scan(tmp_path / f"a{ending}")


def test_an_analyze_image_is_refused_because_its_sides_are_unknown(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(RAMP, np.diag([2.0, 2, 2, 1])), tmp_path / "a.img")
    with pytest.raises(ScanError, match="left and right are unknown"):
        open_scan(tmp_path / "a.img")
