"""Deviations of a scan are in sd of the errors of this pair of scans, and show lesions."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import rankdata

from crow.representation.scan_deviation import deviation
from crow.scans.grid import Grid

SIZE, MM = 40, 3.0
GRID = Grid.of((SIZE,) * 3, np.diag([MM, MM, MM, 1.0]))
X = (np.indices(GRID.shape) - SIZE / 2) / (SIZE / 2)
MASK = (X**2).sum(0) < 0.8
LESION = ((X - np.array([0.3, 0.1, 0.0])[:, None, None, None]) ** 2).sum(0) < 0.15**2
NOISE = 0.05


@dataclass(frozen=True)
class Pair:
    """A scan and the one observed after it, with a bias field, ``noise``, a ``shift`` (mm) and a lesion."""

    noise: float = NOISE
    shift: float = 0.0
    bias: float = 0.0
    lesion: float = 0.0

    def images(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rng = np.random.default_rng(0)
        texture = ndimage.gaussian_filter(rng.standard_normal(GRID.shape), 2)
        head = np.where(MASK, 1 + 0.3 * texture / texture.std(), 0.2).clip(0.1)
        moved = ndimage.shift(head, (0, 0, self.shift / MM), order=3, mode="nearest")
        noise = self.noise * rng.standard_normal(GRID.shape)
        observed = (moved + self.lesion * LESION) * np.exp(self.bias * X[1]) + noise
        return head.astype(np.float32), np.maximum(observed, 1e-3).astype(np.float32)

    def z(self) -> NDArray[np.float32]:
        expected, observed = self.images()
        return deviation(observed, expected, *(np.full(GRID.shape, v, np.float32) for v in (0, NOISE**2)), GRID, MASK)


def auc(values: NDArray[np.floating]) -> float:
    lesion = LESION[MASK]
    ranks, n = rankdata(values[MASK]), lesion.sum()
    return float((ranks[lesion].sum() - n * (n + 1) / 2) / (n * (~lesion).sum()))


@pytest.mark.parametrize(
    "pair", [Pair(), Pair(noise=0.1), Pair(noise=0.01), Pair(shift=0.8), Pair(bias=0.2), Pair(lesion=0.5)], ids=str
)
def test_errors_of_any_scanner_have_unit_size(pair: Pair) -> None:
    z = pair.z()
    usual = z[MASK & ~LESION]
    assert 0.9 < usual.std() < 1.1
    assert 0.86 < (np.abs(usual) < 1.645).mean() < 0.94
    assert (z[~MASK] == 0).all()


@pytest.mark.parametrize("pair", [Pair(shift=0.8), Pair(bias=0.2), Pair(shift=0.8, bias=0.2, noise=0.03)], ids=str)
def test_lesions_stand_out_better_than_in_the_difference(pair: Pair) -> None:
    pair = Pair(pair.noise, pair.shift, pair.bias, lesion=0.2)
    expected, observed = pair.images()
    plain = observed * (expected[MASK].mean() / observed[MASK].mean()) - expected
    assert auc(np.abs(pair.z())) > auc(np.abs(plain)) + 0.02


def test_a_large_lesion_is_not_taken_for_a_bias_field() -> None:
    assert np.median(Pair(noise=0.05, lesion=0.4).z()[LESION]) > 0.9 * 0.4 / 0.05


def test_voxels_outside_a_field_of_view_are_0() -> None:
    expected, observed = Pair().images()
    observed[:, :, :15], expected[:, :, 30:] = 0, 0
    noise = np.full(GRID.shape, NOISE**2, np.float32)
    z = deviation(observed, expected, 0 * noise, noise, GRID, MASK)
    assert (z[:, :, :15] == 0).all() and (z[:, :, 30:] == 0).all()
    assert 0.9 < z[z != 0].std() < 1.1
    assert (deviation(0 * observed, expected, 0 * noise, noise, GRID, MASK) == 0).all()


def test_a_black_lesion_is_seen_and_what_no_scan_shows_is_not() -> None:
    expected, observed = Pair().images()
    observed[LESION] = 0.0
    observed[:10] = 0.0  # outside the field of view
    z = deviation(observed, expected, *(np.full(GRID.shape, v, np.float32) for v in (0, NOISE**2)), GRID, MASK)
    assert z[LESION].max() < -5
    assert not z[:10].any()
