"""The conditional invertible network: every coupling is told of the condition by a head of its own."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from crow.bijections.chain import Chain
from crow.bijections.coupling import Subnet
from crow.bijections.multiscale import MultiScale
from crow.bijections.priors import StandardPrior
from crow.bijections.regression import Regression
from crow.bijections.temperature import LatentTemperature
from crow.data.examples import Examples
from crow.flows.base import Flow
from crow.networks.conditioning import ConditioningNetwork, WideTrunk, image_head
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP


class CINN(Flow):
    """``log p(x | c) = log N(f(x; h(c)); 0, I) + log |det f'|`` with two-sided affine couplings and Haar levels.

    A vector given a vector begins with the `Regression` on c, so that f has to learn only what that leaves; f ends with
    a `LatentTemperature`, which changes nothing until it is fitted.
    x is a vector or an image in one to three dimensions, the condition c a vector, or an image of x's size beside an
    image. ``h`` is trained along, or on a task of its own first (`crow.flows.predictor`), and then held if
    ``h.freeze()`` says so. Source: Ardizzone et al. 2019, cINN, sections 3.1 to 3.3.

    Args:
        shape: of x, ``(channels, *space)`` or ``(features,)``.
        context: of the condition, ``(channels, *space)`` or ``(features,)``.
        levels: halvings of an image; a vector has 1. Half the channels leave after each but the last.
        depth: couplings a level.
        hidden: width of the subnets and of h.
        features: that each head gives to its coupling.
        clamp: bounds ``|log scale|`` of a coupling.
        noise: sd of the noise on x in the loss; ``log_prob`` is of x as it is.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        context: tuple[int, ...],
        levels: int = 1,
        depth: int = 8,
        hidden: int = 128,
        features: int = 32,
        clamp: float = 1.5,
        noise: float = 0.0,
    ) -> None:
        space, maps = len(shape) - 1, len(context) - 1
        if maps and context[1:] != shape[1:]:
            raise ValueError(f"CINN: a condition in space has the size of x, {shape[1:]}, got {context[1:]}")
        subnet: Subnet = partial(ConvNet, space=space, hidden=hidden) if space else partial(MLP, hidden=hidden)
        h = _network(context[0], hidden, features, levels, depth, maps)
        stack = MultiScale(shape, levels, depth, subnet, features, h, split=False, two_sided=True, clamp=clamp)
        super().__init__(
            Chain([stack, LatentTemperature(stack.parts)]), StandardPrior((torch.Size(shape).numel(),)), context_dims=1 + maps
        )
        self.h, self.noise = h, noise
        self.regression = None if space or maps else Regression(shape[0], context[0])

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.regression is None:
            return super().log_prob(x, context)
        rest, log_det = self.regression(x, context)
        return super().log_prob(rest, context) + log_det

    @torch.no_grad()
    def sample(self, context: Tensor | None = None, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        drawn = super().sample(context, n, generator)
        if self.regression is None:
            return drawn
        assert context is not None
        return self.regression.inverse(drawn, context.expand(n, *context.shape))[0]

    def loss(self, batch: Examples) -> Tensor:
        """Mean negative log-likelihood of x with its noise, in nats."""
        x = batch.x + self.noise * torch.randn_like(batch.x) if self.noise else batch.x
        return -self.log_prob(x, batch.context).mean()


def _network(inputs: int, hidden: int, features: int, levels: int, depth: int, space: int) -> ConditioningNetwork:
    """A head for every coupling; where `MultiScale` asks for that of a prior, h's features pass as they are."""
    trunk: nn.Module
    if space:
        trunk = WideTrunk(inputs, hidden, space)
    else:
        trunk = nn.Sequential(MLP(inputs, hidden, hidden, depth=1, zero=False), nn.SiLU())
    heads: list[nn.Module] = []
    for level in range(1, levels + 1):
        heads += [image_head(hidden, features, level, space) if space else nn.Linear(hidden, features)
                  for _ in range(depth)]  # fmt: skip
        heads.append(nn.Identity())
    return ConditioningNetwork(trunk, heads)
