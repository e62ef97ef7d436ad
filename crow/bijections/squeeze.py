"""Rearrangements of values."""

from itertools import product

import torch
from torch import Tensor

from crow.bijections.base import Bijection
from crow.bijections.channels import ChannelBijection


class Squeeze(ChannelBijection):
    """``[*batch, channels, *space]`` to ``[*batch, channels * 2^n, *space / 2]`` for n spatial axes.

    Positions of even parity come first (in 2-D: 00, 11, 01, 10), so a coupling after it is a checkerboard coupling.

    Parameters
    ----------
    channels : int
        Number of channels of x.
    space : int
        Number of spatial axes, whose sizes are even.

    References
    ----------
    Dinh et al., Real NVP, 2017, section 3.6.

    Examples
    --------
    >>> import torch
    >>> z, log_det = Squeeze(1, space=3)(torch.randn(2, 1, 4, 6, 8))
    >>> z.shape, log_det.tolist()
    (torch.Size([2, 8, 2, 3, 4]), [0.0, 0.0])
    """

    order: Tensor

    def __init__(self, channels: int, space: int) -> None:
        super().__init__(channels, space)
        corners = list(product((0, 1), repeat=space))
        order = torch.tensor([sum(corner) % 2 for corner in corners]).argsort(stable=True)
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        check_even(self, x)
        corners = corners_first(x, self.space).index_select(self.axis - 1, self.order)
        return corners.flatten(self.axis - 1, self.axis), x.new_zeros(x.shape[: self.axis])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(z, self.channels * 2**self.space)
        corners = z.unflatten(self.axis, (2**self.space, self.channels))
        x = corners_back(corners.index_select(self.axis - 1, self.order.argsort()), self.space)
        return x, z.new_zeros(z.shape[: self.axis])


class Flatten(Bijection):
    """``[*batch, *shape]`` to ``[*batch, values]``: the last layer of a flow over images."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[-len(self.shape) :] != self.shape:
            raise ValueError(f"Flatten expects [*batch, {', '.join(map(str, self.shape))}], got {list(x.shape)}")
        z = x.flatten(-len(self.shape))
        return z, z.new_zeros(z.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z.unflatten(-1, self.shape), z.new_zeros(z.shape[:-1])


def check_even(owner: ChannelBijection, x: Tensor) -> None:
    """Raise ValueError unless every spatial axis of ``x`` can be halved."""
    sizes = x.shape[owner.axis + 1 :]
    if any(size % 2 for size in sizes):
        raise ValueError(f"{type(owner).__name__} halves every spatial axis and needs even sizes, got {list(sizes)}")


def corners_first(x: Tensor, space: int) -> Tensor:
    """``[*batch, channels, *space]`` to ``[*batch, 2^n, channels, *space / 2]``: the corners of each cube."""
    batch, (channels, *sizes) = x.shape[: -1 - space], x.shape[-1 - space :]
    n = len(batch)
    halves = [part for size in sizes for part in (size // 2, 2)]
    cubes = x.reshape(*batch, channels, *halves)
    corner_axes = [n + 2 + 2 * i for i in range(space)]
    place_axes = [n + 1 + 2 * i for i in range(space)]
    return cubes.permute(*range(n), *corner_axes, n, *place_axes).flatten(n, n + space - 1)


def corners_back(corners: Tensor, space: int) -> Tensor:
    """The inverse of ``corners_first``."""
    batch, (_, channels, *sizes) = corners.shape[: -2 - space], corners.shape[-2 - space :]
    n = len(batch)
    cubes = corners.unflatten(n, (2,) * space)
    pairs = [axis for i in range(space) for axis in (n + space + 1 + i, n + i)]
    return cubes.permute(*range(n), n + space, *pairs).reshape(*batch, channels, *[2 * size for size in sizes])
