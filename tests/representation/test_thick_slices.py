"""Thick slices: means of thin slices, and files in any orientation."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation

from crow.errors import ScanError
from crow.representation.thick_slices import Slices, ThickScan
from crow.scans.grid import Grid

FACTS = {
    "modality": "CBF", "settings": {"resolution": 8, "registration": "none"},
    "grid": Grid.of((9, 9, 9), np.diag([2.0, 2, 2, 1])).model_dump(mode="json"),
}  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("factor", [2, 3])
def test_slices_round_trip(axis: int, factor: int) -> None:
    thin = np.random.default_rng(0).normal(size=(7, 8, 9)).astype(np.float32)
    slices = Slices(axis, factor)
    thick = slices.thick(thin)
    assert thick.shape[axis] == thin.shape[axis] // factor
    np.testing.assert_allclose(slices.thick(slices.repeated(thick)), thick, rtol=1e-5)
    np.testing.assert_allclose(slices.thick(slices.interpolated(thick)), thick, atol=1e-5)
    places = slices.places(slices.repeated(thick).shape)
    assert np.unique(places).tolist() == pytest.approx([(k + 0.5) / factor - 0.5 for k in range(factor)])
    np.testing.assert_allclose(slices.thick(places), 0, atol=1e-6)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "AIL", "SRP"])
@pytest.mark.parametrize("axis", [0, 2])
def test_thin_voxels_keep_their_position(tmp_path: Path, codes: str, axis: int) -> None:
    """A ramp in world coordinates, in thick slices of any orientation: thin voxels have their own coordinate."""
    slices = Slices(axis, 3)
    affine = np.diag([2.0, 2, 2, 1])
    affine[axis] *= 3
    affine[:3, 3] = 5, -7, 11
    shape = (10, 11, 12)
    world = (np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3])[..., axis]
    scan = nib.Nifti1Image((100 + world).astype(np.float32), affine).as_reoriented(
        nib.orientations.ornt_transform(io_orientation(affine), axcodes2ornt(tuple(codes)))
    )
    scan.set_sform(scan.affine, 1)
    nib.save(scan, tmp_path / "scan_CBF.nii.gz")
    thick = ThickScan.open(tmp_path / "scan_CBF.nii.gz", slices, FACTS)
    np.testing.assert_allclose(thick.values, 100 + world, rtol=1e-5)
    (values,), like = thick.thin(slices.interpolated(thick.values)[None], slices)
    assert nib.aff2axcodes(like.affine) == tuple(codes) and like.shape == values.shape
    at = (np.moveaxis(np.indices(values.shape), 0, -1) @ like.affine[:3, :3].T + like.affine[:3, 3])[..., axis]
    inside = (at > np.quantile(at, 0.3)) & (at < np.quantile(at, 0.7))  # splines are less accurate at the ends
    np.testing.assert_allclose(values[inside], 100 + at[inside], atol=0.05)
    assert np.isclose(at.min(), world.min() - 2) and np.isclose(at.max(), world.max() + 2)


def test_refuses_other_voxels_and_other_modalities(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).random((8, 8, 8)).astype(np.float32), np.diag([2.0, 2, 2, 1]))
    for name in ("scan_CBF.nii.gz", "scan_T1w.nii.gz"):
        nib.save(image, tmp_path / name)
    with pytest.raises(ScanError, match=r"of 2 x 2 x 2 mm.* voxels of 2 x 2 x 4 mm, each divided into 2 along z"):
        ThickScan.open(tmp_path / "scan_CBF.nii.gz", Slices(2, 2), FACTS)
    with pytest.raises(ScanError, match="a scan of modality T1w; the run was trained on CBF"):
        ThickScan.open(tmp_path / "scan_T1w.nii.gz", Slices(2, 2), FACTS)
