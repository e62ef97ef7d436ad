"""Deformations against their definitions, in float64 on a small oblique grid."""

import numpy as np
import pytest
from scipy import ndimage

from crow.scans import deform
from crow.scans.grid import Grid

SHAPE = (26, 28, 24)


@pytest.fixture
def grid():
    """Voxels of 3 x 2.5 x 3 mm; the first axis points left, the others are rotated."""
    turn = np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-3, 2.5, 3])
    affine[:3, 3] = [37, -35, -34]
    return Grid.of(SHAPE, affine)


def smooth_field(seed, largest, width=6.0):
    """A smooth random field ``[3, x, y, z]`` with a largest value of ``largest`` mm, 0 towards the border."""
    rng = np.random.default_rng(seed)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=SHAPE), width, mode="constant") for _ in range(3)])
    axes = [np.sin(np.linspace(0, np.pi, n)) ** 2 for n in SHAPE]
    field *= axes[0][:, None, None] * axes[1][:, None] * axes[2]
    return field * largest / np.abs(field).max()


def size(field):
    """Root mean square away from the border."""
    return np.sqrt((field[..., 3:-3, 3:-3, 3:-3] ** 2).mean())


def test_sample_is_linear_between_voxels_and_extends_outside(grid):
    x = grid.points().astype(np.float64)
    values = np.stack([2 * x[0] - x[1] + 3, x[2]])
    step = (grid.matrix[:3, :3] @ np.array([0.3, 0.6, 0.1]))[:, None, None, None]
    between = x[:, :-1, :-1, :-1] + step
    expected = np.stack([2 * between[0] - between[1] + 3, between[2]])
    np.testing.assert_allclose(deform.sample(values, grid, between), expected, atol=1e-4)
    far = np.full((3, 1), 1e3)
    assert deform.sample(values, grid, far, outside="zeros") == pytest.approx(0)
    assert deform.sample(values, grid, far)[0] != pytest.approx(0)


def test_exponential_follows_the_flow(grid):
    velocity = smooth_field(0, 4)
    x = grid.points().astype(np.float64)
    at = x.copy()
    for _ in range(200):
        middle = at + deform.sample(velocity, grid, at) / 400
        at = at + deform.sample(velocity, grid, middle) / 200
    displacement = deform.exponential(velocity, grid)
    assert size(displacement - (at - x)) < 0.03 * size(displacement)
    assert size(displacement - velocity) > 0.05 * size(displacement)


def test_exponential_of_minus_v_is_the_inverse(grid):
    velocity = smooth_field(1, 4)
    there, back = deform.exponential(velocity, grid), deform.exponential(-velocity, grid)
    assert size(deform.compose(there, back, grid)) < 0.03 * size(there)
    assert size(deform.invert(there, grid) - back) < 0.03 * size(there)


def test_inverse_composes_to_the_identity(grid):
    displacement = smooth_field(2, 5)
    assert deform.jacobian(displacement, grid).min() > 0
    assert np.abs(deform.compose(displacement, deform.invert(displacement, grid), grid)).max() < 1e-3


def test_jacobian_of_an_affine_map_is_its_determinant(grid):
    matrix = np.array([[0.1, 0.05, 0], [-0.02, -0.1, 0.03], [0, 0.1, 0.2]])
    displacement = np.tensordot(matrix, grid.points().astype(np.float64), 1)
    expected = np.linalg.det(np.eye(3) + matrix)
    np.testing.assert_allclose(deform.jacobian(displacement, grid), expected, rtol=1e-5)


def test_jacobian_gives_the_volume_of_a_warped_structure(grid):
    displacement = smooth_field(3, 4)
    x = grid.points()
    ball = np.linalg.norm(x - x[:, 13:14, 14:15, 12:13], axis=0) < 14
    ball = ndimage.gaussian_filter(ball.astype(float), 1)
    back = deform.warp(ball, grid, deform.invert(displacement, grid), grid)
    assert (ball * deform.jacobian(displacement, grid)).sum() == pytest.approx(back.sum(), rel=0.01)


def test_transport_is_conjugation_and_invertible(grid):
    velocity, psi = smooth_field(4, 3), smooth_field(5, 4)
    inverse = deform.invert(psi, grid)
    moved = deform.transport(velocity, psi, grid)
    conjugated = deform.compose(inverse, deform.compose(deform.exponential(velocity, grid), psi, grid), grid)
    assert size(deform.exponential(moved, grid) - conjugated) < 0.08 * size(conjugated)
    assert size(deform.transport(moved, inverse, grid) - velocity) < 0.08 * size(velocity)


@pytest.mark.parametrize("chunk", [1 << 20, 1000])
def test_warp_works_slab_by_slab_and_across_grids(grid, chunk, monkeypatch):
    monkeypatch.setattr(deform, "CHUNK", chunk)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = [-24, -26, -20]
    fine = Grid.of((25, 26, 22), affine)
    x = fine.points()
    image = (0.5 * x[0] + x[1] - x[2]).astype(np.float32)
    displacement = np.zeros((3, *SHAPE), np.float32)
    displacement[1] = 1.5
    warped = deform.warp(image, fine, displacement, grid)
    np.testing.assert_allclose(warped[:, :-1], image[:, :-1] + 1.5, atol=1e-3)
    assert warped.dtype == np.float32
    assert deform.warp(image, fine, displacement, grid, target=grid).shape == SHAPE
