"""Noise that is correlated between neighbouring voxels, as that of reconstructed and resampled scans is.

At a distance of d voxels, the correlation is sum_i w_i exp(-d^2 / (4 s_i^2)): a mixture of white noise smoothed by
Gaussian filters of width s_i (s = 0: white noise). Draws of independent voxels have means of structures that vary far
too little. The means of the structures of the template vary as in the errors that the noise is fitted to, because some
vary more than neighbouring voxels explain: those beside moving borders, and that of the reference region less.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import nnls

Values = NDArray[np.floating]
WIDTHS = (0.0, 0.7, 1.5, 3.0, 6.0, 12.0)  # voxels
LAGS = (0, 1, 2, 3, 4, 6, 8, 12, 16)  # voxels


class StructureMeans(NamedTuple):
    """Weighted means of structures: ``labels [V]`` (0 is none), ``sd [S]`` of those of the labels 1 to S.

    The mean of structure s is ``a_s' e`` of errors e ``[V]``; ``a_s [V]`` are the weights of its voxels, of norm 1.
    """

    labels: NDArray[np.integer]
    weights: NDArray[np.float32]
    sd: Values

    @classmethod
    def of(cls, labels: NDArray[np.integer], weights: Values) -> StructureMeans:
        """For weights of any norm; the sd is that of independent voxels, 1."""
        size = int(labels.max(initial=0)) + 1
        norm = np.sqrt(np.bincount(labels, weights.astype(np.float64) ** 2, size))
        scaled = weights / np.maximum(norm, 1e-12)[labels]
        return cls(labels, np.where(labels > 0, scaled, 0).astype(np.float32), np.ones(size - 1))

    def means(self, values: Values) -> Values:
        """``a_s' values`` of every structure, ``[S]``."""
        return np.bincount(self.labels, self.weights * values, len(self.sd) + 1)[1:].astype(np.float64)

    def replaced(self, values: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        """``values`` with new means, drawn with their sds."""
        difference = self.sd * generator.standard_normal(len(self.sd)) - self.means(values)
        return values + self.weights * np.r_[0.0, difference].astype(np.float32)[self.labels]


class SpatialNoise:
    """Standard normal voxels of ``mask [X, Y, Z]``; ``weights [len(WIDTHS)]`` of the mixture sum to 1."""

    def __init__(
        self, mask: NDArray[np.bool_], weights: NDArray[np.floating], structures: StructureMeans | None = None
    ) -> None:
        self.mask, self.weights, self.structures = mask, np.asarray(weights, np.float64), structures
        self.box = ndimage.find_objects(mask.astype(np.uint8))[0]

    @classmethod
    def fit(
        cls, mask: NDArray[np.bool_], errors: Iterable[Values], structures: StructureMeans | None = None
    ) -> SpatialNoise:
        """From standardised ``errors [V]``, by their autocorrelation along the axes (non-negative least squares).

        The sds of ``structures`` become those in the errors, of an sd of 1 per voxel.
        """
        products, counts = np.zeros(len(LAGS)), np.zeros(len(LAGS))
        squares = []
        for each in errors:
            if structures is not None:
                squares.append(structures.means(each) ** 2 / max(float(np.mean(np.square(each))), 1e-12))
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
        if structures is not None:
            structures = structures._replace(sd=np.sqrt(np.mean(squares, 0)))
        return cls(mask, weights / weights.sum(), structures)

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
        found = np.asarray(out, np.float32)
        return found if self.structures is None else self.structures.replaced(found, generator)


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
