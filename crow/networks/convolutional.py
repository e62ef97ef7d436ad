"""The subnet for images in one, two and three dimensions."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from crow.networks.blocks import in_blocks

CONVOLUTION: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}

Precision = Literal["float32", "bfloat16"]
MIN_SIDE = 4  # voxels; torch 2.13 computes wrong gradients of weights in bfloat16 for images smaller than the kernel


def in_precision(precision: Precision, net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``net(x)``, computed in the given precision; the result has the dtype of ``x``.

    Images with fewer than `MIN_SIDE` voxels along an axis are always computed in float32.
    """
    if precision == "float32" or min(x.shape[2:]) < MIN_SIDE:
        return net(x)
    with torch.autocast(x.device.type, torch.bfloat16):
        return net(x).to(x.dtype)


class ConvNet(nn.Module):
    """``[batch, inputs, *space] -> [batch, outputs, *space]`` by convolutions of width 3, 1 and 3.

    With ``zero`` its output is zero at initialisation. 2-D and 3-D weights are stored channels last, which carries over
    to the activations. As a subnet factory: ``functools.partial(ConvNet, space=2, hidden=64)``.
    Source: Kingma & Dhariwal, Glow, 2018, section 5.1.

    ``precision`` is that of training. In evaluation mode the network computes in the precision of its input, as
    likelihoods need.
    """

    precision: Precision = "float32"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        space: int,
        hidden: int = 64,
        activation: Callable[[], nn.Module] = nn.SiLU,
        zero: bool = True,
    ) -> None:
        super().__init__()
        conv = CONVOLUTION[space]
        last = conv(hidden, outputs, 3, padding=1)
        if zero:
            nn.init.zeros_(last.weight)
            if last.bias is not None:
                nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            conv(inputs, hidden, 3, padding=1), activation(), conv(hidden, hidden, 1), activation(), last
        )
        nn.utils.convert_conv2d_weight_memory_format(self.layers, torch.channels_last)
        nn.utils.convert_conv3d_weight_memory_format(self.layers, torch.channels_last_3d)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return in_precision(self.precision, self.layers, x)
        return in_blocks(self.layers, x, reach=2)
