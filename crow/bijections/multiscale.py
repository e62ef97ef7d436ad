"""The stack of every flow over one visit: levels of coupling steps, with a part that leaves at the end of each."""

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

Mixing = Callable[[int, int], Bijection]
HALVINGS: dict[str, type[Haar | Squeeze]] = {"haar": Haar, "squeeze": Squeeze}


class MultiScale(Bijection):
    """``[batch, channels, *space]`` to ``[batch, values]``, ``z = [top, last part that left, ..., first part]``.

    An image's level is a halving of its axes and ``depth`` steps of ActNorm, mixing and affine coupling; then, but for
    the last level, half of the channels leave, by the split prior given those that stay. A vector ``[batch, features]``
    has one level and no halving. The context is one for all (a vector, or maps of the level's size), or, with
    ``conditioning``, ``conditioning(context)`` is a list in the order of `head_levels`: for every level one for each
    coupling, then one for its split prior (of the last: for the top).

    Sources: Kingma & Dhariwal, Glow, 2018; Ardizzone et al. 2019, cINN, section 3.2; Winkler et al. 2019, section 3.

    Args:
        shape: ``(channels, *space)``, sizes divisible by ``2^levels``.
        subnet: makes a network from its numbers of inputs and outputs, over as many spatial axes as there are.
        context: channels of (each of) the contexts, 0 for none.
        halving: ``haar`` or ``squeeze``.
        split: leave by a split prior; False for N(0, I).
        top: give the top a conditional prior of its context.
        two_sided: couplings move both halves.
        mixing: makes the mixing of ``(channels, space)``.
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
        """Values of the top: they come first in z."""
        return torch.Size(self.top_shape).numel()

    @property
    def parts(self) -> list[int]:
        """Values of z's parts, in its order: the top, and what left at each level."""
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
            x, leaving, moved = level(x, contexts)
            log_det = log_det + moved
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
            x, moved = level.inverse(x, leaving, contexts)
            log_det = log_det + moved
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
    """How many times each context of `MultiScale` is halved, in the order in which it takes them."""
    return [(k + 1 if space else 0) for k in range(levels) for _ in range(depth + 1)]


class _Level(nn.Module):
    """Halving, steps, and what leaves: ``leaves`` of the channels, none in the last level."""

    def __init__(
        self, channels: int, space: int, depth: int, subnet: Subnet, context: int, halving: type[Haar | Squeeze] | None,
        split: bool, top: bool, last: bool, two_sided: bool, clamp: float, mixing: Mixing,
    ) -> None:  # fmt: skip
        super().__init__()
        self.space = space
        self.halving = None if halving is None else halving(channels, space)
        inside = channels * 2**space
        self.leaves = 0 if last else inside // 2
        self.kept = inside - self.leaves
        self.steps = nn.ModuleList(
            Chain([
                ActNorm(inside, space), mixing(inside, space),
                AffineCoupling(inside, context, subnet, space, two_sided=two_sided, clamp=clamp),
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
            x, moved = step(x, context)
            log_det = log_det + moved
        leaving = None
        if self.leaves:
            x, leaving = x.split([self.kept, self.leaves], 1)
        if self.split is not None:
            assert leaving is not None
            leaving, moved = _whiten(leaving, *self.split.moments(x, contexts[-1]))
            log_det = log_det + moved
        if self.prior is not None:
            x, moved = _whiten(x, *self.prior.moments(self._spread(contexts[-1], x)))
            log_det = log_det + moved
        return x, leaving, log_det

    def inverse(self, x: Tensor, leaving: Tensor | None, contexts: list[Tensor | None]) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        if self.prior is not None:
            x, moved = _colour(x, *self.prior.moments(self._spread(contexts[-1], x)))
            log_det = log_det + moved
        if self.split is not None:
            assert leaving is not None
            leaving, moved = _colour(leaving, *self.split.moments(x, contexts[-1]))
            log_det = log_det + moved
        if leaving is not None:
            x = torch.cat([x, leaving], 1)
        for step, context in reversed(list(zip(self.steps, contexts, strict=False))):
            x, moved = cast(Bijection, step).inverse(x, context)
            log_det = log_det + moved
        return (x if self.halving is None else self.halving.inverse(x)[0]), log_det

    def _spread(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """A context vector over the space of x."""
        if context is None or context.dim() == x.dim():
            return context
        return context.reshape(*context.shape, *[1] * self.space).expand(*context.shape, *x.shape[2:])


def _whiten(x: Tensor, mean: Tensor, log_sd: Tensor) -> tuple[Tensor, Tensor]:
    return (x - mean) * torch.exp(-log_sd), -log_sd.flatten(1).sum(1)


def _colour(z: Tensor, mean: Tensor, log_sd: Tensor) -> tuple[Tensor, Tensor]:
    return torch.addcmul(mean, z, torch.exp(log_sd)), log_sd.flatten(1).sum(1)
