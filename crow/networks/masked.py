"""A convolutional subnet for volumes whose voxels outside a mask are ignored."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crow.networks.convolutional import ConvNet


class MaskedConvNet(nn.Module):
    """A `ConvNet` with outputs ``(s, t)``, both 0 wherever ``inside`` is 0.

    Maps ``[batch, inputs, *space]`` to twice the channels of ``inside [channels, *space]``.
    """

    inside: Tensor

    def __init__(self, inputs: int, outputs: int, inside: Tensor, hidden: int) -> None:
        super().__init__()
        if outputs != 2 * len(inside):
            raise ValueError(f"MaskedConvNet has a mask for {2 * len(inside)} outputs, asked for {outputs}")
        self.register_buffer("inside", torch.cat([inside, inside]).float(), persistent=False)
        self.net = ConvNet(inputs, outputs, inside.dim() - 1, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * self.inside
