"""Registration recovers known deformations, whatever the gain and bias field of a scan."""

import numpy as np
import pytest
from scipy import ndimage

from crow.scans import deform
from crow.scans.change import register_subject
from crow.scans.grid import Grid
from crow.scans.template import Template

SHAPE = (26, 28, 24)
AFFINE = np.diag([3.0, 3, 3, 1])


def smooth(rng, width):
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), width)
    return (noise / noise.std()).astype(np.float32)


@pytest.fixture(scope="module")
def grid():
    return Grid.of(SHAPE, AFFINE)


@pytest.fixture(scope="module")
def template(grid):
    """A ball of blobs."""
    rng = np.random.default_rng(0)
    ball = np.linalg.norm(np.indices(SHAPE) - np.array([12.5, 13.5, 11.5])[:, None, None, None], axis=0) < 10
    t1 = np.where(ball, 0.6 + 0.15 * smooth(rng, 1.2), 0).astype(np.float32)
    return Template(grid, t1, t1, t1, ball, ball.astype(np.uint8))


@pytest.fixture(scope="module")
def subject(grid, template):
    """Anatomy, change and four scans: without change, with it, with twice as much, and with it, gain and bias."""
    rng = np.random.default_rng(1)
    anatomy = np.stack([2.5 * smooth(rng, 5) for _ in range(3)])
    change = np.stack(np.gradient(smooth(rng, 4)))  # tissue that shrinks or grows does not rotate
    change = (0.15 * change / change.std()).astype(np.float32)  # mm, as in a year or two
    scans = []
    for amount, bias in [(0, 0), (1, 0), (2, 0), (1, 0.1)]:
        moved = deform.compose(deform.exponential(amount * change, grid), deform.exponential(anatomy, grid), grid)
        scan = deform.warp(template.t1, grid, moved, grid)
        scans.append(scan * (1 + bias + bias * smooth(rng, 8)) + 0.005 * rng.normal(size=SHAPE))
    return anatomy, change, np.stack(scans).astype(np.float32)


@pytest.fixture(scope="module")
def registered(template, subject, grid):
    return register_subject(subject[2], template, grid.coarser(4.5))


def test_the_anatomy_makes_the_template_of_the_scan(template, subject, registered, grid):
    scan, inside = subject[2][0], template.mask
    psi, _ = registered
    found = deform.warp(scan, grid, psi, grid.coarser(4.5))
    assert np.corrcoef(template.t1[inside], scan[inside])[0, 1] < 0.8
    assert np.corrcoef(template.t1[inside], found[inside])[0, 1] > 0.85
    assert deform.jacobian(psi, grid.coarser(4.5)).min() > 0


@pytest.mark.parametrize("visit, amount", [(1, 1), (2, 2), (3, 1)])
def test_velocities_are_those_of_the_template(subject, template, registered, grid, visit, amount):
    nodes = grid.coarser(4.5)
    inside = deform.sample(template.mask[None].astype(np.float32), grid, nodes.points())[0] > 0.9
    true = amount * deform.sample(subject[1], grid, nodes.points())[:, inside]
    found = registered[1][visit][:, inside]
    assert np.corrcoef(true.ravel(), found.ravel())[0, 1] > 0.65
    assert 0.5 < (true * found).sum() / (true**2).sum() < 1.2


def test_velocities_are_zero_for_the_first_visit_and_if_disabled(template, subject, registered, grid):
    assert (registered[1][0] == 0).all()
    _, velocities = register_subject(subject[2][:2], template, grid.coarser(4.5), velocities=False)
    assert velocities.shape == (2, 3, *grid.coarser(4.5).shape)
    assert (velocities == 0).all()


def test_an_empty_scan_gives_finite_fields(template, grid):
    psi, velocities = register_subject(np.zeros((2, *SHAPE), np.float32), template, grid.coarser(4.5))
    assert np.isfinite(psi).all()
    assert np.isfinite(velocities).all()
