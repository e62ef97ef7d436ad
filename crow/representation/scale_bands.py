"""What persists of a residual, by its scale in space: noise of voxels cancels in a large structure, its level does not.

A volume is the sum of bands, ``x = (x - S_1 x) + (S_1 x - S_2 x) + ... + S_m x``, with S_k a Gaussian filter inside the
mask. In band k, residuals of a subject are a random intercept (variance p_k) plus noise (variance s_k). After n
visits with the mean m, the expected next residual is ``sum_k w_k m_k`` with ``w_k = n p_k / (n p_k + s_k)``, and the
share of the variance of the intercept that is still unknown is ``sum_k (1 - w_k) p_k / sum_k p_k``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Values = NDArray[np.floating]
WIDTHS = (1.0, 2.0, 4.0, 8.0)  # voxels
MAX_SUBJECTS = 40  # with which the variances of bands are estimated


class ScaleBands:
    """Bands of volumes in ``mask [X, Y, Z]``; mean variances ``noise`` and ``persistent [len(WIDTHS) + 1]`` of each.

    Raises ValueError for other numbers of bands, and for variances that cannot be.
    """

    def __init__(self, mask: NDArray[np.bool_], noise: Values, persistent: Values) -> None:
        self.mask = mask
        self.noise, self.persistent = np.asarray(noise, np.float64), np.asarray(persistent, np.float64)
        both = np.concatenate([self.noise, self.persistent])
        if self.noise.shape != (len(WIDTHS) + 1,) or both.shape != (2 * len(self.noise),):
            raise ValueError(f"{both.shape}: expected {len(WIDTHS) + 1} bands")
        if not (np.isfinite(both) & (both >= 0)).all() or not self.noise.all():
            raise ValueError("variances of bands that are not finite, or not above 0")

    @classmethod
    def fit(cls, mask: NDArray[np.bool_], subjects: Iterable[Values]) -> ScaleBands:
        """From residuals ``[visit, V]`` of each subject, by the analysis of variance of a random intercept."""
        count = len(WIDTHS) + 1
        found = cls(mask, np.ones(count), np.zeros(count))
        within, between = np.zeros(count), np.zeros(count)
        visits = known = 0
        for own in islice(subjects, MAX_SUBJECTS):
            each = np.stack([found.split(r) for r in own])  # [visit, band, V]
            mean = each.mean(0)
            within += ((each - mean) ** 2).mean(2).sum(0)
            between += len(own) * (mean.astype(np.float64) ** 2).mean(1)
            visits, known = visits + len(own), known + 1
        noise = np.maximum(within / max(visits - known, 1), 1e-12)
        persistent = np.maximum(between / max(known, 1) - noise, 0) * known / max(visits, 1)
        return cls(mask, noise, persistent)

    def scaled(self, noise: float, persistent: float) -> ScaleBands:
        """With other variances: these times ``noise`` and ``persistent``."""
        return ScaleBands(self.mask, noise * self.noise, persistent * self.persistent)

    def split(self, values: Values) -> NDArray[np.float32]:
        """The bands of ``values [V]``, finest first, ``[band, V]``."""
        inside = self.mask[self._box]
        volume = np.zeros(inside.shape, np.float32)
        out, finer = [], np.asarray(values, np.float32)
        volume[inside] = finer
        for width, weight in zip(WIDTHS, self._weights, strict=True):
            smooth = ndimage.gaussian_filter(volume, width, mode="constant", truncate=3)[inside] / weight
            out.append(finer - smooth)
            finer = smooth
        return np.stack([*out, finer]).astype(np.float32)

    def weights(self, n: int) -> NDArray[np.float64]:
        """w_k after n visits, ``[band]``."""
        return np.asarray(n * self.persistent / (n * self.persistent + self.noise), np.float64)

    def expected(self, mean: Values, n: int) -> NDArray[np.float32]:
        """The next residual ``[V]`` after n visits whose ``mean [V]`` is given."""
        return np.tensordot(self.weights(n).astype(np.float32), self.split(mean), 1)

    def unknown(self, n: int) -> float:
        """Share of the variance of the random intercept that is unknown after n visits."""
        total = float(self.persistent.sum())
        return float(((1 - self.weights(n)) * self.persistent).sum() / total) if total > 0 else 1.0

    @cached_property
    def _box(self) -> tuple[slice, ...]:
        return tuple(ndimage.find_objects(self.mask.astype(np.uint8))[0])

    @cached_property
    def _weights(self) -> list[NDArray[np.float32]]:
        """What each filter keeps of a constant at the voxels of the mask, ``[V]``."""
        inside = self.mask[self._box]
        one = inside.astype(np.float32)
        kept = (ndimage.gaussian_filter(one, width, mode="constant", truncate=3)[inside] for width in WIDTHS)
        return [np.maximum(each, 1e-3) for each in kept]
