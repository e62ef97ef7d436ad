"""The multi-scale stack of cross-sectional flows: levels of coupling steps, after each of which channels leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from crow.bijections.affine import ActNorm
from crow.bijections.base import Bijection
from crow.bijections.chain import Chain
from crow.bijections.coupling import AffineCoupling, Subnet
from crow.bijections.haar import Haar
from crow.bijections.mixing import LU
from crow.bijections.priors import ConditionalPrior, SplitPrior
from crow.bijections.squeeze import Squeeze
from crow.networks.context import over_space

Mixing = Callable[[int, int], Bijection]
HALVINGS: dict[str, type[Haar | Squeeze]] = {"haar": Haar, "squeeze": Squeeze}


class MultiScale(Bijection):
    """A multi-scale stack, ``[batch, channels, *space]`` to ``[batch, values]``.

    A level of an image halves its axes and applies ``depth`` steps of ActNorm, mixing and affine coupling. After every
    level except the last, half of the channels leave, by a split prior given those that stay. A vector
    ``[batch, features]`` has one level and no halving. ``z = [top, part that left last, ..., part that left first]``.

    Parameters
    ----------
    shape : tuple of int
        ``(channels, *space)`` of an image, with sizes divisible by ``2^levels``, or ``(features,)`` of a vector.
    levels : int
        Number of levels; 1 for a vector.
    depth : int
        Number of steps per level.
    subnet : callable
        Makes a network from its numbers of input and output channels, over the spatial axes of x.
    context : int
        Number of channels of each context (0 for none).
    conditioning : nn.Module, optional
        Maps the context to a list of contexts in the order of `head_levels`: for every level one per coupling, then one
        for its split prior (in the last level, for the top). By default all share the context, a vector or maps of the
        size of the level.
    halving : str
        ``haar`` or ``squeeze``.
    split : bool
        Channels leave by a split prior; otherwise they are N(0, I).
    top : bool
        The top has a conditional prior given its context.
    two_sided : bool
        Couplings transform both halves.
    clamp : float
        Bound of ``|log scale|`` of a coupling.
    mixing : callable
        Makes the mixing of channels from ``(channels, space)``.

    Raises
    ------
    ValueError
        If the sizes do not fit the levels, or if x has another shape.

    References
    ----------
    Kingma & Dhariwal, Glow, 2018; Ardizzone et al. 2019, cINN, section 3.2; Winkler et al. 2019, section 3.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from crow.networks.convolutional import ConvNet
    >>> stack = MultiScale((1, 8, 8), levels=2, depth=2, subnet=partial(ConvNet, space=2, hidden=8))
    >>> x = torch.randn(3, 1, 8, 8)
    >>> z, log_det = stack(x)
    >>> z.shape, stack.parts, torch.allclose(stack.inverse(z)[0], x, atol=1e-4)
    (torch.Size([3, 64]), [32, 32], True)
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int,
        depth: int,
        subnet: Subnet,
        context: int = 0,
        conditioning: nn.Module | None = None,
        halving: str = "haar",
        split: bool = True,
        top: bool = False,
        two_sided: bool = False,
        clamp: float = 2.0,
        mixing: Mixing = LU,
    ) -> None:
        super().__init__()
        channels, *sizes = shape
        space = len(sizes)
        if not space and levels != 1:
            raise ValueError(f"MultiScale over vectors has 1 level, asked for {levels}")
        if any(size % 2**levels for size in sizes):
            raise ValueError(f"MultiScale of {levels} levels needs sizes divisible by {2**levels}, got {sizes}")
        if top and not context:
            raise ValueError("MultiScale: a conditional prior of the top needs a context, got 0 channels")
        self.shape, self.conditioning, self.context = tuple(shape), conditioning, context
        self.levels = nn.ModuleList()
        for k in range(levels):
            last = k == levels - 1
            level = _Level(
                channels, space, depth, subnet, context, HALVINGS[halving] if space else None, split and not last,
                top and last, last, two_sided, clamp, mixing,
            )  # fmt: skip
            self.levels.append(level)
            channels = level.kept
            sizes = [size // 2 for size in sizes]
        self.top_shape = (channels, *sizes)

    @property
    def top(self) -> int:
        """Number of values of the top; they come first in z."""
        return torch.Size(self.top_shape).numel()

    @property
    def parts(self) -> list[int]:
        """Number of values of the parts of z in their order: the top, then the parts that left."""
        sizes, left = self.shape[1:], []
        for level in self._levels():
            sizes = tuple(size // 2 for size in sizes)
            left.append(level.leaves * torch.Size(sizes).numel())
        return [self.top, *(count for count in reversed(left) if count)]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[1:] != self.shape:
            raise ValueError(f"MultiScale expects [batch, {', '.join(map(str, self.shape))}], got {list(x.shape)}")
        log_det = x.new_zeros(len(x))
        parts: list[Tensor] = []
        for level, contexts in zip(self._levels(), self._contexts(context), strict=True):
            x, leaving, part_log_det = level(x, contexts)
            log_det = log_det + part_log_det
            if leaving is not None:
                parts.append(leaving.flatten(1))
        return torch.cat([x.flatten(1), *reversed(parts)], 1), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_det = z.new_zeros(len(z))
        x, rest = z[:, : self.top].unflatten(1, self.top_shape), z[:, self.top :]
        for level, contexts in zip(reversed(self._levels()), reversed(self._contexts(context)), strict=True):
            leaving = None
            if level.leaves:
                count = level.leaves * x.shape[2:].numel()
                leaving, rest = rest[:, :count].unflatten(1, (level.leaves, *x.shape[2:])), rest[:, count:]
            x, part_log_det = level.inverse(x, leaving, contexts)
            log_det = log_det + part_log_det
        return x, log_det

    def _levels(self) -> list[_Level]:
        return cast(list[_Level], list(self.levels))

    def _contexts(self, context: Tensor | None) -> list[list[Tensor | None]]:
        counts = [len(level.steps) + 1 for level in self._levels()]
        if self.conditioning is None or not self.context:
            return [[context] * count for count in counts]
        heads = self.conditioning(context)
        if len(heads) != sum(counts):
            raise ValueError(f"MultiScale needs {sum(counts)} contexts, its conditioning network gives {len(heads)}")
        ends = torch.tensor(counts).cumsum(0).tolist()
        return [heads[end - count : end] for end, count in zip(ends, counts, strict=True)]


def head_levels(levels: int, depth: int, space: int) -> list[int]:
    """How many times the axes are halved at each context of `MultiScale`, in the order in which it uses them."""
    return [(k + 1 if space else 0) for k in range(levels) for _ in range(depth + 1)]


class _Level(nn.Module):
    """Halving and steps; then ``leaves`` channels leave (none in the last level)."""

    def __init__(
        self, channels: int, space: int, depth: int, subnet: Subnet, context: int, halving: type[Haar | Squeeze] | None,
        split: bool, top: bool, last: bool, two_sided: bool, clamp: float, mixing: Mixing,
    ) -> None:  # fmt: skip
        super().__init__()
        self.space = space
        self.halving = None if halving is None else halving(channels, space)
        width = channels * 2**space
        self.leaves = 0 if last else width // 2
        self.kept = width - self.leaves
        self.steps = nn.ModuleList(
            Chain([
                ActNorm(width, space), mixing(width, space),
                AffineCoupling(width, context, subnet, space, two_sided=two_sided, clamp=clamp),
            ])
            for _ in range(depth)
        )  # fmt: skip
        self.split = SplitPrior(self.leaves, self.kept, context, subnet, space) if split else None
        self.prior = ConditionalPrior(self.kept, context, subnet, space) if top else None

    def forward(self, x: Tensor, contexts: list[Tensor | None]) -> tuple[Tensor, Tensor | None, Tensor]:
        if self.halving is not None:
            x, _ = self.halving(x)
        log_det = x.new_zeros(len(x))
        for step, context in zip(self.steps, contexts, strict=False):
            x, part_log_det = step(x, context)
            log_det = log_det + part_log_det
        leaving = None
        if self.leaves:
            x, leaving = x.split([self.kept, self.leaves], 1)
        if self.split is not None:
            assert leaving is not None
            leaving, part_log_det = _whiten(leaving, *self.split.moments(x, contexts[-1]))
            log_det = log_det + part_log_det
        if self.prior is not None:
            x, part_log_det = _whiten(x, *self.prior.moments(self._over_space(contexts[-1], x)))
            log_det = log_det + part_log_det
        return x, leaving, log_det

    def inverse(self, x: Tensor, leaving: Tensor | None, contexts: list[Tensor | None]) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        if self.prior is not None:
            x, part_log_det = _colour(x, *self.prior.moments(self._over_space(contexts[-1], x)))
            log_det = log_det + part_log_det
        if self.split is not None:
            assert leaving is not None
            leaving, part_log_det = _colour(leaving, *self.split.moments(x, contexts[-1]))
            log_det = log_det + part_log_det
        if leaving is not None:
            x = torch.cat([x, leaving], 1)
        for step, context in reversed(list(zip(self.steps, contexts, strict=False))):
            x, part_log_det = cast(Bijection, step).inverse(x, context)
            log_det = log_det + part_log_det
        return (x if self.halving is None else self.halving.inverse(x)[0]), log_det

    def _over_space(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        return context if context is None or context.dim() == x.dim() else over_space(context, x, self.space)


def _whiten(x: Tensor, mean: Tensor, log_sd: Tensor) -> tuple[Tensor, Tensor]:
    return (x - mean) * torch.exp(-log_sd), -log_sd.flatten(1).sum(1)


def _colour(z: Tensor, mean: Tensor, log_sd: Tensor) -> tuple[Tensor, Tensor]:
    return torch.addcmul(mean, z, torch.exp(log_sd)), log_sd.flatten(1).sum(1)
