"""The base of every flow: a bijection and a prior; and a flow over the grey levels of images."""

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
    ``[n, *batch, *event]``.

    Parameters
    ----------
    bijection : Bijection
        f, from data to latent values.
    prior : Prior
        The distribution of the latent values.
    context_dims : int
        Number of axes of the context that are not batch axes (1 for vectors).

    Examples
    --------
    >>> import torch
    >>> from crow.bijections.affine import ActNorm
    >>> from crow.bijections.priors import StandardPrior
    >>> flow = Flow(ActNorm(3), StandardPrior((3,)))
    >>> flow.log_prob(torch.randn(8, 3)).shape, flow.sample(n=5).shape
    (torch.Size([8]), torch.Size([5, 3]))
    """

    def __init__(self, bijection: Bijection, prior: Prior, context_dims: int = 1) -> None:
        super().__init__()
        self.bijection, self.prior, self.context_dims = bijection, prior, context_dims

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density in nats.

        Parameters
        ----------
        x : Tensor
            ``[*batch, *event]``.
        context : Tensor, optional
            ``[*batch, *context]``.

        Returns
        -------
        Tensor
            ``[*batch]``.
        """
        z, log_det = self.bijection(x, context)
        return self.prior.log_prob(z, context) + log_det

    @torch.no_grad()
    def sample(self, context: Tensor | None = None, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draw samples.

        Parameters
        ----------
        context : Tensor, optional
            ``[*batch, *context]``.
        n : int
            Number of draws per context.
        generator : torch.Generator, optional
            Source of random numbers; torch's global generator by default.

        Returns
        -------
        Tensor
            ``[n, *batch, *event]``, or ``[n, *event]`` without a context.
        """
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
    """The probability of an image's grey levels ``x: [batch, *event]``, by a flow over dequantised values.

    Parameters
    ----------
    flow : Flow
        The density of the dequantised values v.
    dequantizer : nn.Module
        Draws v given x and the context, from torch's global generator.

    References
    ----------
    Theis et al. 2016; Ho et al., Flow++, 2019, equation 12.
    """

    def __init__(self, flow: Flow, dequantizer: nn.Module) -> None:
        super().__init__()
        self.flow, self.dequantizer = flow, dequantizer

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None, draws: int = 1) -> Tensor:
        """A lower bound of the log-probability in nats, ``[batch]``.

        It is the mean of ``log p(v | c) - log q(v | x, c)`` over ``draws`` draws of v.
        """
        bounds = []
        for _ in range(draws):
            v, log_q = self.dequantizer(x, context)
            bounds.append(self.flow.log_prob(v, context) - log_q)
        return torch.stack(bounds).mean(0)

    def sample(self, context: Tensor | None = None, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Levels, ``[n, *batch, *event]``."""
        return self.dequantizer.inverse(self.flow.sample(context, n, generator), context)  # type: ignore[operator]

    def loss(self, batch: Examples) -> Tensor:
        """Mean of ``-log P`` in nats."""
        return -self.log_prob(batch.x, batch.context).mean()


def bits_per_dim(log_prob: Tensor, values: int) -> Tensor:
    """Bits per value of a log-probability in nats over ``values`` values."""
    return -log_prob / (values * math.log(2))
