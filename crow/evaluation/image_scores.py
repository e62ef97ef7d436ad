"""Scores of a forecast scan: by voxel, as an image, and of the change alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scoringrules
import torch
from numpy.typing import NDArray
from scipy import stats

from crow.bijections.normal import LOG_2PI
from crow.evaluation.forecasts import COVERED
from crow.extras import extra

Volume = NDArray[np.floating]
PIT_BINS = 20
SMALLEST_SD = 1e-6
WINDOW = 7  # voxels of SSIM's Gaussian window, whose sd is 1.5


class VoxelForecast(NamedTuple):
    """A forecast scan ``[X, Y, Z]``: mean and sd of every voxel, and the expected change since the last scan."""

    mean: Volume
    sd: Volume
    change: Volume


def image_scores(
    expected: VoxelForecast, last: Volume, real: Volume, mask: NDArray[np.bool_]
) -> tuple[dict[str, float], NDArray[np.int64]]:
    """Score a forecast scan over the voxels of a mask.

    Parameters
    ----------
    expected : VoxelForecast
        The forecast, as N(mean, sd^2) of each voxel.
    last, real : ndarray of shape [X, Y, Z]
        The last given scan and the real scan at the forecast time.
    mask : ndarray of bool of shape [X, Y, Z]
        The voxels that count.

    Returns
    -------
    scores : dict of str to float
        ``MAE``, ``RMSE``, ``PSNR`` (dB) and ``SSIM`` of the mean (data range: the real scan's 99.9 % quantile); ``NLL``
        (nats) and ``CRPS`` per voxel and the coverage of central intervals; ``change RMSE`` and ``change correlation``
        (0 if no change is expected) of the change, compared with that of the real scans, which contains the noise of
        both.
    counts : ndarray of shape [bin]
        Voxels with their PIT in each of 20 bins.
    """
    mean, sd, truth = (np.asarray(part[mask], np.float64) for part in (expected.mean, expected.sd, real))
    sd = np.maximum(sd, SMALLEST_SD)
    z = (truth - mean) / sd
    moved, change = (np.asarray(part[mask], np.float64) for part in (real - last, expected.change))
    top = float(np.quantile(truth, 0.999, method="linear"))
    rmse = float(np.sqrt(np.mean((truth - mean) ** 2)))
    scores = {
        "MAE": float(np.abs(truth - mean).mean()), "RMSE": rmse,
        "PSNR": float(20 * np.log10(max(top, 1e-12) / max(rmse, 1e-12))), "SSIM": ssim(expected.mean, real, mask, top),
        "NLL": float(np.mean(0.5 * z**2 + np.log(sd)) + 0.5 * LOG_2PI),
        "CRPS": float(np.mean(scoringrules.crps_normal(truth, mean, sd))),
        **{f"coverage {100 * share:.0f} %": float((np.abs(z) <= stats.norm.ppf(0.5 + share / 2)).mean())
           for share in COVERED},
        "change RMSE": float(np.sqrt(np.mean((moved - change) ** 2))), "change correlation": correlation(change, moved),
    }  # fmt: skip
    counts, _ = np.histogram(stats.norm.cdf(z), PIT_BINS, (0.0, 1.0))
    return scores, counts


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson correlation; 0 if one of them is constant."""
    if np.ptp(a) <= 1e-9 or np.ptp(b) <= 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def ssim(a: Volume, b: Volume, mask: NDArray[np.bool_], top: float) -> float:
    """Mean structural similarity in three dimensions (Wang et al. 2004), over windows whose centre is in the mask.

    ``top`` is the data range. NaN if a side of the volume is shorter than the window.
    """
    with extra("scans"):
        from monai.metrics.regression import compute_ssim_and_cs  # takes seconds to import

    edge = WINDOW // 2
    inner = mask[edge:-edge, edge:-edge, edge:-edge]
    if min(mask.shape) < WINDOW or not inner.any() or top <= 0:
        return float("nan")
    one, other = (torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None] for image in (a, b))
    full, _ = compute_ssim_and_cs(
        one, other, spatial_dims=3, kernel_size=[WINDOW] * 3, kernel_sigma=[1.5] * 3, data_range=top,
        kernel_type="gaussian",
    )  # fmt: skip
    return float(full[0, 0].numpy()[inner].mean(dtype=np.float64))
