"""A convolutional subnet for volumes whose voxels outside a mask are ignored."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from crow.networks.convolutional import ConvNet

Precision = Literal["float32", "bfloat16"]


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
        self.precision = precision
        self.register_buffer("inside", torch.cat([inside, inside]).float(), persistent=False)
        self.net = ConvNet(inputs, outputs, inside.dim() - 1, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return in_precision(self.precision if self.training else "float32", self.net, x) * self.inside


def in_precision(precision: Precision, net: nn.Module, x: Tensor) -> Tensor:
    """``net(x)``, computed in the given precision; the result has the dtype of ``x``."""
    if precision == "float32":
        return net(x)
    with torch.autocast(x.device.type, torch.bfloat16):
        return net(x).to(x.dtype)
