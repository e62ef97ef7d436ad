"""Maximum mean discrepancy: how far two sets of samples are from coming out of one distribution."""

import torch
from torch import Tensor

WIDTHS = (0.2, 0.5, 0.9, 1.3)


def mmd(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Squared MMD of x and y, ``[batch, time, features]``, at every time ``[time]`` over the subjects that are there.

    ``k(x, y) = sum_w w^2 / (w^2 + |x - y|^2)``, biased: ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`` with all
    pairs, an element with itself too. Where ``mask [batch, time]`` is nowhere True it is 0.
    Source: Gretton et al. 2012, equation 5; kernel and widths of CRow's code (Hwang et al., ICCV 2019).
    """
    x, y, weight = x.transpose(0, 1), y.transpose(0, 1), mask.T.to(x.dtype)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1)
    k = _kernel(x, x) + _kernel(y, y) - 2 * _kernel(x, y)
    return torch.einsum("ti,tij,tj->t", weight, k, weight)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """``[time, batch, features]`` twice to ``[time, batch, batch]``."""
    squares = x.square().sum(-1)[:, :, None] + y.square().sum(-1)[:, None, :]
    distance = (squares - 2 * x @ y.mT).clamp_min(0)
    return sum((w * w / (w * w + distance) for w in WIDTHS), torch.zeros_like(distance))
