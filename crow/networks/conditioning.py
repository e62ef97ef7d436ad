"""The conditioning network h: features of the context, one head per bijection of a chain."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from crow.networks.convolutional import CONVOLUTION, ConvNet
from crow.networks.mlp import MLP

POOLING: dict[int, type[nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d]] = {
    1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d,
}  # fmt: skip


class ConditioningNetwork(nn.Module):
    """``context -> [head_k(trunk(context)) for every head]``, for ``Chain(bijections, conditioning)``.

    The trunk can be trained on a task of its own first. Source: Ardizzone et al. 2019, cINN, section 3.2.
    """

    def __init__(self, trunk: nn.Module, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.trunk, self.heads = trunk, nn.ModuleList(heads)

    def forward(self, context: Tensor | None) -> list[Tensor]:
        if context is None:
            raise ValueError("a conditioning network needs a context, got none")
        features = self.trunk(context)
        return [head(features) for head in self.heads]

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
        return cls(
            trunk,
            (nn.Sequential(POOLING[space](2**k), CONVOLUTION[space](hidden, outputs, 1)) for k in levels),
        )
