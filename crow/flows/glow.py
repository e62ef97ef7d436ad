"""Glow: a flow of vectors and images; what CGlow and CAGlow are made of."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from crow.bijections.affine import mark_initialised
from crow.bijections.chain import Chain
from crow.bijections.dequantize import UniformDequantizer
from crow.bijections.logarithm import Logarithm
from crow.bijections.multiscale import MultiScale
from crow.bijections.principal import PrincipalComponents
from crow.bijections.priors import Prior, StandardPrior
from crow.bijections.regression import Regression
from crow.bijections.voxel_regression import VoxelRegression
from crow.data.examples import Examples
from crow.flows.image_start import Images, initialise_images
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP


class Glow(nn.Module):
    """``log p(x | c) = log p(z | c) + log |det d z / d x|`` with ``z = f(x)``, and here ``p(z | c) = N(z; 0, I)``.

    With attributes c it is ``z = f(b(x, c))``. Of a vector b is the `Regression` on c of some values' `Logarithm`, of
    an image each voxel's regression on c and the principal components of what that leaves. `initialise` fits b: then all
    that is left to learn is how people differ from it. ``x: [batch, features]``, or images ``[batch, channels,
    *space]``, whose integer levels are dequantised uniformly: their log-probabilities are lower bounds, random by the
    draw from torch's global generator. All in nats. Source: Kingma & Dhariwal, Glow, 2018.

    Args:
        shape: of x; ``(features,)`` or ``(channels, *space)``.
        levels, depth, hidden: of f (`MultiScale`); a vector has one level.
        image_levels: 0 for values that are not integers.
        context: channels of c, which the regression is on; with 0 there is none.
    """

    prior: Prior

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int = 2,
        depth: int = 6,
        hidden: int = 64,
        image_levels: int = 0,
        context: int = 0,
    ) -> None:
        super().__init__()
        space = len(shape) - 1
        subnet = partial(ConvNet, space=space, hidden=hidden) if space else partial(MLP, hidden=hidden)
        self.values = torch.Size(shape).numel()
        self.before: Chain | None = None
        if context:
            self.before = Chain(
                [VoxelRegression(shape, context), PrincipalComponents(shape)]
                if space
                else [Logarithm(shape[0]), Regression(shape[0], context)]
            )
        self.f = MultiScale(shape, levels if space else 1, depth, subnet)
        self.prior = StandardPrior((self.values,))
        self.dequantizer = UniformDequantizer(image_levels) if image_levels else None

    def initialise(self, examples: Images, subject: Tensor, zero: Tensor | None = None) -> None:
        """Begin at the regression of x on c, fitted to training examples of subjects ``[example]``; f keeps N(0, I).

        ``zero [features]`` is what values of a vector are where a measurement is 0, if there is such a thing.
        """
        if self.before is None:
            return
        first, second = self.before.bijections
        if isinstance(first, VoxelRegression):
            assert isinstance(second, PrincipalComponents) and self.dequantizer is not None
            initialise_images(first, second, examples, self.dequantizer.levels, subject)
        else:
            assert isinstance(first, Logarithm) and isinstance(second, Regression)
            every = examples[torch.arange(len(examples))]
            assert every.context is not None
            if zero is not None:
                first.fit(every.x, every.context, zero)
            second.fit(first(every.x)[0], every.context, subject)
        mark_initialised(self.f)  # the residuals have been normalised by all of them, not by one batch

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``z: [batch, values]``, and what ``log p(z)`` lacks of ``log p(x)``, ``[batch]``."""
        rest = x.new_zeros(len(x))
        if self.dequantizer is not None:
            x, log_q = self.dequantizer(x)
            rest = rest - log_q
        if self.before is not None:
            x, log_det = self.before(x, context)
            rest = rest + log_det
        z, log_det = self.f(x)
        return z, log_det + rest

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """x of ``z: [batch, values]``."""
        x, _ = self.f.inverse(z)
        if self.before is not None:
            x, _ = self.before.inverse(x, context)
        return x if self.dequantizer is None else self.dequantizer.inverse(x)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """``[batch]``."""
        z, log_det = self.encode(x, context)
        return self.prior.log_prob(z, context) + log_det

    @torch.no_grad()
    def sample(self, context: Tensor, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """``[n, batch, *event]``: n draws for every context ``[batch, channels]``."""
        repeated = context.repeat(n, 1)
        z = self.prior.sample((len(repeated),), repeated, generator)
        return self.decode(z, repeated).unflatten(0, (n, len(context)))

    def loss(self, batch: Examples) -> Tensor:
        """Mean negative log-likelihood, in nats a value of x."""
        return -self.log_prob(batch.x, batch.context).mean() / self.values
