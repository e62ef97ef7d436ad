"""The figure of a follow-up: the planes show the change, left is left, and both scans have the same limits."""

import nibabel as nib
import numpy as np

from crow.report.scan_figures import follow_up

SHAPE = (20, 24, 16)


def drawn(flip: bool):
    affine = np.diag([-2.0 if flip else 2.0, 2, 2, 1])
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


def test_a_flipped_file_looks_the_same() -> None:
    one, other = drawn(flip=False), drawn(flip=True)
    for a, b in zip(one.axes[:12], other.axes[:12], strict=True):
        np.testing.assert_array_equal(a.images[0].get_array(), b.images[0].get_array())


def test_left_and_right_are_marked_and_both_scans_have_the_same_limits() -> None:
    axes = drawn(flip=False).axes
    assert axes[0].images[0].get_clim() == axes[1].images[0].get_clim()
    for row in (1, 2):
        left, right = sorted(axes[4 * row].texts, key=lambda text: text.get_position()[0])
        assert (left.get_text(), right.get_text()) == ("L", "R")
