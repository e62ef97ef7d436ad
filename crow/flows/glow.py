"""Glow: a flow over vectors and images, the base of CGlow and CAGlow."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from crow.bijections.affine import mark_initialised
from crow.bijections.base import Bijection
from crow.bijections.chain import Chain
from crow.bijections.dequantize import UniformDequantizer
from crow.bijections.logarithm import Logarithm
from crow.bijections.multiscale import MultiScale
from crow.bijections.principal import PrincipalComponents
from crow.bijections.priors import Prior, StandardPrior
from crow.bijections.regression import Regression
from crow.bijections.voxel_regression import VoxelRegression
from crow.data.examples import Examples
from crow.flows.image_initialisation import Images, initialise_images
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP


class Glow(nn.Module):
    """``log p(x | c) = log p(z | c) + log |det d z / d x|`` with ``z = f(x)``, and here ``p(z | c) = N(z; 0, I)``.

    With attributes c it is ``z = f(b(x, c))``. For a vector, b takes the `Logarithm` of some features and the
    `Regression` on c. For an image, b is a regression of every voxel on c, and the principal components of the
    residual. `initialise` fits b, so that f has to learn only how subjects deviate from it. The integer levels of an
    image are dequantised uniformly: its log-probability is a lower bound, random through the draw from torch's global
    generator. All log-densities are in nats.

    Parameters
    ----------
    shape : tuple of int
        Shape of x; ``(features,)`` or ``(channels, *space)``.
    levels, depth, hidden : int
        Sizes of f (`MultiScale`); a vector has one level.
    image_levels : int
        Number of grey levels; 0 for continuous values.
    context : int
        Number of channels of c; 0 for no regression.

    References
    ----------
    Kingma & Dhariwal, Glow, 2018.

    Examples
    --------
    >>> import torch
    >>> flow = Glow((4,), depth=2, hidden=8, context=2)
    >>> x, c = torch.randn(8, 4), torch.randn(8, 2)
    >>> flow.log_prob(x, c).shape, flow.sample(c, n=5).shape
    (torch.Size([8]), torch.Size([5, 8, 4]))
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
        self.values = torch.Size(shape).numel()
        self.linear: Chain | None = None
        if context:
            self.linear = Chain(
                [VoxelRegression(shape, context), PrincipalComponents(shape)]
                if space
                else [Logarithm(shape[0]), Regression(shape[0], context)]
            )
        self.f = self.stack(shape, levels if space else 1, depth, hidden)
        self.prior = StandardPrior((self.values,))
        self.dequantizer = UniformDequantizer(image_levels) if image_levels else None

    def stack(self, shape: tuple[int, ...], levels: int, depth: int, hidden: int) -> Bijection:
        """An untrained f."""
        space = len(shape) - 1
        subnet = partial(ConvNet, space=space, hidden=hidden) if space else partial(MLP, hidden=hidden)
        return MultiScale(shape, levels, depth, subnet)

    def initialise(self, examples: Images, subject: Tensor, zero: Tensor | None = None) -> None:
        """Fit the regression of x on c; f stays at its initial N(0, I).

        Parameters
        ----------
        examples : Images
            Training examples.
        subject : Tensor
            Subject of every example, ``[example]``.
        zero : Tensor, optional
            The value of each feature of a vector that stands for a measurement of 0, ``[features]``, if there is one.
        """
        if self.linear is None:
            return
        first, second = self.linear.bijections
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
        mark_initialised(self.f)  # all residuals are normalised already

    def around(self, x: Tensor, context: Tensor | None) -> Tensor | None:
        """The context of f, if it has one."""
        return None

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``z: [batch, values]`` and ``log p(x) - log p(z)``, ``[batch]``."""
        total = x.new_zeros(len(x))
        if self.dequantizer is not None:
            x, log_q = self.dequantizer(x)
            total = total - log_q
        if self.linear is not None:
            x, log_det = self.linear(x, context)
            total = total + log_det
        z, log_det = self.f(x, self.around(x, context))
        return z, log_det + total

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Values x of ``z: [batch, values]``."""
        x, _ = self.f.inverse(z, self.around(z, context))
        if self.linear is not None:
            x, _ = self.linear.inverse(x, context)
        return x if self.dequantizer is None else self.dequantizer.inverse(x)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density in nats, ``[batch]``."""
        z, log_det = self.encode(x, context)
        return self.prior.log_prob(z, context) + log_det

    @torch.no_grad()
    def sample(self, context: Tensor, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draw n samples per context ``[batch, channels]``: ``[n, batch, *event]``."""
        repeated = context.repeat(n, 1)
        z = self.prior.sample((len(repeated),), repeated, generator)
        return self.decode(z, repeated).unflatten(0, (n, len(context)))

    def loss(self, batch: Examples) -> Tensor:
        """Mean negative log-likelihood, in nats per value of x."""
        return -self.log_prob(batch.x, batch.context).mean() / self.values
