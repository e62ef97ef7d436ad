"""Deviation of a scan from the expected one in sd, with the errors that this pair of scans has.

Training scans do not tell the noise, the bias field and the slice thickness of another scanner. With e the expected
scan, f the observed one, and v the variance of e by its deformation,

    f = b e + error,    var(error) = v + r m^2 + s n^2 + d^2 |grad e|^2,

where b is a slow gain (the ratio of the bias fields), n the noise of the training scans, which differs by voxel, m^2
the mean of n^2, r and s their scales in this pair, and d the misalignment (mm) of its voxels. b, r, s and d are
estimated from all voxels, robustly, so that a lesion changes none of them. n contains the bias fields of the training
scans, which here are in b; s may be 0. The gradient is that of e: a lesion of f must not hide in its own edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import nnls

from crow.scans.grid import Grid
from crow.scans.rigid import TUKEY

Volume = NDArray[np.float32]

SLOW = 24.0  # mm: width of the window in which the gain is constant
STEPS = 4
MAX_SQUARE = 9.0  # in variances, beyond which errors do not count further
OF_NORMAL = 0.972  # mean of min(x^2, 9) of a standard normal x
MIN_SCALE = 1e-3


def deviation(
    observed: Volume, expected: Volume, deformation: Volume, noise: Volume, grid: Grid, mask: NDArray[np.bool_]
) -> Volume:
    """z ``[X, Y, Z]`` of ``observed`` around ``expected``; 0 outside the mask and where a scan has no signal.

    ``deformation`` is the variance v and ``noise`` n^2, all on ``grid``. A scan is 0 outside its field of view.
    """
    inside = mask & ndimage.binary_fill_holes(observed > 0) & (expected > 0)
    if not inside.any():
        return np.zeros(grid.shape, np.float32)
    expected = _slow_gain(observed, expected, deformation + noise, grid, inside) * expected
    error = observed - expected
    steep = sum(np.square(np.gradient(expected, axis=axis) / grid.spacing[axis]) for axis in range(3))
    n = noise[inside].astype(np.float64)
    parts = np.stack([np.full_like(n, n.mean()), n, steep[inside]], 1)
    scales = _scales(error[inside].astype(np.float64) ** 2, deformation[inside], parts)
    out = np.zeros(grid.shape, np.float32)
    out[inside] = error[inside] / np.sqrt(deformation[inside] + parts @ scales)
    return out


def _slow_gain(
    observed: Volume, expected: Volume, variance: Volume, grid: Grid, inside: NDArray[np.bool_]
) -> Volume:
    """b: least squares of f on e in Gaussian windows, weighted by Tukey's biweight of the error."""
    sigma = SLOW / grid.spacing
    e, f = (np.where(inside, image, 0) for image in (expected, observed))
    weight = np.where(inside, 1 / np.maximum(variance, 1e-12), 0).astype(np.float32)
    trust, b = inside.astype(np.float32), np.ones_like(e)
    for _ in range(STEPS):
        w = weight * trust * e
        above, below = (ndimage.gaussian_filter(w * image, sigma, truncate=3) for image in (f, e))
        b = above / np.maximum(below, 1e-6 * float(below.max()))
        r = (f - b * e) * np.sqrt(weight)
        limit = TUKEY * (1.4826 * float(np.median(np.abs(r[inside]))) + 1e-6)
        trust = np.where(inside & (np.abs(r) < limit), (1 - (r / limit) ** 2) ** 2, 0).astype(np.float32)
    return b


def _scales(square: NDArray[np.float64], known: Volume, parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """r, s and d^2, at least 0, with E[square] = known + parts @ scales for the errors that are not outliers."""
    scales = np.array([0.5, 0.5, 0.0])
    for _ in range(2 * STEPS):
        variance = known + parts @ scales
        counted = np.minimum(square, MAX_SQUARE * variance) / OF_NORMAL - known
        scales, _ = nnls(parts / variance[:, None], counted / variance)
        scales[0] = max(scales[0], MIN_SCALE)
    return np.asarray(scales)
