"""The conditioning network h: features of the context, with one head per bijection of a chain."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from crow.networks.blocks import in_blocks
from crow.networks.convolutional import CONVOLUTION, ConvNet, Precision, in_precision
from crow.networks.mlp import MLP

POOLING: dict[int, type[nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d]] = {
    1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d,
}  # fmt: skip


class ConditioningNetwork(nn.Module):
    """A trunk with several heads: ``context -> [head_k(trunk(context)) for every head]``.

    For ``Chain(bijections, conditioning)`` and `MultiScale`. The trunk can be trained on a task of its own first and
    then be frozen by `freeze`. The heads of the published code end in BatchNorm. These do not, so that the likelihood
    of an example does not depend on the rest of its batch, in training as in evaluation.

    Parameters
    ----------
    trunk : nn.Module
        Maps the context to features.
    heads : iterable of nn.Module
        Each maps the features to the context of one bijection.
    multiple : int
        By how much the heads divide the axes of an image at most.

    Raises
    ------
    ValueError
        If no context is given.

    References
    ----------
    Ardizzone et al. 2019, cINN, section 3.2.

    Examples
    --------
    >>> import torch
    >>> h = ConditioningNetwork.of_vectors(inputs=3, outputs=8, heads=2)
    >>> [tuple(c.shape) for c in h(torch.randn(5, 3))]
    [(5, 8), (5, 8)]
    """

    def __init__(self, trunk: nn.Module, heads: Iterable[nn.Module], multiple: int = 1) -> None:
        super().__init__()
        self.trunk, self.heads, self.multiple = trunk, nn.ModuleList(heads), multiple
        self.frozen = False

    def forward(self, context: Tensor | None) -> list[Tensor]:
        if context is None:
            raise ValueError("a conditioning network needs a context, got none")
        if isinstance(self.trunk, WideTrunk):
            return in_blocks(self._of_placed, self.trunk.placed(context), WideTrunk.REACH, self.multiple)
        return self._heads(self.trunk(context))

    def _of_placed(self, context: Tensor) -> list[Tensor]:
        """The result for a block of an image, which has the coordinates of the whole image."""
        assert isinstance(self.trunk, WideTrunk)
        return self._heads(self.trunk.of_placed(context))

    def _heads(self, features: Tensor) -> list[Tensor]:
        return [head(features) for head in self.heads]

    def freeze(self) -> None:
        """Freeze the trunk: its weights and its batch statistics no longer change. The heads are still trained."""
        self.frozen = True
        self.trunk.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ConditioningNetwork:
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        return self

    @classmethod
    def of_vectors(cls, inputs: int, outputs: int, heads: int, hidden: int = 128) -> ConditioningNetwork:
        """A network from ``[*batch, inputs]`` to ``heads`` vectors ``[*batch, outputs]``."""
        trunk = nn.Sequential(MLP(inputs, hidden, hidden, depth=1, zero=False), nn.SiLU())
        return cls(trunk, (nn.Linear(hidden, outputs) for _ in range(heads)))

    @classmethod
    def of_images(
        cls, inputs: int, outputs: int, levels: Iterable[int], space: int, hidden: int = 64
    ) -> ConditioningNetwork:
        """A network from ``[batch, inputs, *size]`` to a map ``[batch, outputs, *size / 2^level]`` per level."""
        trunk = nn.Sequential(ConvNet(inputs, hidden, space, hidden, zero=False), nn.SiLU())
        return cls(trunk, (image_head(hidden, outputs, level, space) for level in levels))


class WideTrunk(nn.Module):
    """Features with a wide receptive field, ``[batch, inputs, *space] -> [batch, hidden, *space]``.

    Three residual 3x3 convolutions, dilated by 1, 2 and 4, reach 8 voxels in every direction. With ``positions``, the
    coordinates (-1 to 1 along every axis) are added to the inputs, as the last channels. A trunk of patches has no
    ``positions``: the coordinates in the image (`positions_of`) are the last of the ``inputs`` of its patches. Both
    have the same weights.
    """

    REACH = 8
    precision: Precision = "float32"  # of training

    def __init__(self, inputs: int, hidden: int, space: int, positions: bool = True) -> None:
        super().__init__()
        self.positions = positions
        conv = CONVOLUTION[space]
        self.first = conv(inputs + space if positions else inputs, hidden, 3, padding=1)
        self.others = nn.ModuleList(conv(hidden, hidden, 3, padding=2**k, dilation=2**k) for k in range(3))

    def forward(self, context: Tensor) -> Tensor:
        return self.of_placed(self.placed(context))

    def of_placed(self, context: Tensor) -> Tensor:
        """The features of what `placed` returns, or of a part of it."""
        return in_precision(self.precision if self.training else "float32", self._features, context)

    def _features(self, context: Tensor) -> Tensor:
        features = self.first(context)
        for other in self.others:
            features = features + other(nn.functional.silu(features))
        return nn.functional.silu(features)

    def placed(self, context: Tensor) -> Tensor:
        """The context of a whole image, with the coordinates of its voxels if the trunk adds them."""
        if not self.positions:
            return context
        coordinates = positions_of(tuple(context.shape[2:])).to(context)
        return torch.cat([context, coordinates.expand(len(context), *coordinates.shape)], 1)


def positions_of(sizes: tuple[int, ...]) -> Tensor:
    """The coordinates of the voxels of an image, from -1 to 1 along every axis, ``[space, *sizes]``."""
    axes = [torch.linspace(-1, 1, size) for size in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def image_head(hidden: int, outputs: int, level: int, space: int) -> nn.Module:
    """``[batch, hidden, *size] -> [batch, outputs, *size / 2^level]``."""
    return nn.Sequential(POOLING[space](2**level), CONVOLUTION[space](hidden, outputs, 1))
