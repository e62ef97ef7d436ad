"""CAGlow: an encoder that learns, against a critic, which latents of a Glow people with given attributes have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from crow.data.examples import Examples
from crow.flows.glow import Glow
from crow.networks.critic import Critic, CriticOutput
from crow.networks.mlp import MLP
from crow.objectives.adversarial import discriminator_loss, frozen, generator_loss, slope
from crow.objectives.attributes import attribute_loss
from crow.objectives.discrepancy import discrepancy

DRAWS = 4  # of the encoder, for every held-out visit


class CAGlow(nn.Module):
    """``x = F^-1(E(c, u, e))``: F a Glow trained before and fixed, c the attributes, u a code nobody names, e noise.

    ``E(c, u, e) = e + MLP(c, u, e)``, with u and e from N(0, I): at the start E is the prior of F. A critic of one
    trunk and three heads sees latents ``F(x)`` of data and those of E: D_i tells them apart, given c; C learns c from
    F(x); D_e learns u from E. E makes D_i take its latents for data's, and C and D_e find c and u in them: it carries
    both. One `loss` holds both players, whose gradients are kept apart. The critic's slope at the data is penalised
    (R1) and the training code averages the weights, so that the game does not circle.

    The paper's D_i knows no c: it is content with the right mixture over all c, and C with what it is surest of. Given
    c (Miyato & Koyama 2018), D_i is content with the distribution of z given c alone.

    F begins with a regression on c (`Glow`): what z then has of c is what that leaves, and E learns it.

    Source: Liu et al., Conditional adversarial generative flow for controllable image synthesis, CVPR 2019, section 3.

    Args:
        glow: F; it learns nothing more.
        attributes: channels of each attribute in the context: 1 for a (standardised) number, K for one of K classes.
        code: values of u.
        hidden, depth: of the encoder's and the critic's networks.
        attribute_weight, code_weight, slope_weight: of E's part of C, of D_e, and of the penalty.
    """

    def __init__(
        self,
        glow: Glow,
        attributes: Sequence[int],
        code: int = 2,
        hidden: int = 256,
        depth: int = 3,
        attribute_weight: float = 1.0,
        code_weight: float = 5.0,
        slope_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.glow = glow.requires_grad_(False)
        self.attributes, self.code = tuple(attributes), code
        self.attribute_weight, self.code_weight, self.slope_weight = attribute_weight, code_weight, slope_weight
        channels, values = sum(attributes), glow.values
        self.encoder = MLP(channels + code + values, values, hidden, depth)
        self.critic = Critic(values, channels, code, hidden, depth)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.glow.eval()
        return self

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """That of F: E draws, but has no density."""
        return self.glow.log_prob(x, context)

    @torch.no_grad()
    def sample(self, context: Tensor, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """``[n, batch, *event]``: n draws for every context ``[batch, channels]``."""
        repeated = context.repeat(n, 1)
        return self.generate(repeated, *self.chance(repeated, generator)).unflatten(0, (n, len(context)))

    @torch.no_grad()
    def generate(self, context: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """x of ``context [batch, channels]``, ``code [batch, code]`` and ``noise [batch, values]``."""
        return self.glow.decode(self.encode(context, code, noise), context)

    def encode(self, context: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """E: ``z [batch, values]``."""
        return noise + self.encoder(torch.cat([context, code, noise], 1))

    def chance(self, context: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """A code and noise for every context, from N(0, I)."""
        shape = len(context), self.code + self.glow.values
        drawn = torch.randn(shape, generator=generator, dtype=context.dtype, device=context.device)
        return drawn[:, : self.code], drawn[:, self.code :]

    def loss(self, batch: Examples) -> Tensor:
        """Both players' objective; in evaluation mode the `discrepancy` of E's latents from F(x), given c."""
        assert batch.context is not None
        c = batch.context
        with torch.no_grad():
            real, _ = self.glow.encode(batch.x, c)
        if not self.training:
            fakes = (self.encode(c, *self.chance(c)) for _ in range(DRAWS))
            return torch.stack([discrepancy(fake, real, c) for fake in fakes]).mean()
        code, noise = self.chance(c)
        fake = self.encode(c, code, noise)
        return self._critic_loss(real.requires_grad_(), fake.detach(), c, code) + self._encoder_loss(fake, c, code)

    def _critic_loss(self, real: Tensor, fake: Tensor, c: Tensor, code: Tensor) -> Tensor:
        of_real: CriticOutput = self.critic(real, c)
        of_fake: CriticOutput = self.critic(fake, c)
        return (
            discriminator_loss(of_real.real, of_fake.real)
            + self.slope_weight * slope(of_real.real, real)
            + attribute_loss(of_real.attributes, c, self.attributes)
            + _code_loss(of_fake.code, code)
        )

    def _encoder_loss(self, fake: Tensor, c: Tensor, code: Tensor) -> Tensor:
        seen: CriticOutput = frozen(self.critic, fake, c)
        return (
            generator_loss(seen.real)
            + self.attribute_weight * attribute_loss(seen.attributes, c, self.attributes)
            + self.code_weight * _code_loss(seen.code, code)
        )


def _code_loss(told: Tensor, code: Tensor) -> Tensor:
    """``-log N(code; told, I)`` a value, without its constant."""
    return (told - code).square().mean() / 2
