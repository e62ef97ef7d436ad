"""Scores of predicted masks: overlap and calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

BINS = 15


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """``2 |A and B| / (|A| + |B|)``, the F1 score over voxels; 1 if both masks are empty."""
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


def calibration_error(probability: NDArray[Any], truth: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error of the probability of a mask.

    The mean over voxels of |mean probability - share of truth| in their bin, by torchmetrics.

    Parameters
    ----------
    probability : array
        Between 0 and 1, any shape.
    truth : array of bool
        The true mask, in the same shape.
    bins : int
        Number of bins of equal width.

    References
    ----------
    Guo et al., On calibration of modern neural networks, 2017, equation 3, with the probability of the mask in place of
    the probability of the predicted class.
    """
    from torchmetrics.functional.classification import binary_calibration_error  # imports many other metrics

    p = torch.as_tensor(np.asarray(probability, np.float64).ravel())
    # torchmetrics would put a probability of exactly 1 into a bin of its own.
    p = p.clamp_max(1 - torch.finfo(p.dtype).eps)
    y = torch.as_tensor(np.asarray(truth).ravel().astype(np.int64))
    return float(binary_calibration_error(p, y, n_bins=bins, norm="l1"))
