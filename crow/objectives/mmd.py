"""Maximum mean discrepancy: the distance between the distributions of two samples."""

import torch
from torch import Tensor

WIDTHS = (0.2, 0.5, 0.9, 1.3)


def mmd(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """The squared MMD of x and y, ``[batch, time, features]``, per time ``[time]``, over the subjects in the mask.

    ``k(x, y) = sum_w w^2 / (w^2 + |x - y|^2)``; the biased estimate ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)``
    over all pairs, including those of an element with itself. A time at which ``mask [batch, time]`` has no subject
    gives 0.
    Source: Gretton et al. 2012, equation 5; kernel and widths of CRow's code (Hwang et al., ICCV 2019).
    """
    x, y, weight = x.transpose(0, 1), y.transpose(0, 1), mask.T.to(x.dtype)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1)
    k = _kernel(x, x) + _kernel(y, y) - 2 * _kernel(x, y)
    return torch.einsum("ti,tij,tj->t", weight, k, weight)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """The kernel of all pairs, ``[time, batch, batch]``, of two ``[time, batch, features]``."""
    squares = x.square().sum(-1)[:, :, None] + y.square().sum(-1)[:, None, :]
    distance = (squares - 2 * x @ y.mT).clamp_min(0)
    return sum((w * w / (w * w + distance) for w in WIDTHS), torch.zeros_like(distance))
