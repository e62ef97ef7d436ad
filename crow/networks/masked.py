"""A convolutional subnet for volumes whose voxels outside a mask are ignored."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crow.networks.convolutional import ConvNet, Precision


class MaskedConvNet(nn.Module):
    """A `ConvNet` with outputs ``(s, t)``, both 0 wherever ``inside`` is 0.

    Maps ``[batch, inputs, *space]`` to twice the channels of ``inside [channels, *space]``. ``bfloat16`` is for
    training only: in evaluation mode the network computes in the precision of its input, as likelihoods need.
    """

    inside: Tensor

    def __init__(
        self, inputs: int, outputs: int, inside: Tensor, hidden: int, precision: Precision = "float32"
    ) -> None:
        super().__init__()
        if outputs != 2 * len(inside):
            raise ValueError(f"MaskedConvNet has a mask for {2 * len(inside)} outputs, asked for {outputs}")
        self.register_buffer("inside", torch.cat([inside, inside]).float(), persistent=False)
        self.net = ConvNet(inputs, outputs, inside.dim() - 1, hidden)
        self.net.precision = precision

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * self.inside
