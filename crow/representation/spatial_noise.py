"""Noise that is correlated between neighbouring voxels, as that of reconstructed and resampled scans is.

At a distance of d voxels, the correlation is sum_i w_i exp(-d^2 / (4 s_i^2)): a mixture of white noise smoothed by
Gaussian filters of width s_i (s = 0: white noise). Draws of independent voxels have means of regions that vary far too
little.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import nnls

Values = NDArray[np.floating]
WIDTHS = (0.0, 0.7, 1.5, 3.0, 6.0, 12.0)  # voxels
LAGS = (0, 1, 2, 3, 4, 6, 8, 12, 16)  # voxels


class SpatialNoise:
    """Standard normal voxels of ``mask [X, Y, Z]``; ``weights [len(WIDTHS)]`` of the mixture sum to 1."""

    def __init__(self, mask: NDArray[np.bool_], weights: NDArray[np.floating]) -> None:
        self.mask, self.weights = mask, np.asarray(weights, np.float64)
        self.box = ndimage.find_objects(mask.astype(np.uint8))[0]

    @classmethod
    def fit(cls, mask: NDArray[np.bool_], errors: Iterable[Values]) -> SpatialNoise:
        """From standardised ``errors [V]``, by their autocorrelation along the axes (non-negative least squares)."""
        products, counts = np.zeros(len(LAGS)), np.zeros(len(LAGS))
        for each in errors:
            volume = np.zeros(mask.shape, np.float32)
            volume[mask] = each
            for k, lag in enumerate(LAGS):
                for axis in range(3):
                    if lag < mask.shape[axis]:
                        ahead, behind = (_shifted(axis, start, mask.shape[axis] - lag + start) for start in (lag, 0))
                        both = mask[ahead] & mask[behind]
                        products[k] += float((volume[ahead] * volume[behind])[both].sum(dtype=np.float64))
                        counts[k] += both.sum()
        if products[0] <= 0:
            return cls.white(mask)
        found = products / np.maximum(counts, 1) / (products[0] / counts[0])
        # The number of pairs of voxels grows with the square of the distance, and with it their share in a mean.
        importance = np.maximum(np.array(LAGS), 1.0)
        design = np.stack([_correlation(width) for width in WIDTHS], 1)
        weights = nnls(design * importance[:, None], found * importance)[0]
        if weights.sum() <= 0:
            return cls.white(mask)
        return cls(mask, weights / weights.sum())

    @classmethod
    def white(cls, mask: NDArray[np.bool_]) -> SpatialNoise:
        """Independent voxels."""
        return cls(mask, np.eye(len(WIDTHS))[0])

    def sample(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """A draw, ``[V]``."""
        size = int(self.mask.sum())
        out = np.sqrt(self.weights[0]) * generator.standard_normal(size, dtype=np.float32)
        inside = self.mask[self.box]
        for width, weight in zip(WIDTHS[1:], self.weights[1:], strict=True):
            if weight > 0:
                white = generator.standard_normal(inside.shape, dtype=np.float32)
                smooth = ndimage.gaussian_filter(white, width, mode="wrap", truncate=3)[inside]
                out += np.sqrt(weight) * smooth / max(float(smooth_sd(width, inside.shape)), 1e-6)
        return np.asarray(out, np.float32)


def smooth_sd(width: float, shape: tuple[int, ...]) -> float:
    """The sd of white noise of variance 1 after the filter of `SpatialNoise.sample`."""
    out = 1.0
    for size in shape:
        impulse = np.zeros(size, np.float64)
        impulse[0] = 1
        out *= float((ndimage.gaussian_filter1d(impulse, width, mode="wrap", truncate=3) ** 2).sum())
    return float(np.sqrt(out))


def _correlation(width: float) -> Values:
    d = np.array(LAGS, float)
    return (d == 0).astype(float) if width == 0 else np.exp(-(d**2) / (4 * width**2))


def _shifted(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return tuple(slice(start, stop) if k == axis else slice(None) for k in range(3))
