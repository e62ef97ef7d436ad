"""Scores of a forecast scan: by hand, by a second implementation, and for draws of a known distribution."""

import numpy as np
import pytest
from scipy import ndimage, stats

from crow.evaluation.image_scores import VoxelForecast, image_scores, ssim

SHAPE = (14, 15, 16)


def drawn(seed: int = 0):
    rng = np.random.default_rng(seed)
    last = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2) + 1
    change = -0.2 * np.indices(SHAPE)[0] / SHAPE[0]
    sd = rng.uniform(0.05, 0.2, SHAPE)
    return last, change, sd, last + change + sd * rng.normal(size=SHAPE)


def test_errors_by_hand() -> None:
    mask = np.zeros((1, 1, 4), bool)
    mask[0, 0, :3] = True
    rows = ([1, 1, 1, 9], [2, 2, 2, 9], [2, 3, 5, 0], [1, 2, 3, 1])
    last, mean, real, sd = (np.array([[row]], float) for row in rows)
    scores, pit = image_scores(VoxelForecast(mean, sd, mean - last), last, real, mask)
    assert scores["MAE"] == pytest.approx(4 / 3) and scores["RMSE"] == pytest.approx(np.sqrt(10 / 3))
    assert scores["PSNR"] == pytest.approx(10 * np.log10(np.quantile([2, 3, 5], 0.999) ** 2 / (10 / 3)))
    assert scores["NLL"] == pytest.approx(-stats.norm.logpdf([2, 3, 5], 2, [1, 2, 3]).mean())
    assert scores["coverage 50 %"] == pytest.approx(2 / 3) and scores["coverage 80 %"] == 1
    assert scores["change RMSE"] == scores["RMSE"] and scores["change correlation"] == 0
    assert pit.sum() == 3 and pit[16] == 1  # z = 1 lies at 0.841


def test_the_true_forecast_is_calibrated_and_better_than_a_too_narrow_or_too_wide_one() -> None:
    last, change, sd, real = drawn()
    mask = np.ones(SHAPE, bool)
    true, narrow, wide = (
        image_scores(VoxelForecast(last + change, factor * sd, change), last, real, mask) for factor in (1, 0.5, 2)
    )
    for share in (50, 80, 90, 95):
        assert true[0][f"coverage {share} %"] == pytest.approx(share / 100, abs=0.02)
    assert np.abs(true[1] / true[1].sum() - 0.05).max() < 0.015
    for measure in ("NLL", "CRPS"):
        assert true[0][measure] < min(narrow[0][measure], wide[0][measure])
    still = image_scores(VoxelForecast(last, sd, 0 * last), last, real, mask)[0]
    assert still["change correlation"] == 0 < 0.2 < true[0]["change correlation"]


def test_ssim_equals_its_formula() -> None:
    *_, a = drawn(1)
    *_, b = drawn(2)
    mask = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 2) > 0
    window = np.exp(-((np.arange(7) - 3) ** 2) / (2 * 1.5**2))

    def mean(x: np.ndarray) -> np.ndarray:
        for axis in range(3):
            x = ndimage.correlate1d(x, window / window.sum(), axis, mode="nearest")
        return x

    mu, nu = mean(a), mean(b)
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    structure = (2 * (mean(a * b) - mu * nu) + c2) / (mean(a**2) - mu**2 + mean(b**2) - nu**2 + c2)
    full = structure * (2 * mu * nu + c1) / (mu**2 + nu**2 + c1)
    inner = np.zeros(SHAPE, bool)
    inner[3:-3, 3:-3, 3:-3] = True
    assert ssim(a, b, mask, 2.0) == pytest.approx(full[inner & mask].mean(), abs=1e-5)
    assert ssim(a, a, mask, 2.0) == pytest.approx(1) and np.isnan(ssim(a[:6], b[:6], mask[:6], 2.0))
