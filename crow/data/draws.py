"""Summaries of draws of scans, whose memory is that of a slice of each draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Draws = NDArray[np.float32]


def median_of(draws: Draws) -> Draws:
    """The median of ``draws [n, first axis, ...]``."""
    out: Draws = np.empty(draws.shape[1:], np.float32)
    for k in range(draws.shape[1]):
        out[k] = np.median(draws[:, k], 0)
    return out


def sd_of(draws: Draws) -> Draws:
    """The sd of ``draws [n, first axis, ...]``, with n - 1 in the denominator; 0 of one draw."""
    out: Draws = np.zeros(draws.shape[1:], np.float32)
    for k in range(draws.shape[1] if len(draws) > 1 else 0):
        out[k] = draws[:, k].std(0, ddof=1)
    return out
