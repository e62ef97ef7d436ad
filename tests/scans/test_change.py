"""Measured changes of volume are not shrunk, whatever the bias field, and parts without change do not change."""

import numpy as np
import pytest
from scipy import ndimage

from crow.scans import deform
from crow.scans.change import ChangeRegistration, register_subject
from crow.scans.change_prior import ChangePrior, Unknowns, structure_fields
from crow.scans.grid import Grid
from crow.scans.region_values import label_volumes
from crow.scans.template import Template

SHAPE = (26, 28, 24)
GRID = Grid.of(SHAPE, np.diag([3.0, 3, 3, 1]))
NODES = GRID.coarser(4.0)
GROWS, STABLE, RADIUS = (30.0, 39.0, 34.0), (51.0, 42.0, 36.0), 10.0


def distance(centre):
    return np.linalg.norm(GRID.points() - np.array(centre, np.float32)[:, None, None, None], axis=0)


@pytest.fixture(scope="module")
def template():
    """A textured ball with two smaller, darker balls: labels 1, 2 (grows) and 3 (is stable)."""
    whole, grows, stable = distance((39, 42, 35)) < 33, distance(GROWS) < RADIUS, distance(STABLE) < RADIUS
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 1.2)
    t1 = np.where(whole, 0.9 + 0.05 * texture / texture.std(), 0)
    for ball, level in ((grows, 0.3), (stable, 0.5)):
        t1[ball] = level
    t1 = ndimage.gaussian_filter(t1, 0.4).astype(np.float32)
    labels = np.select([grows, stable, whole], [2, 3, 1]).astype(np.uint8)
    return Template(GRID, t1, t1, t1, whole, labels)


def growth(log_volume):
    """Displacement of points by a ball whose log volume grows; its surroundings are incompressible (Goodier 1937)."""
    r = GRID.points() - np.array(GROWS, np.float32)[:, None, None, None]
    size = np.maximum(np.linalg.norm(r, axis=0), 1e-3)
    return (log_volume / 3 * r * np.minimum(1, (RADIUS / size) ** 3)).astype(np.float32)


def scan(template, log_volume, seed, noise=0.02):
    """The template after the growth, with noise and a bias field of 10 %."""
    rng = np.random.default_rng(seed)
    bias = ndimage.gaussian_filter(rng.normal(size=SHAPE), 12)
    moved = deform.warp(template.t1, GRID, deform.exponential(growth(-log_volume), GRID), GRID)
    return (moved * np.exp(0.1 * bias / bias.std()) + noise * rng.normal(size=SHAPE)).astype(np.float32)


def log_volumes(template, velocity):
    """Log ratio of the volume of each label after a change."""
    still = np.zeros_like(velocity)
    after, before = (label_volumes(still, w, NODES, template.structures, GRID, 3) for w in (velocity, still))
    return np.log(after / before)[1:]


@pytest.mark.parametrize("seed", [1, 2])
def test_volume_changes_are_hardly_shrunk_and_are_the_same_backwards(template, seed):
    first = scan(template, 0.0, seed)
    changes = (-0.1, -0.05, 0.05, 0.1)
    exact = deform.sample(growth(0.1), GRID, NODES.points())  # as far as the grid of velocities resolves the ball
    reachable = (log_volumes(template, -exact)[1] - log_volumes(template, exact)[1]) / -0.2
    scans = [scan(template, change, 10 * seed + k) for k, change in enumerate(changes)]
    found = np.array([log_volumes(template, ChangeRegistration(first, template, NODES).velocity(s)) for s in scans])
    assert 0.75 < np.polyfit(changes, found[:, 1], 1)[0] / abs(reachable) < 1.15
    assert np.abs(found[:, 2]).max() < 0.03
    back = log_volumes(template, ChangeRegistration(scans[-1], template, NODES).velocity(first))
    assert back[1] == pytest.approx(-found[-1, 1], abs=0.03)


def test_a_gain_is_no_change(template):
    _, velocities = register_subject(np.stack([template.t1, 1.3 * template.t1]), template, NODES)
    assert np.abs(log_volumes(template, velocities[1])).max() < 0.01


def test_the_field_of_a_structure_changes_its_log_volume_by_one(template):
    fields = structure_fields(NODES, template.structures, GRID)
    found = log_volumes(template, -0.1 * fields[1])  # exp(-w) maps the template to the visit
    backwards = log_volumes(template, 0.1 * fields[1])
    assert 0.05 < abs(found[1]) < 0.12 and np.sign(found[1]) == -np.sign(backwards[1])
    assert abs(found[2]) < 0.01


@pytest.mark.parametrize("axis", [0, 2])
def test_fields_do_not_depend_on_the_direction_of_an_axis(template, axis):
    matrix = GRID.matrix
    matrix[:3, 3] += matrix[:3, axis] * (SHAPE[axis] - 1)
    matrix[:3, axis] *= -1
    flipped = Grid.of(SHAPE, matrix)
    there = structure_fields(flipped, np.flip(template.structures, axis), flipped)
    straight = structure_fields(GRID, template.structures, GRID)
    np.testing.assert_allclose(np.flip(there, axis + 2), straight, atol=0.01 * np.abs(straight).max())


def test_the_transposed_prior_is_the_transpose(template):
    prior, rng = ChangePrior(NODES, template.structures, GRID), np.random.default_rng(0)
    field, other = (rng.normal(size=(4, *NODES.shape)).astype(np.float32) for _ in range(2))
    unknowns = prior.transposed(other)
    mixed = Unknowns(unknowns.z, rng.normal(size=len(unknowns.a)), unknowns.last)
    left = float((prior.field(mixed) * field).sum(dtype=np.float64))
    assert left == pytest.approx(mixed.dot(prior.transposed(field)), rel=1e-3)
