"""CAGlow: an encoder learns, against a critic, the latent values of a Glow for subjects with given attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from crow.data.examples import Examples
from crow.flows.glow import Glow
from crow.networks.critic import Critic, CriticOutput
from crow.networks.mlp import MLP
from crow.objectives.adversarial import discriminator_loss, frozen, generator_loss, gradient_penalty
from crow.objectives.attributes import attribute_loss
from crow.objectives.discrepancy import discrepancy

VALIDATION_DRAWS = 4  # of the encoder, per visit of the validation set


class CAGlow(nn.Module):
    """Conditional adversarial Glow: ``x = F^-1(E(c, u, e))`` with attributes c, a code u and noise e.

    F is a trained Glow, whose weights are frozen. ``E(c, u, e) = e + MLP(c, u, e)``, with u and e from N(0, I), so at
    the start E draws from the prior of F. A critic with one trunk and three heads sees latent values ``F(x)`` of data
    and those of E. D_i tells the two apart, given c; C learns c from F(x); D_e learns u from E. E is trained to deceive
    D_i, and to make c and u recognisable to C and D_e. One `loss` has both players, with separate gradients.
    The critic's gradient at the data is penalised (R1), and training averages the weights, so that it converges.

    In the paper D_i does not see c. It then accepts the right mixture over all c, and C accepts the most typical
    example. Given c (Miyato & Koyama 2018), D_i accepts only the distribution of z given c. F begins with a regression
    on c (`Glow`), so E has to learn only what that leaves.

    Parameters
    ----------
    glow : Glow
        F.
    attributes : sequence of int
        Number of channels of each attribute in the context: 1 for a (standardised) number, K for one of K classes.
    code : int
        Number of values of u.
    hidden, depth : int
        Width and depth of the networks of the encoder and the critic.
    attribute_weight, code_weight : float
        Weights of C and D_e in the loss of E.
    penalty_weight : float
        Weight of the gradient penalty.

    References
    ----------
    Liu et al., Conditional adversarial generative flow for controllable image synthesis, CVPR 2019, section 3.

    Examples
    --------
    >>> import torch
    >>> from crow.flows.glow import Glow
    >>> flow = CAGlow(Glow((4,), depth=2, hidden=8, context=3), attributes=(1, 2), hidden=16)
    >>> c = torch.tensor([[0.5, 1.0, 0.0]])
    >>> flow.sample(c, n=5).shape
    torch.Size([5, 1, 4])
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
        penalty_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.glow = glow.requires_grad_(False)
        self.attributes, self.code = tuple(attributes), code
        self.attribute_weight, self.code_weight, self.penalty_weight = attribute_weight, code_weight, penalty_weight
        channels, values = sum(attributes), glow.values
        self.encoder = MLP(channels + code + values, values, hidden, depth)
        self.critic = Critic(values, channels, code, hidden, depth)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.glow.eval()
        return self

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The log-density of F, ``[batch]``: E draws samples, but has no density."""
        return self.glow.log_prob(x, context)

    @torch.no_grad()
    def sample(self, context: Tensor, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draw n samples per context ``[batch, channels]``: ``[n, batch, *event]``."""
        repeated = context.repeat(n, 1)
        code, noise = self.draw_code_and_noise(repeated, generator)
        return self.generate(repeated, code, noise).unflatten(0, (n, len(context)))

    @torch.no_grad()
    def generate(self, context: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """Values x for ``context [batch, channels]``, ``code [batch, code]`` and ``noise [batch, values]``."""
        return self.glow.decode(self.encode(context, code, noise), context)

    def encode(self, context: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """E: ``z [batch, values]``."""
        return noise + self.encoder(torch.cat([context, code, noise], 1))

    def draw_code_and_noise(self, context: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """A code and noise per context, from N(0, I)."""
        shape = len(context), self.code + self.glow.values
        drawn = torch.randn(shape, generator=generator, dtype=context.dtype, device=context.device)
        return drawn[:, : self.code], drawn[:, self.code :]

    def loss(self, batch: Examples) -> Tensor:
        """The objective of both players; in evaluation mode, the `discrepancy` of E's latent values from F(x)."""
        assert batch.context is not None
        c = batch.context
        with torch.no_grad():
            real, _ = self.glow.encode(batch.x, c)
        if not self.training:
            fakes = (self.encode(c, *self.draw_code_and_noise(c)) for _ in range(VALIDATION_DRAWS))
            return torch.stack([discrepancy(fake, real, c) for fake in fakes]).mean()
        code, noise = self.draw_code_and_noise(c)
        fake = self.encode(c, code, noise)
        return self._critic_loss(real.requires_grad_(), fake.detach(), c, code) + self._encoder_loss(fake, c, code)

    def _critic_loss(self, real: Tensor, fake: Tensor, c: Tensor, code: Tensor) -> Tensor:
        for_real: CriticOutput = self.critic(real, c)
        for_fake: CriticOutput = self.critic(fake, c)
        return (
            discriminator_loss(for_real.real, for_fake.real)
            + self.penalty_weight * gradient_penalty(for_real.real, real)
            + attribute_loss(for_real.attributes, c, self.attributes)
            + _code_loss(for_fake.code, code)
        )

    def _encoder_loss(self, fake: Tensor, c: Tensor, code: Tensor) -> Tensor:
        output: CriticOutput = frozen(self.critic, fake, c)
        return (
            generator_loss(output.real)
            + self.attribute_weight * attribute_loss(output.attributes, c, self.attributes)
            + self.code_weight * _code_loss(output.code, code)
        )


def _code_loss(prediction: Tensor, code: Tensor) -> Tensor:
    """``-log N(code; prediction, I)`` per value, without constants."""
    return (prediction - code).square().mean() / 2
