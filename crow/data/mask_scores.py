"""How good probabilities of masks are: overlap, and calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """``2 |A and B| / (|A| + |B|)``, the F1 of voxels; 1 where both are empty."""
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


def calibration_error(probability: NDArray[Any], truth: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: the mean over voxels of |mean probability - share of truth| in their bin.

    ``bins`` of even width. Source: Guo et al., On calibration of modern neural networks, 2017, equation 3 (with the
    probability of the mask in place of that of the likelier class).
    """
    p, y = np.asarray(probability, np.float64).ravel(), np.asarray(truth).ravel()
    place = np.minimum((p * bins).astype(int), bins - 1)
    gap = np.bincount(place, p, bins) - np.bincount(place, y, bins)
    return float(np.abs(gap).sum() / len(p))
