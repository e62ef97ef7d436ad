"""A convolutional subnet of volumes whose values outside a mask are no values."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from crow.networks.convolutional import ConvNet

Precision = Literal["float32", "bfloat16"]


class MaskedConvNet(nn.Module):
    """`ConvNet` with outputs ``(s, t)``, both 0 where ``alive`` is: ``[batch, inputs, *space]`` to twice its channels.

    ``bfloat16`` is for training; a network in evaluation mode computes in its input's precision, as likelihoods need.
    """

    alive: Tensor

    def __init__(self, inputs: int, outputs: int, alive: Tensor, hidden: int, precision: Precision = "float32") -> None:
        super().__init__()
        if outputs != 2 * len(alive):
            raise ValueError(f"MaskedConvNet has a mask for {2 * len(alive)} outputs, asked for {outputs}")
        self.precision = precision
        self.register_buffer("alive", torch.cat([alive, alive]).float(), persistent=False)
        self.net = ConvNet(inputs, outputs, alive.dim() - 1, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return in_precision(self.precision if self.training else "float32", self.net, x) * self.alive


def in_precision(precision: Precision, net: nn.Module, x: Tensor) -> Tensor:
    """``net(x)``, computed in bfloat16 where that is asked for; the result has the precision of ``x``."""
    if precision == "float32":
        return net(x)
    with torch.autocast(x.device.type, torch.bfloat16):
        return net(x).to(x.dtype)
