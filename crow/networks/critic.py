"""The critic of latent values: one trunk and three heads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from crow.networks.mlp import MLP


class CriticOutput(NamedTuple):
    """The critic's output for latent values.

    The logit that they were inferred from data, ``[batch]``, and predictions of their attributes and of the code that
    they were drawn with, ``[batch, channels]`` each.
    """

    real: Tensor
    attributes: Tensor
    code: Tensor


class Critic(nn.Module):
    """``(z: [batch, values], attributes: [batch, channels]) -> CriticOutput`` of z, given the subjects' attributes.

    With f the trunk, the logit is ``w'f(z) + a'V f(z) / sqrt(hidden)``. Sources: for trunk and heads, Liu et al.,
    CAGlow, CVPR 2019; for the logit given the attributes a, Miyato & Koyama, cGANs with projection discriminator, 2018,
    equation 3.
    """

    def __init__(self, values: int, attributes: int, code: int, hidden: int = 256, depth: int = 3) -> None:
        super().__init__()
        self.trunk = MLP(values, hidden, hidden, depth - 1, _leaky, zero=False)
        self.real = nn.Linear(hidden, 1)
        self.projection = nn.Linear(attributes, hidden, bias=False)
        self.attributes = nn.Linear(hidden, attributes)
        self.code = nn.Linear(hidden, code)

    def forward(self, z: Tensor, attributes: Tensor) -> CriticOutput:
        features = _leaky(self.trunk(z))
        match = (self.projection(attributes) * features).sum(1) * features.shape[1] ** -0.5
        return CriticOutput(self.real(features)[:, 0] + match, self.attributes(features), self.code(features))


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2)
