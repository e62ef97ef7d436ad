"""Base distributions: standard normal, normal given the context, normal given the rest of an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from crow.bijections.channels import with_context
from crow.bijections.coupling import Subnet, soft_clamp


class Prior(nn.Module):
    """A distribution of z given an optional context: ``log_prob: [*batch]`` for ``z: [*batch, *event]``."""

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def sample(
        self, batch: tuple[int, ...], context: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """One draw ``[*batch, *event]``, one for every context ``[*batch, ...]`` if there is one."""
        raise NotImplementedError


class StandardPrior(Prior):
    """N(0, I) over events of the given shape; the context is ignored."""

    scale: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        if z.shape[-len(self.shape) :] != self.shape:
            raise ValueError(f"StandardPrior expects [*batch, {', '.join(map(str, self.shape))}], got {list(z.shape)}")
        values = torch.Size(self.shape).numel()
        return z.square().sum(tuple(range(-len(self.shape), 0))) * -0.5 - 0.5 * values * math.log(2 * math.pi)

    def sample(
        self, batch: tuple[int, ...], context: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return _noise((*batch, *self.shape), self.scale, generator)


class ConditionalPrior(Prior):
    """``N(z; mu(c), sd(c))`` with mean and log-sd from one subnet; N(0, I) where the subnet is zero.

    ``z: [*batch, channels, *space]``, ``context: [*batch, context, *space]``. ``clamp`` softly bounds ``|log sd|``.
    Source: Winkler et al. 2019, equation 6.
    """

    def __init__(self, channels: int, context: int, subnet: Subnet, space: int = 0, clamp: float = 5.0) -> None:
        super().__init__()
        self.axis, self.clamp = -1 - space, clamp
        self.subnet = subnet(context, 2 * channels)

    def moments(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log-sd, each ``[*batch, channels, *space]``."""
        if context is None:
            raise ValueError("ConditionalPrior needs a context, got none")
        return _moments(self.subnet(context), self.axis, self.clamp)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return _log_normal(z, *self.moments(context), self.axis)

    def sample(
        self, batch: tuple[int, ...], context: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        mean, log_sd = self.moments(context)
        if mean.shape[: self.axis] != batch:
            raise ValueError(f"ConditionalPrior has contexts for a batch {list(mean.shape[: self.axis])}, not {batch}")
        return torch.addcmul(mean, _noise(mean.shape, mean, generator), log_sd.exp())


class SplitPrior(nn.Module):
    """``N(z1; mu(z0, c), sd(z0, c))`` for channels that leave a flow given those that stay; N(0, I) at the start.

    ``z1: [*batch, channels, *space]``, ``z0: [*batch, given, *space]``; ``context: [*batch, context, *space]`` or
    ``[*batch, context]`` (0 channels for none). ``clamp`` softly bounds ``|log sd|``.
    Source: Winkler et al. 2019, equation 8.
    """

    def __init__(
        self, channels: int, given: int, context: int, subnet: Subnet, space: int = 0, clamp: float = 5.0
    ) -> None:
        super().__init__()
        self.context, self.space, self.axis, self.clamp = context, space, -1 - space, clamp
        self.subnet = subnet(given + context, 2 * channels)

    def moments(self, z0: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-sd, each ``[*batch, channels, *space]``."""
        return _moments(self.subnet(with_context(z0, context, self.context, self.space)), self.axis, self.clamp)

    def log_prob(self, z1: Tensor, z0: Tensor, context: Tensor | None = None) -> Tensor:
        return _log_normal(z1, *self.moments(z0, context), self.axis)

    def sample(self, z0: Tensor, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        mean, log_sd = self.moments(z0, context)
        return torch.addcmul(mean, _noise(mean.shape, mean, generator), log_sd.exp())


def _moments(theta: Tensor, axis: int, clamp: float) -> tuple[Tensor, Tensor]:
    mean, log_sd = theta.chunk(2, axis)
    return mean, soft_clamp(log_sd, clamp)


def _log_normal(z: Tensor, mean: Tensor, log_sd: Tensor, axis: int) -> Tensor:
    if z.shape != mean.shape:
        raise ValueError(f"the prior is over {list(mean.shape)}, got z {list(z.shape)}")
    e = (z - mean) * torch.exp(-log_sd)
    event = tuple(range(axis, 0))
    values = z.shape[axis:].numel()
    return (e.square() * -0.5 - log_sd).sum(event) - 0.5 * values * math.log(2 * math.pi)


def _noise(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)
