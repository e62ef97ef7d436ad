"""CRow as published: covariates are outputs of the map, and generation inverts them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crow.bijections.chain import Chain
from crow.bijections.published import PublishedBlock
from crow.data.sequences import Sequences
from crow.objectives.mmd import mmd

FIT, LATENT, GENERATED, RECONSTRUCTED = 300.0, 300.0, 100.0, 150.0  # weights of the objective
NOISE_SD, PAD_SD = 3e-3, 3e-2
RAMP = 600.0


class PublishedCRow(nn.Module):
    """``[x_t | pad] <-> [z_t | pad | y_t]``, visit by visit given the visits before, with y the covariates.

    A generator of regions for a path of covariates, not a density. It is trained to return the covariates, to give z a
    standard normal distribution independent of them, and to generate visits that resemble the cohort. Times are not
    used. Since a covariate is an output, the effect of one that the regions do not determine is overestimated. ``map``
    is the bijection of ``[batch, time, width]``.

    Parameters
    ----------
    features : int
        Number of regions.
    covariates : int
        Number of channels of the context, at least 1.
    blocks : int
        Number of recurrent blocks.
    hidden : int, optional
        Width of the recurrent networks and of each half of a visit, at least what x and [z | y] need. The default
        follows the paper's proportion (75 for 82 regions), with a minimum of 16.
    latents : int
        Length of z per visit.
    ramp_steps : int
        Number of training steps until the generated visits have their full weight.

    Raises
    ------
    ValueError
        If there are no covariates.

    References
    ----------
    Hwang, Tao, Kim & Singh, "Conditional recurrent flow", ICCV 2019, sections 3 and 4, and its code.

    Examples
    --------
    >>> import torch
    >>> flow = PublishedCRow(features=6, covariates=2)
    >>> flow.generate(torch.randn(3, 4, 2), torch.ones(3, 4, dtype=torch.bool)).shape
    torch.Size([3, 4, 6])
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
        self.map = Chain(PublishedBlock(self.width) for _ in range(blocks))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def loss(self, batch: Sequences) -> Tensor:
        """The published objective, summed over time.

        ``300 |[pad, y]' - [pad, y]|^2 + 300 MMD([z', y'], [N(0, I), y]) + 100 ramp MMD(x'(N(0, I), y), x)
        + 150 |[x, pad]'(z' + noise, pad, y) - [x, pad]|^2``, where primes are outputs of the network, and no gradient
        flows through y' in the second term or z' in the last. ``ramp = min(1, 600^(step / ramp_steps) / 600)`` in
        training, and 1 in evaluation so that epochs are comparable. A time is weighted by the share of subjects that
        have a visit there.
        """
        x, y, mask = batch.x, batch.context, batch.mask
        if self.training:
            self.step += 1
        u = torch.cat([x, PAD_SD * _normal(x, self.width - self.features)], -1)
        v, wanted, source = self.map(u)[0], self._draw(y + _noise(y)), self._draw(y + _noise(y))
        z = v[..., : self.latents]
        fit = _squares(v[..., self.latents :], wanted[..., self.latents :], mask)
        y_out, y_wanted = (each[..., self.width - self.covariates :] for each in (v.detach(), wanted))
        latent = _mmd(torch.cat([z, y_out], -1), torch.cat([wanted[..., : self.latents], y_wanted], -1), mask)
        perturbed = torch.cat([z.detach() + _noise(z), source[..., self.latents :]], -1)
        again, generated = self.map.inverse(torch.cat([perturbed, source]))[0].chunk(2)
        reconstructed = _squares(again, u, mask)
        realism = _mmd(generated[..., : self.features], x, mask)
        return FIT * fit + LATENT * latent + GENERATED * self.ramp() * realism + RECONSTRUCTED * reconstructed

    def ramp(self) -> Tensor | float:
        """The weight of generated visits, from 1/600 to 1."""
        return (RAMP ** (self.step / self.ramp_steps) / RAMP).clamp_max(1.0) if self.training else 1.0

    @torch.no_grad()
    def generate(self, context: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw the regions of every visit, ``[batch, time, features]``, for covariates ``[batch, time, y]``.

        Values are 0 wherever ``mask [batch, time]`` is False.
        """
        u, _ = self.map.inverse(self._draw(context, generator))
        return torch.where(mask.unsqueeze(-1), u[..., : self.features], 0.0)

    def _draw(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``[z | pad | y]`` with z ~ N(0, I) and pads close to 0."""
        z = _normal(y, self.latents, generator)
        return torch.cat([z, PAD_SD * _normal(y, self.width - self.latents - self.covariates, generator), y], -1)


def _normal(like: Tensor, channels: int, generator: torch.Generator | None = None) -> Tensor:
    shape = (*like.shape[:-1], channels)
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)


def _noise(like: Tensor) -> Tensor:
    return NOISE_SD * torch.randn_like(like)


def _squares(found: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference per subject of the batch and feature, summed over time."""
    squares = (found - wanted).square().mean(-1)
    return torch.where(mask, squares, 0.0).sum() / len(mask)


def _mmd(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """MMD per time, weighted by the share of subjects with a visit there, summed over time."""
    return (mask.to(x.dtype).mean(0) * mmd(x, y, mask)).sum()
