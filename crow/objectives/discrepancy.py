"""How far the latents that a model draws for people are from those that it infers from people like them."""

from __future__ import annotations

import torch
from torch import Tensor


def discrepancy(drawn: Tensor, inferred: Tensor, context: Tensor) -> Tensor:
    """Unbiased squared MMD of ``(drawn_i, c_i)`` and ``(inferred_i, c_i)``, the i-th of the same ``c_i``.

    ``drawn, inferred: [batch, values]``, ``context: [batch, channels]``. The kernel is a product. Of z it is ``m / (m +
    d^2)``, m the median squared distance of the inferred; of c ``exp(-2 |c - c'|^2)``, near 0 between classes (one-hot)
    and of sd 1/2 along a standardised number. The mean is 0 where the two have one distribution given c, so it can be
    negative; 0 for less than two. Source: Gretton et al., A kernel two-sample test, 2012, equation 4.
    """
    if len(drawn) < 2:
        return drawn.new_zeros(())
    among = ~torch.eye(len(drawn), dtype=torch.bool, device=drawn.device)
    scale = _squares(inferred, inferred)[among].median().clamp_min(1e-12)
    close = torch.exp(-2 * _squares(context, context)) * among

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return scale / (scale + _squares(a, b))

    h = kernel(drawn, drawn) + kernel(inferred, inferred) - kernel(drawn, inferred) - kernel(inferred, drawn)
    return (close * h).sum() / close.sum().clamp_min(1e-12)


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()
