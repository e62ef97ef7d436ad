"""A shift and a scale that the context alone decides."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crow.bijections.channels import ChannelBijection, with_context
from crow.bijections.coupling import Subnet, soft_clamp
from crow.networks.convolutional import CONVOLUTION


class ContextGate(ChannelBijection):
    """``z = (x - m(c)) exp(-g(c))``: the temporal context gate of images, whose context holds the subject's past.

    ``x: [batch, channels, *space]``, ``c: [batch, context, *space]``. ``(g, m)`` come from one subnet of c; ``m`` also
    has a direct linear path. The identity where the subnet is zero. Source: Hwang et al., ICCV 2019, section 3; the
    shift and the direct path are this project's.

    Args:
        alive: ``[channels, *space]``, 0 where a value is left as it is.
        clamp: bound of ``|g|``.
    """

    alive: Tensor

    def __init__(self, alive: Tensor, context: int, subnet: Subnet, clamp: float = 2.0) -> None:
        channels, space = alive.shape[0], alive.dim() - 1
        super().__init__(channels, space)
        self.context, self.clamp = context, clamp
        self.register_buffer("alive", alive.float(), persistent=False)
        self.subnet = subnet(context, 2 * channels)
        self.direct = CONVOLUTION[space](context, channels, 1, bias=False)
        nn.init.zeros_(self.direct.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        m, g = self._moments(x, context)
        return (x - m) * torch.exp(-g), -g.sum(self.event)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(z)
        m, g = self._moments(z, context)
        return torch.addcmul(m, z, g.exp()), g.sum(self.event)

    def _moments(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        c = with_context(x[:, :0], context, self.context, self.space)
        g, m = self.subnet(c).chunk(2, self.axis)
        return (m + self.direct(c)) * self.alive, soft_clamp(g, self.clamp) * self.alive
