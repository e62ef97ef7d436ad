"""The figure of a follow-up: the planes show the change, left is left, and both scans have the same limits."""

import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure

from crow.report.scan_figures import crossing, follow_up, place_text

SHAPE = (20, 24, 16)


def drawn(flip: bool, affine: np.ndarray | None = None) -> Figure:
    affine = np.diag([-2.0 if flip else 2.0, 2, 2, 1]) if affine is None else affine
    scan = np.random.default_rng(0).uniform(50, 100, SHAPE).astype(np.float32)
    change = np.zeros(SHAPE, np.float32)
    change[3:6, 10:13, 7:10] = -20
    turned = [array[::-1] if flip else array for array in (scan, scan + change, change, np.abs(change) + 1)]
    like = nib.Nifti1Image(np.ascontiguousarray(turned[0]), affine)
    return follow_up(like, *turned[1:], title="sub-01")


def test_the_planes_cut_through_the_change() -> None:
    figure = drawn(flip=False)
    shown = [axes.images[0].get_array() for axes in figure.axes[:12]]
    assert all(np.abs(shown[2 + 4 * row]).max() == 20 for row in range(3))


def test_a_rim_that_is_cut_along_its_surface_is_not_chosen() -> None:
    change = np.zeros(SHAPE, np.float32)
    change[2, 4:20, 3:13] = change[17, 4:20, 3:13] = 3  # both sides of the brain
    change[9:11, 10:13, 7:10] = -10
    assert crossing(change)[0] in (8, 9, 10, 11)
    assert crossing(np.zeros(SHAPE, np.float32)).tolist() == [10, 12, 8]


def test_a_flipped_file_looks_the_same() -> None:
    one, other = drawn(flip=False), drawn(flip=True)
    for a, b in zip(one.axes[:12], other.axes[:12], strict=True):
        np.testing.assert_array_equal(a.images[0].get_array(), b.images[0].get_array())


def test_left_and_right_are_marked_and_both_scans_have_the_same_limits() -> None:
    axes = drawn(flip=False).axes
    assert axes[0].images[0].get_clim() == axes[1].images[0].get_clim()
    for row in (1, 2):
        sides = [text for text in axes[4 * row].texts if "mm" not in text.get_text()]
        left, right = sorted(sides, key=lambda text: text.get_position()[0])
        assert (left.get_text(), right.get_text()) == ("L", "R")


@pytest.mark.parametrize(("x", "y", "z"), [(0, 0, 0), (-30, 5, 100)])
def test_planes_have_their_coordinates_and_colour_bars_their_meaning(x: int, y: int, z: int) -> None:
    affine = np.array([[2.0, 0, 0, x], [0, 2, 0, y], [0, 0, 2, z], [0, 0, 0, 1]])
    figure = drawn(flip=False, affine=affine)
    places = [text.get_text() for row in range(3) for text in figure.axes[4 * row].texts if "mm" in text.get_text()]
    expected = [f"x = {x + 6} mm", f"y = {y + 20} mm", f"z = {z + 14} mm"]
    assert places == [text.replace("-", "\u2212") for text in expected]
    assert [axes.get_xlabel() for axes in figure.axes[12:]] == [
        "value", "value", "change of the value", "standard deviation"
    ]  # fmt: skip


def test_coordinates_are_those_of_the_world_for_any_order_of_axes() -> None:
    affine = np.array([[0.0, -2, 0, 10], [0, 0, 3, -5], [1, 0, 0, 7], [0, 0, 0, 1]])
    shape = (11, 21, 31)  # z, x from right to left, y
    like = nib.as_closest_canonical(nib.Nifti1Image(np.zeros(shape, np.uint8), affine))
    cut = np.array([4, 6, 8])
    world = like.affine @ np.array([*cut, 1])
    found = [place_text(plane, cut, like.shape, affine) for plane in ("sagittal", "coronal", "axial")]
    assert found == [f"{a} = {round(v)} mm".replace("-", "\u2212") for a, v in zip("xyz", world[:3], strict=True)]
