"""Coupling: one half of the channels moves, given the other half and the context."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from crow.bijections.chain import Chain
from crow.bijections.channels import ChannelBijection, with_context

Subnet = Callable[[int, int], nn.Module]
"""Makes a network from its numbers of input and output channels; zero outputs at initialisation are its business."""


class Coupling(ChannelBijection):
    """``z_a = f(x_a; theta(x_p, c))``, ``z_p = x_p`` with f elementwise and monotone in ``x_a``.

    Subclasses say f in ``transform``. ``x: [*batch, channels, *space]``; ``context: [*batch, context, *space]``, or
    ``[*batch, context]`` spread over the space. The first ``channels // 2`` channels are passive, with ``swap`` the
    others. Source: Dinh et al. 2017; with a context, Winkler et al. 2019, equation 9.

    Args:
        context: channels of the context; with 0 it is ignored.
        subnet: makes the network of theta.
        per_value: parameters that f takes for each value that moves.
    """

    def __init__(
        self, channels: int, context: int, subnet: Subnet, per_value: int, space: int = 0, swap: bool = False
    ) -> None:
        super().__init__(channels, space)
        if channels < 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 channels, got {channels}")
        self.context, self.swap = context, swap
        self.sizes = (channels // 2, channels - channels // 2)
        passive, active = reversed(self.sizes) if swap else self.sizes
        self.subnet = subnet(passive + context, per_value * active)

    def transform(self, active: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """f or its inverse, and the logarithm of its derivative, elementwise in ``active``."""
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(x, context, inverse=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(z, context, inverse=True)

    def _couple(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        self.check(x)
        first, second = x.split(self.sizes, self.axis)
        passive, active = (second, first) if self.swap else (first, second)
        theta = self.subnet(with_context(passive, context, self.context, self.space))
        moved, log_derivative = self.transform(active, theta, inverse)
        return torch.cat([moved, passive] if self.swap else [passive, moved], self.axis), log_derivative.sum(self.event)


class AffineCoupling(Coupling):
    """``z_a = x_a exp(s) + t`` with ``s = soft_clamp(s(x_p, c))`` and ``t = t(x_p, c)`` from one subnet.

    The identity where the subnet is zero. ``clamp`` bounds ``|s|``.
    """

    def __init__(
        self, channels: int, context: int, subnet: Subnet, space: int = 0, swap: bool = False, clamp: float = 2.0
    ) -> None:
        super().__init__(channels, context, subnet, per_value=2, space=space, swap=swap)
        self.clamp = clamp

    def transform(self, active: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        s, t = theta.chunk(2, self.axis)
        if inverse:
            s = -soft_clamp(s, self.clamp)
            return (active - t) * s.exp(), s
        s = soft_clamp(s, self.clamp)
        return torch.addcmul(t, active, s.exp()), s


class TwoSided(Chain):
    """Two couplings that move first one half, then the other: ``TwoSided(partial(AffineCoupling, 8, 2, subnet))``.

    ``v1 = f(u1; theta(u2, c))``, ``v2 = f(u2; theta(v1, c))``. Source: Ardizzone et al. 2019, cINN, equation 1.
    """

    def __init__(self, coupling: Callable[..., Coupling]) -> None:
        super().__init__([coupling(swap=True), coupling(swap=False)])


def soft_clamp(s: Tensor, limit: float) -> Tensor:
    """``limit * 2/pi * atan(s / limit)``: bounded by ``limit``, slope 2/pi at 0 (Ardizzone et al. 2019)."""
    return (s * (1 / limit)).atan() * (limit * 0.6366197723675814)
