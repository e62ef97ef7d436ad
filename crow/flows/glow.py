"""Glow: a flow of vectors and images that knows of no attributes; what CGlow and CAGlow are made of."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from crow.bijections.dequantize import UniformDequantizer
from crow.bijections.multiscale import MultiScale
from crow.examples import Examples
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP
from crow.priors import Prior, StandardPrior


class Glow(nn.Module):
    """``log p(x | c) = log p(z | c) + log |det f'(x)|`` with ``z = f(x)``, and here ``p(z | c) = N(z; 0, I)``.

    ``x: [batch, features]``, or images ``[batch, channels, *space]``, whose integer levels are dequantised uniformly:
    their log-probabilities are lower bounds, random by the draw from torch's global generator. All in nats.
    Source: Kingma & Dhariwal, Glow, 2018.

    Args:
        shape: of x; ``(features,)`` or ``(channels, *space)``.
        levels, depth, hidden: of f (`MultiScale`); a vector has one level.
        image_levels: 0 for values that are not integers.
    """

    prior: Prior

    def __init__(
        self, shape: tuple[int, ...], levels: int = 2, depth: int = 6, hidden: int = 64, image_levels: int = 0
    ) -> None:
        super().__init__()
        space = len(shape) - 1
        subnet = partial(ConvNet, space=space, hidden=hidden) if space else partial(MLP, hidden=hidden)
        self.values = torch.Size(shape).numel()
        self.f = MultiScale(shape, levels if space else 1, depth, subnet)
        self.prior = StandardPrior((self.values,))
        self.dequantizer = UniformDequantizer(image_levels) if image_levels else None

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``z: [batch, values]``, and what ``log p(z)`` lacks of ``log p(x)``, ``[batch]``."""
        if self.dequantizer is None:
            return self.f(x)
        v, log_q = self.dequantizer(x)
        z, log_det = self.f(v)
        return z, log_det - log_q

    def decode(self, z: Tensor) -> Tensor:
        """x of ``z: [batch, values]``."""
        v, _ = self.f.inverse(z)
        return v if self.dequantizer is None else self.dequantizer.inverse(v)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """``[batch]``."""
        z, log_det = self.encode(x)
        return self.prior.log_prob(z, context) + log_det

    @torch.no_grad()
    def sample(self, context: Tensor, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """``[n, batch, *event]``: n draws for every context ``[batch, channels]``."""
        repeated = context.repeat(n, 1)
        z = self.prior.sample((len(repeated),), repeated, generator)
        return self.decode(z).unflatten(0, (n, len(context)))

    def loss(self, batch: Examples) -> Tensor:
        """Mean negative log-likelihood, in nats a value of x."""
        return -self.log_prob(batch.x, batch.context).mean() / self.values
