"""The conditional invertible network: every coupling receives the condition through a head of its own."""

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

FEATURES = 32  # that each head gives
PATCH_FEATURES = 16  # in a flow that is trained on patches


class CINN(Flow):
    """The conditional INN: ``log p(x | c) = log N(f(x; h(c)); 0, I) + log |det f'|``.

    f is a `MultiScale` stack with two-sided affine couplings and Haar levels. It ends with a `LatentTemperature`, which
    is the identity until it is fitted. x is a vector, or an image in one to three dimensions. The condition c is a
    vector, or an image of the same size as x. If both are vectors, the flow begins with a `Regression` on c, so that f
    has to learn only what that leaves. The conditioning network ``h`` is trained with the flow, or first on a task of
    its own (`crow.flows.predictor`); ``h.freeze()`` then keeps its trunk fixed.

    Parameters
    ----------
    shape : tuple of int
        Shape of x, ``(channels, *space)`` or ``(features,)``.
    context : tuple of int
        Shape of the condition, ``(channels, *space)`` or ``(features,)``.
    levels : int
        Number of halvings of an image; 1 for a vector. Half of the channels leave after each level except the last.
    depth : int
        Number of couplings per level.
    hidden : int
        Width of the subnets and of h.
    features : int
        Number of features that each head gives to its coupling.
    clamp : float
        Bound of ``|log scale|`` of a coupling.
    noise : float
        Sd of the noise that `loss` adds to x; ``log_prob`` uses x as it is.
    positions : bool
        Whether the coordinates of voxels are added to a condition that is an image; patches have those of their image
        among the channels of the condition.

    Raises
    ------
    ValueError
        If the condition is an image of another size than x.

    References
    ----------
    Ardizzone et al. 2019, cINN, sections 3.1 to 3.3.

    Examples
    --------
    >>> import torch
    >>> flow = CINN(shape=(4,), context=(2,), depth=2, hidden=8)
    >>> x, c = torch.randn(8, 4), torch.randn(8, 2)
    >>> flow.log_prob(x, c).shape, flow.sample(c, n=5).shape
    (torch.Size([8]), torch.Size([5, 8, 4]))
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        context: tuple[int, ...],
        levels: int = 1,
        depth: int = 8,
        hidden: int = 128,
        features: int = FEATURES,
        clamp: float = 1.5,
        noise: float = 0.0,
        positions: bool = True,
    ) -> None:
        space, maps = len(shape) - 1, len(context) - 1
        if maps and context[1:] != shape[1:]:
            raise ValueError(f"CINN: a condition that is an image needs the size of x, {shape[1:]}, got {context[1:]}")
        subnet: Subnet = partial(ConvNet, space=space, hidden=hidden) if space else partial(MLP, hidden=hidden)
        h = _network(context[0], hidden, features, levels, depth, maps, positions)
        stack = MultiScale(shape, levels, depth, subnet, features, h, split=False, two_sided=True, clamp=clamp)
        chain = Chain([stack, LatentTemperature(stack.parts)])
        super().__init__(chain, StandardPrior((torch.Size(shape).numel(),)), context_dims=1 + maps)
        self.h, self.noise = h, noise
        self.regression = None if space or maps else Regression(shape[0], context[0])

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.regression is None:
            return super().log_prob(x, context)
        residual, log_det = self.regression(x, context)
        return super().log_prob(residual, context) + log_det

    @torch.no_grad()
    def sample(self, context: Tensor | None = None, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        drawn = super().sample(context, n, generator)
        if self.regression is None:
            return drawn
        assert context is not None
        return self.regression.inverse(drawn, context.expand(n, *context.shape))[0]

    def loss(self, batch: Examples) -> Tensor:
        """Mean negative log-likelihood of x with noise, in nats."""
        x = batch.x + self.noise * torch.randn_like(batch.x) if self.noise else batch.x
        return -self.log_prob(x, batch.context).mean()


def _network(
    inputs: int, hidden: int, features: int, levels: int, depth: int, space: int, positions: bool
) -> ConditioningNetwork:
    """Network h with one head per coupling."""
    trunk: nn.Module
    if space:
        trunk = WideTrunk(inputs, hidden, space, positions)
    else:
        trunk = nn.Sequential(MLP(inputs, hidden, hidden, depth=1, zero=False), nn.SiLU())
    heads: list[nn.Module] = []
    for level in range(1, levels + 1):
        heads += [image_head(hidden, features, level, space) if space else nn.Linear(hidden, features)
                  for _ in range(depth)]  # fmt: skip
        heads.append(_Nothing())
    return ConditioningNetwork(trunk, heads, 2**levels if space else 1)


class _Nothing(nn.Module):
    """The head of a prior that has no context."""

    def forward(self, features: Tensor) -> Tensor:
        return features[:, :0]
