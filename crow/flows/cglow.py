"""CGlow: Glow with a prior that depends on the attributes of a visit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crow.bijections.multiscale import MultiScale
from crow.bijections.priors import ConditionalPrior, Prior, StandardPrior
from crow.bijections.temperature import LatentTemperature
from crow.data.examples import Examples
from crow.flows.glow import Glow
from crow.objectives.attributes import attribute_loss


class CGlow(Glow):
    """Glow with a conditional prior: ``p(z | c) = N(z_top; mu(c), sd(c)) N(z_rest; 0, I)``.

    mu and log-sd are linear in the attributes c, and 0 at initialisation. The top is all of a vector, and the coarsest
    level of an image. In training `loss` adds ``weight`` times the loss of a linear map that predicts the attributes
    from ``z_top``.

    Parameters
    ----------
    shape : tuple of int
        Shape of x; ``(features,)`` or ``(channels, *space)``.
    attributes : sequence of int
        Number of channels of each attribute in the context: 1 for a (standardised) number, K for one of K classes.
    levels, depth, hidden, image_levels
        See `Glow`.
    weight : float
        Weight of the attribute loss, relative to nats per value of x.

    References
    ----------
    Kingma & Dhariwal, Glow, 2018, appendix D; the baseline of Liu et al., CAGlow, CVPR 2019.

    Examples
    --------
    >>> import torch
    >>> flow = CGlow((4,), attributes=(1, 2), depth=2, hidden=8)
    >>> x, c = torch.randn(8, 4), torch.tensor([[0.5, 1.0, 0.0]]).expand(8, -1)
    >>> flow.log_prob(x, c).shape, flow.sample(c, n=5).shape
    (torch.Size([8]), torch.Size([5, 8, 4]))
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        attributes: Sequence[int],
        levels: int = 2,
        depth: int = 6,
        hidden: int = 64,
        image_levels: int = 0,
        weight: float = 0.01,
    ) -> None:
        super().__init__(shape, levels, depth, hidden, image_levels, sum(attributes))
        self.attributes, self.weight = tuple(attributes), weight
        assert isinstance(self.f, MultiScale)
        self.prior = TopPrior(self.f.parts, sum(attributes))
        self.attribute_head = _zero_linear(self.f.top, sum(attributes))

    def loss(self, batch: Examples) -> Tensor:
        """Mean of the objective, in nats per value of x."""
        assert batch.context is not None
        z, log_det = self.encode(batch.x, batch.context)
        density = -(self.prior.log_prob(z, batch.context) + log_det).mean() / self.values
        if not self.training:
            return density
        prediction = self.attribute_head(z[:, : self.f.top])
        return density + self.weight * attribute_loss(prediction, batch.context, self.attributes)


class TopPrior(Prior):
    """``N(z_top; mu(c), sd(c)) N(z_rest; 0, I)`` of ``z: [batch, sum(sizes)]``, the top first; linear in c.

    All sds are multiplied by the `LatentTemperature` of the parts of z, which is 1 until it is fitted.
    """

    def __init__(self, sizes: Sequence[int], context: int) -> None:
        super().__init__()
        self.top = sizes[0]
        self.conditional = ConditionalPrior(self.top, context, _zero_linear)
        self.temperature = LatentTemperature(sizes)
        self.standard = StandardPrior((sum(sizes),))

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        mean, log_sd = self.conditional.moments(context)
        top = (z[:, : self.top] - mean) * torch.exp(-log_sd)
        e, log_det = self.temperature(torch.cat([top, z[:, self.top :]], 1))
        return self.standard.log_prob(e) + log_det - log_sd.sum(1)

    def sample(
        self, batch: tuple[int, ...], context: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        mean, log_sd = self.conditional.moments(context)
        e, _ = self.temperature.inverse(self.standard.sample(batch, generator=generator))
        return torch.cat([torch.addcmul(mean, e[:, : self.top], log_sd.exp()), e[:, self.top :]], 1)


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
