"""CRow as it was published: covariates are outputs of the map, and generation inverts them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crow.bijections.published import PublishedBlock
from crow.objectives.mmd import mmd
from crow.sequences import Sequences

FIT, LATENT, GENERATED, RECONSTRUCTED = 300.0, 300.0, 100.0, 150.0
NOISE, PAD_NOISE = 3e-3, 3e-2
RAMP = 600.0


class PublishedCRow(nn.Module):
    """``[x_t | pad] <-> [z_t | pad | y_t]``, visit by visit given the visits before, with y the covariates.

    A generator of regions for a path of covariates, not a density: it is trained to return the covariates, to leave
    in z a standard normal that does not depend on them, and to invert both to what the cohort looks like. Times are
    not used. Source: Hwang, Tao, Kim & Singh, "Conditional recurrent flow", ICCV 2019, sections 3 and 4, and its code.

    Args:
        features: regions.
        covariates: channels of the context.
        blocks: recurrent blocks.
        hidden: width of the recurrent networks and of each half of a visit; at least what x and [z | y] need. By
            default in the paper's proportion, 75 for 82 regions, and at least 16.
        latents: length of z, at each visit.
        ramp_steps: training steps until the generated visits count in full.
    """

    step: Tensor

    def __init__(
        self,
        features: int,
        covariates: int,
        blocks: int = 2,
        hidden: int | None = None,
        latents: int = 4,
        ramp_steps: int = 300,
    ) -> None:
        super().__init__()
        if covariates < 1:
            raise ValueError("PublishedCRow generates regions from covariates and needs at least one, got 0")
        self.features, self.covariates, self.latents, self.ramp_steps = features, covariates, latents, ramp_steps
        needed = -(-max(features, latents + covariates) // 2)
        self.width = 2 * max(needed, hidden or max(16, round(75 / 82 * features)))
        self.blocks = nn.ModuleList(PublishedBlock(self.width) for _ in range(blocks))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def loss(self, batch: Sequences) -> Tensor:
        """The published objective, summed over time.

        ``300 |[pad, y]' - [pad, y]|^2 + 300 MMD([z', y'], [N(0, I), y]) + 100 ramp MMD(x'(N(0, I), y), x)
        + 150 |[x, pad]'(z' + noise, pad, y) - [x, pad]|^2``: primes are outputs of the network, and no gradient flows
        through y' in the second term or z' in the last. ``ramp = min(1, 600^(step / ramp_steps) / 600)`` in training,
        1 in evaluation so that epochs compare. A time at which only some subjects have a visit counts as their share.
        """
        x, y, mask = batch.x, batch.context, batch.mask
        if self.training:
            self.step += 1
        u = torch.cat([x, self._pad(x, self.features)], -1)
        target = torch.cat([self._pad(x, self.latents + self.covariates), y + _noise(y, NOISE)], -1)
        v = self.forward(u)
        z, rest = v.split([self.latents, self.width - self.latents], -1)
        y_out = rest[..., -self.covariates :].detach()
        normal = torch.randn_like(z)
        loss = FIT * _squares(rest, target, mask)
        loss = loss + LATENT * _mmd(torch.cat([z, y_out], -1), torch.cat([normal, target[..., -self.covariates :]], -1), mask)
        pad, y = self._pad(x, self.latents + self.covariates), y + _noise(y, NOISE)
        perturbed = z.detach() + _noise(z, NOISE)
        both = torch.cat([torch.cat([first, pad, y], -1) for first in (perturbed, torch.randn_like(z))])
        again, generated = self.inverse(both).chunk(2)
        loss = loss + RECONSTRUCTED * _squares(again, u, mask)
        return loss + GENERATED * self.ramp() * _mmd(generated[..., : self.features], x, mask)

    def ramp(self) -> Tensor | float:
        return (RAMP ** (self.step / self.ramp_steps) / RAMP).clamp_max(1.0) if self.training else 1.0

    @torch.no_grad()
    def generate(self, context: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of the regions of every visit, ``[batch, time, features]``, for covariates ``[batch, time, y]``.

        0 where ``mask [batch, time]`` is not True.
        """
        batch, time, _ = context.shape
        noise = torch.randn(
            batch, time, self.width - self.covariates, generator=generator, dtype=context.dtype, device=context.device
        )
        noise[..., self.latents :] *= PAD_NOISE
        u = self.inverse(torch.cat([noise, context], -1))
        return torch.where(mask.unsqueeze(-1), u[..., : self.features], 0.0)

    def forward(self, u: Tensor) -> Tensor:
        """``[x | pad] -> [z | pad | y]``, ``[batch, time, width]``."""
        for block in self.blocks:
            u = block(u)[0]
        return u

    def inverse(self, v: Tensor) -> Tensor:
        """``[z | pad | y] -> [x | pad]``."""
        for block in reversed(self.blocks):
            v = block.inverse(v)[0]
        return v

    def _pad(self, like: Tensor, used: int) -> Tensor:
        return PAD_NOISE * torch.randn(*like.shape[:2], self.width - used, dtype=like.dtype, device=like.device)


def _squares(found: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Mean square a subject of the batch and feature, summed over time."""
    squares = (found - wanted).square().mean(-1)
    return torch.where(mask, squares, 0.0).sum() / len(mask)


def _mmd(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """MMD at every time by the share of subjects it stands for, summed over time."""
    return (mask.to(x.dtype).mean(0) * mmd(x, y, mask)).sum()


def _noise(like: Tensor, scale: float) -> Tensor:
    return scale * torch.randn_like(like)
