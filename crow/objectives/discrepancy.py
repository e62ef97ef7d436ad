"""The distance between the latent values that a model draws and those that it infers, given the context."""

from __future__ import annotations

import torch
from torch import Tensor


def discrepancy(drawn: Tensor, inferred: Tensor, context: Tensor) -> Tensor:
    """The unbiased squared MMD between ``(drawn_i, c_i)`` and ``(inferred_i, c_i)``, which share ``c_i``.

    ``drawn, inferred: [batch, values]``, ``context: [batch, channels]``. The kernel is a product. For z it is
    ``m / (m + d^2)``, with m the median squared distance among the inferred. For c it is ``exp(-2 |c - c'|^2)``: almost
    0 between classes (one-hot), and of sd 1/2 along a standardised number. The expectation is 0 if both have the same
    distribution given c, so the estimate can be negative. It is 0 for fewer than two examples.
    Source: Gretton et al., A kernel two-sample test, 2012, equation 4.
    """
    if len(drawn) < 2:
        return drawn.new_zeros(())
    pairs = ~torch.eye(len(drawn), dtype=torch.bool, device=drawn.device)
    scale = _squares(inferred, inferred)[pairs].median().clamp_min(1e-12)
    weight = torch.exp(-2 * _squares(context, context)) * pairs

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return scale / (scale + _squares(a, b))

    h = kernel(drawn, drawn) + kernel(inferred, inferred) - kernel(drawn, inferred) - kernel(inferred, drawn)
    return (weight * h).sum() / weight.sum().clamp_min(1e-12)


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()
