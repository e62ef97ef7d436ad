"""Monotone rational-quadratic splines, elementwise and as a coupling (Durkan et al. 2019, Neural Spline Flows)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from crow.bijections.coupling import Coupling, Subnet

# The published 1e-3 of both makes round trips in float32 inaccurate.
MIN_SHARE = 1e-2  # of the interval, per bin
MIN_SLOPE = 1e-2


class SplineCoupling(Coupling):
    """A coupling whose f is a monotone rational-quadratic spline on ``[-bound, bound]`` and the identity outside.

    If the subnet is zero, the map is the identity.

    Parameters
    ----------
    channels, context, subnet, space, swap, two_sided
        See `Coupling`.
    bins : int
        Number of bins of the spline.
    bound : float
        Half the length of the interval of the spline.

    Raises
    ------
    ValueError
        See `Coupling`.

    References
    ----------
    Durkan et al., Neural spline flows, 2019.

    Examples
    --------
    >>> import torch
    >>> from crow.networks.mlp import MLP
    >>> coupling = SplineCoupling(channels=4, context=2, subnet=MLP, bins=6)
    >>> x, c = torch.randn(8, 4), torch.randn(8, 2)
    >>> z, log_det = coupling(x, c)
    >>> torch.allclose(coupling.inverse(z, c)[0], x, atol=1e-4)
    True
    """

    def __init__(
        self,
        channels: int,
        context: int,
        subnet: Subnet,
        space: int = 0,
        swap: bool = False,
        two_sided: bool = False,
        bins: int = 8,
        bound: float = 5.0,
    ) -> None:
        super().__init__(channels, context, subnet, 3 * bins - 1, space, swap, two_sided)
        self.bins, self.bound = bins, bound

    def transform(self, active: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        theta = theta.unflatten(self.axis, (3 * self.bins - 1, -1)).movedim(self.axis - 1, -1)
        widths, heights, derivatives = theta.split([self.bins, self.bins, self.bins - 1], -1)
        moved, log_slope = rational_quadratic_spline(active, widths, heights, derivatives, self.bound, inverse)
        return moved, log_slope.sum(self.event)


def rational_quadratic_spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """A monotone spline of every element of ``x: [*shape]``, and the logarithm of its derivative, ``[*shape]``.

    ``widths, heights: [*shape, bins]`` and ``derivatives: [*shape, bins - 1]`` are unconstrained; if all are zero, the
    map is the identity. The tails are linear with slope 1. With ``w, h`` the size of a bin, ``d0, d1`` the slopes at
    its ends, ``delta = h / w`` and ``xi = (x - x0) / w`` (equations 4 to 8):

        y = y0 + h (delta xi^2 + d0 xi (1 - xi)) / q,   q = delta + (d0 + d1 - 2 delta) xi (1 - xi)
        y' = delta^2 (d1 xi^2 + 2 delta xi (1 - xi) + d0 (1 - xi)^2) / q^2
    """
    inside = x.abs() < bound
    value = torch.where(inside, x, 0.0)
    b = _bin_of(value, widths, heights, derivatives, bound, inverse)
    delta = b.h / b.w
    xi = _root(value - b.y0, b, delta) if inverse else (value - b.x0) / b.w
    rest = xi * (1 - xi)
    q = delta + (b.d0 + b.d1 - 2 * delta) * rest
    slope = delta.square() * (b.d1 * xi.square() + 2 * delta * rest + b.d0 * (1 - xi).square()) / q.square()
    y = b.x0 + b.w * xi if inverse else b.y0 + b.h * (delta * xi.square() + b.d0 * rest) / q
    log_slope = -slope.log() if inverse else slope.log()
    return torch.where(inside, y, x), torch.where(inside, log_slope, 0.0)


class _Bin(NamedTuple):
    x0: Tensor
    y0: Tensor
    w: Tensor
    h: Tensor
    d0: Tensor
    d1: Tensor


def _bin_of(value: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float, inverse: bool) -> _Bin:
    w, x0 = _partition(widths, bound)
    h, y0 = _partition(heights, bound)
    edge = torch.ones_like(value).unsqueeze(-1)
    d = torch.cat([edge, MIN_SLOPE + functional.softplus(derivatives + math.log(math.expm1(1 - MIN_SLOPE))), edge], -1)
    lower = y0 if inverse else x0
    index = (value.unsqueeze(-1) >= lower[..., 1:]).sum(-1, keepdim=True)
    return _Bin(*(v.gather(-1, index).squeeze(-1) for v in (x0, y0, w, h, d[..., :-1], d[..., 1:])))


def _partition(shares: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Sizes and lower ends ``[*shape, bins]`` of the bins of ``[-bound, bound]``."""
    bins = shares.shape[-1]
    size = 2 * bound * (MIN_SHARE + (1 - MIN_SHARE * bins) * shares.softmax(-1))
    return size, functional.pad(size[..., :-1].cumsum(-1), (1, 0)) - bound


def _root(y: Tensor, b: _Bin, delta: Tensor) -> Tensor:
    """The xi in [0, 1] whose spline value is ``y`` above the lower end of its bin, without cancellation (eq. 6-8)."""
    bend = b.d0 + b.d1 - 2 * delta
    a = b.h * (delta - b.d0) + y * bend
    linear = b.h * b.d0 - y * bend
    return 2 * delta * y / (linear + (linear.square() + 4 * a * delta * y).clamp_min(torch.finfo(y.dtype).tiny).sqrt())
