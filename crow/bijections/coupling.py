"""Coupling: one half of the channels moves, given the other half and the context."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from crow.bijections.channels import ChannelBijection, with_context

Subnet = Callable[[int, int], nn.Module]
"""Makes a network from its numbers of input and output channels; zero outputs at initialisation are its business."""


class Coupling(ChannelBijection):
    """``z_a = f(x_a; theta(x_p, c))``, ``z_p = x_p`` with f elementwise and monotone in ``x_a``.

    Subclasses say f in ``transform``. ``x: [*batch, channels, *space]``; ``context: [*batch, context, *space]``, or
    ``[*batch, context]`` spread over the space. The first ``channels // 2`` channels are passive, with ``swap`` the
    others. With ``two_sided``, the passive half moves next, given the moved one, by a subnet of its own.
    Source: Dinh et al. 2017; with a context, Winkler et al. 2019, equation 9; two-sided, Ardizzone et al. 2019, cINN.

    Args:
        context: channels of the context; with 0 it is ignored.
        subnet: makes the networks of theta.
        per_value: parameters that f takes for each value that moves.
    """

    def __init__(
        self,
        channels: int,
        context: int,
        subnet: Subnet,
        per_value: int,
        space: int = 0,
        swap: bool = False,
        two_sided: bool = False,
    ) -> None:
        super().__init__(channels, space)
        if channels < 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 channels, got {channels}")
        self.context = context
        self.sizes = (channels // 2, channels - channels // 2)
        first = 0 if swap else 1
        self.actives = (first, 1 - first) if two_sided else (first,)
        self.subnets = nn.ModuleList(
            subnet(self.sizes[1 - active] + context, per_value * self.sizes[active]) for active in self.actives
        )

    def transform(self, active: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """f or its inverse of every value of ``active``, and its log-determinant ``[*batch]``."""
        raise NotImplementedError

    def theta(self, subnet: nn.Module, passive: Tensor, context: Tensor | None) -> Tensor:
        return subnet(with_context(passive, context, self.context, self.space))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(x, context, inverse=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(z, context, inverse=True)

    def _couple(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        self.check(x)
        halves = list(x.split(self.sizes, self.axis))
        log_dets = []
        steps = list(zip(self.actives, self.subnets, strict=True))
        for active, subnet in reversed(steps) if inverse else steps:
            theta = self.theta(subnet, halves[1 - active], context)
            halves[active], log_det = self.transform(halves[active], theta, inverse)
            log_dets.append(log_det)
        return torch.cat(halves, self.axis), log_dets[0] if len(log_dets) == 1 else log_dets[0] + log_dets[1]


class AffineCoupling(Coupling):
    """``z_a = x_a exp(s) + t`` with ``s = soft_clamp(s(x_p, c))`` and ``t = t(x_p, c)`` from one subnet.

    The identity where the subnet is zero. ``clamp`` bounds ``|s|``.
    """

    def __init__(
        self,
        channels: int,
        context: int,
        subnet: Subnet,
        space: int = 0,
        swap: bool = False,
        two_sided: bool = False,
        clamp: float = 2.0,
    ) -> None:
        super().__init__(channels, context, subnet, 2, space, swap, two_sided)
        self.clamp = clamp

    def transform(self, active: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return scale_and_shift(active, theta, self.clamp, self.event, inverse)


def scale_and_shift(
    x: Tensor, theta: Tensor, clamp: float, event: tuple[int, ...], inverse: bool
) -> tuple[Tensor, Tensor]:
    """``x exp(s) + t`` or its inverse ``(x - t) exp(-s)``, and its log-determinant, summed over the axes of an event.

    ``soft_clamp(s), t`` are the halves of ``theta`` along the first of these axes.
    """
    s, t = theta.chunk(2, event[0])
    s = soft_clamp(s, clamp)
    if inverse:
        return (x - t) * torch.exp(-s), -s.sum(event)
    return torch.addcmul(t, x, s.exp()), s.sum(event)


def soft_clamp(s: Tensor, limit: float) -> Tensor:
    """``limit * 2/pi * atan(s / limit)``: bounded by ``limit``, slope 2/pi at 0 (Ardizzone et al. 2019)."""
    return (s * (1 / limit)).atan() * (limit * 0.6366197723675814)
