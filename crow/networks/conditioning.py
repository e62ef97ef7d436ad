"""The conditioning network h: features of the context, one head per bijection of a chain."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from crow.networks.convolutional import CONVOLUTION, ConvNet
from crow.networks.mlp import MLP

POOLING: dict[int, type[nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d]] = {
    1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d,
}  # fmt: skip


class ConditioningNetwork(nn.Module):
    """``context -> [head_k(trunk(context)) for every head]``, for ``Chain(bijections, conditioning)``.

    The trunk can be trained on a task of its own first, and then be held by `freeze`. The heads of the published code
    end in BatchNorm; here they do not, so that a likelihood is that of one example whatever else is in its batch, in
    training too. Source: Ardizzone et al. 2019, cINN, section 3.2.
    """

    def __init__(self, trunk: nn.Module, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.trunk, self.heads = trunk, nn.ModuleList(heads)
        self.frozen = False

    def forward(self, context: Tensor | None) -> list[Tensor]:
        if context is None:
            raise ValueError("a conditioning network needs a context, got none")
        features = self.trunk(context)
        return [head(features) for head in self.heads]

    def freeze(self) -> None:
        """The trunk learns no more, neither weights nor statistics of batches; the heads do."""
        self.frozen = True
        self.trunk.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ConditioningNetwork:
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        return self

    @classmethod
    def of_vectors(cls, inputs: int, outputs: int, heads: int, hidden: int = 128) -> ConditioningNetwork:
        """``[*batch, inputs]`` to ``heads`` vectors ``[*batch, outputs]``."""
        trunk = nn.Sequential(MLP(inputs, hidden, hidden, depth=1, zero=False), nn.SiLU())
        return cls(trunk, (nn.Linear(hidden, outputs) for _ in range(heads)))

    @classmethod
    def of_images(
        cls, inputs: int, outputs: int, levels: Iterable[int], space: int, hidden: int = 64
    ) -> ConditioningNetwork:
        """``[batch, inputs, *size]`` to one map ``[batch, outputs, *size / 2^level]`` for every level in ``levels``."""
        trunk = nn.Sequential(ConvNet(inputs, hidden, space, hidden, zero=False), nn.SiLU())
        return cls(trunk, (image_head(hidden, outputs, level, space) for level in levels))


class WideTrunk(nn.Module):
    """``[batch, inputs, *space] -> [batch, hidden, *space]`` of features that see far and know where they are.

    The positions (-1 to 1 along every axis) are inputs too, unless the image may be of any size; three residual 3x3
    convolutions, dilated by 1, 2 and 4, see 8 voxels to every side.
    """

    def __init__(self, inputs: int, hidden: int, space: int, positions: bool = True) -> None:
        super().__init__()
        self.positions = positions
        conv = CONVOLUTION[space]
        self.first = conv(inputs + (space if positions else 0), hidden, 3, padding=1)
        self.others = nn.ModuleList(conv(hidden, hidden, 3, padding=2**k, dilation=2**k) for k in range(3))

    def forward(self, context: Tensor) -> Tensor:
        if self.positions:
            sizes = context.shape[2:]
            axes = [torch.linspace(-1, 1, size, dtype=context.dtype, device=context.device) for size in sizes]
            where = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(context), -1, *sizes)
            context = torch.cat([context, where], 1)
        features = self.first(context)
        for other in self.others:
            features = features + other(nn.functional.silu(features))
        return nn.functional.silu(features)


def image_head(hidden: int, outputs: int, level: int, space: int) -> nn.Module:
    """``[batch, hidden, *size] -> [batch, outputs, *size / 2^level]``."""
    return nn.Sequential(POOLING[space](2**level), CONVOLUTION[space](hidden, outputs, 1))
