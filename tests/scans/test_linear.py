"""A subject's visits are aligned without a reference visit, whatever their grids."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.linalg import logm
from simulated_scans import head, turned

from crow.errors import ScanError
from crow.scans.deform import sample
from crow.scans.grid import Grid
from crow.scans.linear import Image, _mean_rigid, align_subject, resample
from crow.scans.rigid import flattened, rigid
from crow.scans.template import load_template

TEMPLATE = load_template(4.0)
AFFINE = TEMPLATE.grid.matrix
MOVES = [turned((0, 0, 0), (0, 0, 0)), turned((4, -3, 5), (3, -4, 2)), turned((-5, 2, -3), (-2, 3, 4))]


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance (mm) between the images of brain points under two maps."""
    points = TEMPLATE.grid.points()[:, TEMPLATE.mask][:, ::20]
    both = [matrix[:3, :3] @ points + matrix[:3, 3:] for matrix in (one, other)]
    return float(np.linalg.norm(both[0] - both[1], axis=0).mean())


@pytest.fixture(scope="module")
def aligned() -> list[np.ndarray]:
    images = [Image.of(head(4.0, move, seed), AFFINE) for seed, move in enumerate(MOVES)]
    return align_subject(images)


def test_visits_are_aligned_to_a_fraction_of_a_voxel(aligned: list[np.ndarray]) -> None:
    for matrix, move in zip(aligned[1:], MOVES[1:], strict=True):
        assert apart(matrix @ np.linalg.inv(aligned[0]), np.linalg.inv(move)) < 0.25


def test_the_template_is_found(aligned: list[np.ndarray]) -> None:
    for matrix, move in zip(aligned, MOVES, strict=True):
        assert apart(matrix, np.linalg.inv(move)) < 3


def test_a_scan_with_nothing_above_0() -> None:
    with pytest.raises(ScanError, match="none of its voxels is above 0"):
        Image.of(head(4.0) - 2000, AFFINE)


def test_no_visit_is_the_reference(aligned: list[np.ndarray]) -> None:
    images = [Image.of(head(4.0, move, seed), AFFINE) for seed, move in enumerate(MOVES)]
    for one, other in zip(aligned, align_subject(images[::-1])[::-1], strict=True):
        assert apart(one, other) < 1.5
    middle = _mean_rigid(MOVES)
    np.testing.assert_allclose(sum(np.real(logm(move @ np.linalg.inv(middle))) for move in MOVES), 0, atol=5e-3)


def test_orientation_of_the_file_does_not_matter(aligned: list[np.ndarray]) -> None:
    scan = head(4.0, MOVES[1], 1)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = scan.shape[0] - 1
    stored, affine = scan[::-1].transpose(0, 2, 1), AFFINE @ flip @ np.eye(4)[[0, 2, 1, 3]]
    one, other = Image.of(scan, AFFINE), Image.of(np.ascontiguousarray(stored), affine)
    np.testing.assert_allclose(one.values, other.values, atol=1e-3)
    there = [resample(s, a, TEMPLATE.grid, aligned[1]) for s, a in ((scan, AFFINE), (stored, affine))]
    np.testing.assert_allclose(there[0], there[1], atol=0.05)


def test_resampling_by_the_identity_changes_nothing_and_outside_is_zero() -> None:
    scan = head(4.0) + 1
    np.testing.assert_allclose(resample(scan, AFFINE, TEMPLATE.grid, np.eye(4)), scan, atol=1e-2)
    away = resample(scan, AFFINE, TEMPLATE.grid, turned((0, 0, 0), (60, 0, 0)))
    assert (away[-12:] == 0).all()
    np.testing.assert_allclose(away[:20], scan[15:35], atol=1e-2)


def test_a_displacement_is_equivalent_to_a_map() -> None:
    scan, shift = head(4.0), turned((0, 0, 0), (3, -2, 1))
    moved = np.broadcast_to(shift[:3, 3, None, None, None], (3, *scan.shape))
    one, other = resample(scan, AFFINE, TEMPLATE.grid, np.eye(4), moved), resample(scan, AFFINE, TEMPLATE.grid, shift)
    np.testing.assert_allclose(one, other, atol=0.05)


def test_rigid_is_robust_to_gain_bias_and_real_change() -> None:
    fixed, moving = head(4.0, seed=3), head(4.0, MOVES[1], 4)
    x = TEMPLATE.grid.points()[1] / 100
    moving = (2 * moving * np.exp(0.3 * x)).astype(np.float32)
    moving[24:28, 28:34, 20:26] = 0  # a lesion
    both = [flattened(image, TEMPLATE.grid, image > 0) for image in (fixed, moving)]
    found = rigid(both[0], fixed > 0, TEMPLATE.grid, both[1], TEMPLATE.grid, np.eye(4))
    assert apart(found, np.linalg.inv(MOVES[1])) < 0.4


FLAIR = ([0.0, 0.2, 0.35, 0.6, 0.75, 0.9], [0.0, 0.2, 0.3, 0.85, 0.75, 0.75])  # of T1w: grey matter is the brightest


def flair(to_template: np.ndarray, slices: int, first: float, seed: int) -> Image:
    """A scan like FLAIR with scalp and ``slices`` of 4 mm from ``first`` mm on, of which the brain has about 45."""
    matrix = np.diag([2.0, 2.0, 4.0, 1.0])
    matrix[:3, 3] = -100, -130, first
    grid, template = Grid.of((100, 115, slices), matrix), load_template(2.0)
    away = ndimage.distance_transform_edt(~template.mask) * 2
    whole = np.where((away > 8) & (away < 14), 0.5, np.interp(template.t1, *FLAIR)).astype(np.float32)
    points = np.tensordot(to_template[:3, :3], grid.points(), 1) + to_template[:3, 3, None, None, None]
    image = sample(ndimage.gaussian_filter(whole, (0.5, 0.5, 1.5))[None], template.grid, points.astype(np.float32))[0]
    noise = np.random.default_rng(seed).normal(0, 0.02, (2, *grid.shape))
    return Image.of((600 * np.hypot(image + noise[0], noise[1])).astype(np.float32), matrix)


def test_thick_slices_of_another_contrast_and_a_first_scan_that_does_not_show_the_whole_brain() -> None:
    smaller = np.diag([1.12, 1.06, 1.1, 1.0])
    moves = [smaller @ turned((4, -3, 5), (3, -4, 2)), smaller @ turned((-5, 2, -3), (-2, 3, 4))]
    images = [flair(moves[0], 29, -62.0, 0), flair(moves[1], 46, -90.0, 1)]
    for found, move in zip(align_subject(images), moves, strict=True):
        assert apart(found, np.linalg.inv(move)) < 2
