"""What every flow is: a bijection and a prior; and one over the levels of images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from crow.bijections.base import Bijection
from crow.bijections.priors import Prior
from crow.data.examples import Examples


class Flow(nn.Module):
    """A conditional distribution of x: ``log p(x | c) = log prior(f(x, c) | c) + log |det f'(x, c)|``.

    Shapes follow ``torch.distributions``: ``log_prob`` of ``x: [*batch, *event]`` is ``[*batch]``, and n samples are
    ``[n, *batch, *event]``. ``context_dims`` counts the axes of the context that are not batch (1 for vectors).
    """

    def __init__(self, bijection: Bijection, prior: Prior, context_dims: int = 1) -> None:
        super().__init__()
        self.bijection, self.prior, self.context_dims = bijection, prior, context_dims

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        z, log_det = self.bijection(x, context)
        return self.prior.log_prob(z, context) + log_det

    @torch.no_grad()
    def sample(self, context: Tensor | None = None, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """``[n, *batch, *event]``: n draws for every context, or ``[n, *event]`` where there is none."""
        if context is None:
            return self.bijection.inverse(self.prior.sample((n,), generator=generator))[0]
        batch = context.shape[: context.dim() - self.context_dims]
        repeated = context.expand(n, *context.shape).flatten(0, len(batch))
        z = self.prior.sample((n * batch.numel(),), repeated, generator)
        return self.bijection.inverse(z, repeated)[0].unflatten(0, (n, *batch))

    def loss(self, batch: Examples) -> Tensor:
        """Mean negative log-likelihood in nats."""
        return -self.log_prob(batch.x, batch.context).mean()


class DiscreteFlow(nn.Module):
    """The probability of an image's levels ``x: [batch, *event]``, by a flow of their dequantised values.

    ``log_prob`` is a lower bound in nats: the mean over ``draws`` of ``log p(v | c) - log q(v | x, c)``. The
    dequantiser draws from torch's global generator. Source: Theis et al. 2016; Ho et al., Flow++, 2019, equation 12.
    """

    def __init__(self, flow: Flow, dequantizer: nn.Module) -> None:
        super().__init__()
        self.flow, self.dequantizer = flow, dequantizer

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None, draws: int = 1) -> Tensor:
        bounds = []
        for _ in range(draws):
            v, log_q = self.dequantizer(x, context)
            bounds.append(self.flow.log_prob(v, context) - log_q)
        return torch.stack(bounds).mean(0)

    def sample(self, context: Tensor | None = None, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """``[n, *batch, *event]`` of levels."""
        return self.dequantizer.inverse(self.flow.sample(context, n, generator), context)  # type: ignore[operator]

    def loss(self, batch: Examples) -> Tensor:
        """Mean of ``-log P`` in nats."""
        return -self.log_prob(batch.x, batch.context).mean()


def bits_per_dim(log_prob: Tensor, values: int) -> Tensor:
    """Of a log-probability in nats over ``values`` pixels."""
    return -log_prob / (values * math.log(2))
