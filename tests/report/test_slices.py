"""Planes of a volume as a picture: orientation, size and colour."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform

from crow.report.slices import _font, three_planes

SHAPE = (20, 30, 10)


def test_left_is_left_for_any_orientation_of_the_file() -> None:
    volume = np.zeros(SHAPE, np.float32)
    volume[2:5, 13:17, 4:6] = 1.0  # of axes to the right, front, top: on the left
    through = (3, 15, 5)
    expected = three_planes(volume, np.diag([2.0, 2, 3, 1]), through, (0, 1))
    axial = np.asarray(expected.convert("L"))[:-30, -expected.width * 40 // 140 :]
    found = np.nonzero(axial > 200)[1]
    assert len(found) and found.max() < axial.shape[1] / 2
    for axes in ("LPS", "SAR", "PIL"):
        turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
        image = nib.Nifti1Image(volume, np.diag([2.0, 2, 3, 1])).as_reoriented(turn)
        shown = three_planes(np.asarray(image.dataobj), image.affine, through, (0, 1))
        assert np.array_equal(np.asarray(shown), np.asarray(expected)), axes


def test_size_is_in_mm_and_no_change_has_the_colour_of_the_background() -> None:
    flat = three_planes(np.zeros(SHAPE, np.float32), np.diag([2.0, 2, 3, 1]), (3, 15, 5), (-1, 1), "RdBu_r", width=700)
    assert flat.size == (700, 300)
    pixels = np.asarray(flat)
    assert (pixels[0, 0] > 240).all() and (pixels[:, :, 0] == pixels[0, 0, 0]).mean() > 0.97


def test_a_place_left_of_the_middle_has_its_minus_sign() -> None:
    """A font without it draws the same box for every unknown sign."""
    box = _font(14).getmask("\ue000")
    assert bytes(_font(14).getmask("\u2212")) != bytes(box)


def test_one_plane_of_three() -> None:
    volume = np.random.default_rng(0).random(SHAPE, np.float32)
    one = three_planes(volume, np.diag([2.0, 2, 3, 1]), (3, 15, 5), (0, 1), width=300, planes=["axial"])
    assert one.width == pytest.approx(300, abs=2)
    assert one.height == pytest.approx(300 * SHAPE[1] / SHAPE[0], abs=2)
