"""Draws of spatially correlated noise have the variance of voxels and of means of structures of the fitted errors."""

import numpy as np
import pytest
from scipy import ndimage

from crow.representation.spatial_noise import SpatialNoise

MASK = np.linalg.norm(np.indices((24, 26, 22)) - np.array([12, 13, 11])[:, None, None, None], axis=0) < 10
BLOCK = (np.indices(MASK.shape) // 5 == 2).all(0)[MASK]


def errors(width, white, count=40):
    """Standard normal voxels: a mixture of white and smoothed noise."""
    rng = np.random.default_rng(0)
    out = []
    for _ in range(count):
        smooth = ndimage.gaussian_filter(rng.normal(size=(48, 48, 48)), width)
        smooth = smooth[tuple(slice(12, 12 + n) for n in MASK.shape)][MASK] / smooth.std()
        out.append(np.sqrt(white) * rng.normal(size=MASK.sum()) + np.sqrt(1 - white) * smooth)
    return np.stack(out)


@pytest.mark.parametrize("width, white", [(1.5, 0.5), (4.0, 0.8), (0.8, 0.0)])
def test_means_of_structures_vary_as_those_of_the_errors(width, white):
    real = errors(width, white)
    noise, rng = SpatialNoise.fit(MASK, iter(real)), np.random.default_rng(1)
    drawn = np.stack([noise.sample(rng) for _ in range(150)])
    assert drawn.std() == pytest.approx(1, abs=0.05)
    assert drawn[:, BLOCK].mean(1).std() == pytest.approx(errors(width, white, 300)[:, BLOCK].mean(1).std(), rel=0.2)
    assert drawn[:, BLOCK].mean(1).std() > 3 / np.sqrt(BLOCK.sum())


def test_independent_voxels_stay_independent():
    rng = np.random.default_rng(0)
    noise = SpatialNoise.fit(MASK, iter(rng.normal(size=(30, MASK.sum()))))
    drawn = np.stack([noise.sample(rng) for _ in range(150)])
    assert drawn[:, BLOCK].mean(1).std() == pytest.approx(1 / np.sqrt(BLOCK.sum()), rel=0.25)


def test_errors_that_are_all_zero_give_white_noise():
    assert SpatialNoise.fit(MASK, iter(np.zeros((2, MASK.sum())))).weights[0] == 1
