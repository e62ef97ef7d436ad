"""Scores of masks, compared with their definitions."""

import numpy as np
import pytest

from crow.data.mask_scores import calibration_error, dice


def test_dice_by_hand() -> None:
    one, other = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert dice(one, other) == 0.5
    assert dice(one, one) == 1 and dice(one, ~one) == 0
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1


def by_bins(p: np.ndarray, y: np.ndarray, bins: int) -> float:
    """Equation 3 of Guo et al. 2017: bins of equal width, the last one closed."""
    place = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [abs(p[place == k].sum() - y[place == k].sum()) for k in range(bins)]
    return float(sum(gaps) / len(p))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_calibration_error_is_the_definition(dtype: type) -> None:
    """Probabilities of exactly 0 and 1 included."""
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.beta(0.3, 0.3, 5000), np.zeros(50), np.ones(50)]).astype(dtype)
    y = rng.random(len(p)) < p**2
    y[-5:] = False
    assert calibration_error(p, y) == pytest.approx(by_bins(p.astype(float), y, 15), abs=1e-9)
    assert calibration_error(p.reshape(2, -1), y.reshape(2, -1), bins=4) == pytest.approx(
        by_bins(p.astype(float), y, 4), abs=1e-9
    )


def test_a_calibrated_probability_has_a_small_error() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(100_000)
    assert calibration_error(p, rng.random(len(p)) < p) < 0.01
    assert calibration_error(np.full(100, 0.9), np.zeros(100, bool)) == pytest.approx(0.9)
