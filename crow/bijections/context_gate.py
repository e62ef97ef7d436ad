"""A shift and a scale that depend on the context alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crow.bijections.channels import ChannelBijection
from crow.bijections.coupling import Subnet, soft_clamp
from crow.networks.context import with_context
from crow.networks.convolutional import CONVOLUTION


class ContextGate(ChannelBijection):
    """The temporal context gate of images, ``z = (x - m(c)) exp(-g(c))``; the context holds the subject's past.

    ``x: [batch, channels, *space]``, ``c: [batch, context, *space]``. One subnet of c gives ``(g, m)``; ``m`` also has
    a direct linear path. If the subnet is zero, the map is the identity.

    Parameters
    ----------
    inside : Tensor
        ``[channels, *space]``; values at which it is 0 are left unchanged.
    context : int
        Number of channels of the context.
    subnet : Subnet
        Makes the network of g and m.
    clamp : float
        Bound of ``|g|``.

    References
    ----------
    Hwang et al., ICCV 2019, section 3. The shift and the direct path were added in this project.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from crow.networks.convolutional import ConvNet
    >>> gate = ContextGate(torch.ones(1, 8, 8), context=2, subnet=partial(ConvNet, hidden=4, space=2))
    >>> x, past = torch.randn(3, 1, 8, 8), torch.randn(3, 2, 8, 8)
    >>> z, log_det = gate(x, past)
    >>> torch.allclose(gate.inverse(z, past)[0], x), log_det.shape
    (True, torch.Size([3]))
    """

    inside: Tensor

    def __init__(self, inside: Tensor, context: int, subnet: Subnet, clamp: float = 2.0) -> None:
        channels, space = inside.shape[0], inside.dim() - 1
        super().__init__(channels, space)
        self.context, self.clamp = context, clamp
        self.register_buffer("inside", inside.float(), persistent=False)
        self.subnet = subnet(context, 2 * channels)
        self.direct = CONVOLUTION[space](context, channels, 1, bias=False)
        nn.init.zeros_(self.direct.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        m, g = self._shift_and_gate(x, context)
        return (x - m) * torch.exp(-g), -g.sum(self.event)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(z)
        m, g = self._shift_and_gate(z, context)
        return torch.addcmul(m, z, g.exp()), g.sum(self.event)

    def _shift_and_gate(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        c = with_context(x[:, :0], context, self.context, self.space)
        g, m = self.subnet(c).chunk(2, self.axis)
        return (m + self.direct(c)) * self.inside, soft_clamp(g, self.clamp) * self.inside
