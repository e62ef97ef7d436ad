import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from crow.representation.residual import ResidualPrior
from crow.representation.scale_bands import WIDTHS, ScaleBands

SUBJECTS, VISITS = 12, 3


@pytest.fixture(scope="module")
def mask() -> NDArray[np.bool_]:
    axes = np.meshgrid(*[np.linspace(-1, 1, 28)] * 3, indexing="ij")
    return np.asarray(sum(axis**2 for axis in axes) < 0.9)


@pytest.fixture(scope="module")
def subjects(mask: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    """A smooth map for each subject, and noise of voxels at each visit."""
    rng = np.random.default_rng(0)
    maps = [6 * ndimage.gaussian_filter(rng.standard_normal(mask.shape), 3)[mask] for _ in range(SUBJECTS + 1)]
    return [(each + rng.standard_normal((VISITS, mask.sum()))).astype(np.float32) for each in maps]


@pytest.fixture(scope="module")
def bands(mask: NDArray[np.bool_], subjects: list[NDArray[np.float32]]) -> ScaleBands:
    return ScaleBands.fit(mask, subjects[:SUBJECTS])


def test_the_bands_of_a_volume_add_up_to_it(bands: ScaleBands, subjects: list[NDArray[np.float32]]) -> None:
    found = bands.split(subjects[0][0])
    assert found.shape == (len(WIDTHS) + 1, bands.mask.sum())
    assert np.allclose(found.sum(0), subjects[0][0], atol=1e-5)


def test_a_constant_is_in_the_coarsest_band_up_to_the_edge_of_the_mask(bands: ScaleBands) -> None:
    found = bands.split(np.full(bands.mask.sum(), 2.0))
    assert np.allclose(found[:-1], 0, atol=1e-5) and np.allclose(found[-1], 2.0, atol=1e-5)


def test_noise_is_fine_and_what_persists_is_coarse(bands: ScaleBands) -> None:
    weights = bands.weights(2)
    assert weights[0] < 0.2 and weights[3] > 0.8
    assert bands.unknown(0) == 1.0 and bands.unknown(4) < bands.unknown(1) < 1.0


def test_the_level_of_a_structure_is_not_shrunk_as_that_of_a_voxel(
    bands: ScaleBands, subjects: list[NDArray[np.float32]]
) -> None:  # fmt: skip
    """Of a subject that was not seen, both the voxels and the mean of a part are nearer to the next visit."""
    *past, after = subjects[-1]
    total, size = np.sum(past, 0), len(after)
    noise, persistent = np.ones(size, np.float32), np.full(size, subjects[-1].mean(0).var() - 1 / 3, np.float32)
    basis = np.zeros((size, 1), np.float32)
    basis[0] = 1
    scale, voxel = (ResidualPrior(basis, noise, persistent, each).mean(total, 2) for each in (bands, None))
    half = np.argwhere(bands.mask)[:, 0] < 14
    for part in (slice(None, None, 1), half):
        errors = [float(np.square((found - after)[part]).mean()) for found in (scale, voxel)]
        assert errors[0] < errors[1]
    of_part = [abs(float((found - after)[half].mean())) for found in (scale, voxel)]
    assert of_part[0] < 0.5 * of_part[1]


@pytest.mark.parametrize("noise", [[1.0] * 3, [0.0] * 5, [np.nan] * 5, [-1.0] * 5])
def test_forged_variances_are_refused(mask: NDArray[np.bool_], noise: list[float]) -> None:
    with pytest.raises(ValueError):
        ScaleBands(mask, np.array(noise), np.zeros(5))
