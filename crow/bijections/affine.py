"""Normalisation: of channels, learned from where the data are at first; of every value, by the data's own moments."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from crow.bijections.base import Bijection
from crow.bijections.channels import ChannelBijection


class ActNorm(ChannelBijection):
    """``z = (x - shift) exp(-log_scale)`` per channel of ``x: [*batch, channels, *space]``.

    The first forward pass in training mode sets the shift and scale to the mean and standard deviation of its batch;
    ``initialised`` is saved, so a loaded model never does it again. Padded sequences: call ``initialise(x[mask])``
    first. The identity until then. Source: Kingma & Dhariwal, Glow, 2018, section 3.1.
    """

    initialised: Tensor

    def __init__(self, channels: int, space: int = 0) -> None:
        super().__init__(channels, space)
        self.shift = nn.Parameter(torch.zeros(channels, *[1] * space))
        self.log_scale = nn.Parameter(torch.zeros(channels, *[1] * space))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(x)
        if self.training and not self.initialised:
            self.initialise(x)
        return (x - self.shift) * torch.exp(-self.log_scale), -self.everywhere(self.log_scale.sum(), x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check(z)
        return torch.addcmul(self.shift, z, torch.exp(self.log_scale)), self.everywhere(self.log_scale.sum(), z)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Takes shift and scale from ``x: [*batch, channels, *space]``; constant channels keep scale 1."""
        values = x.movedim(self.axis, 0).flatten(1)
        sd = values.std(1, correction=0)
        self.shift.copy_(values.mean(1).view_as(self.shift))
        self.log_scale.copy_(torch.where(sd > 1e-6, sd, 1.0).log().view_as(self.log_scale))
        self.initialised.fill_(True)


def mark_initialised(flow: nn.Module) -> None:
    """Let no ActNorm of a flow take its shift and scale from a first batch: they are right already."""
    for module in flow.modules():
        if isinstance(module, ActNorm):
            module.initialised.fill_(True)


class Standardise(Bijection):
    """``z = (x - mean - slope c) / sd``: each value of ``x: [batch, *event]`` by its own numbers, which do not learn.

    The context ``c: [batch, *event]`` is an image on the grid of x, of which each value says something of the same one
    of x; without one, or with the slope 0 that is there before `fit`, it says nothing. Raises ValueError for x of
    another event.
    """

    mean: Tensor
    sd: Tensor
    slope: Tensor
    later = ("slope",)

    def __init__(self, mean: Tensor, sd: Tensor, slope: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("sd", sd)
        self.register_buffer("slope", torch.zeros_like(mean) if slope is None else slope)

    def fit(self, pairs: Iterable[tuple[Tensor, Tensor]], least: float) -> None:
        """Take mean, sd and slope from the linear regression of x on c, value by value, of batches that are read once.

        Each slope is drawn towards 0 by its own error (the positive-part estimate of James & Stein 1961). The sd is
        that of a new x about the line, with ``least`` for what x does not show of itself.
        """
        moments = torch.zeros(0)
        for x, c in pairs:
            x, c = x.double(), c.double()
            sums = torch.stack([part.sum(0) for part in (torch.ones_like(x), x, c, x * x, x * c, c * c)])
            moments = moments + sums if len(moments) else sums
        n, (x, c, xx, xc, cc) = moments[0], moments[1:] / moments[0]
        xx, xc, cc = xx - x * x, xc - x * c, cc - c * c
        least_squares = xc / cc.clamp_min(1e-12)
        left = (xx - least_squares * xc).clamp_min(0) / (n - 2).clamp_min(1)
        kept = (1 - left / (least_squares * xc).clamp_min(1e-12)).clamp_min(0)
        slope = kept * least_squares
        error = (xx - 2 * slope * xc + slope.square() * cc).clamp_min(0) * (n + 2) / (n - 2).clamp_min(1)
        sd = (error + least**2).sqrt()
        for buffer, found in ((self.mean, x - slope * c), (self.sd, sd), (self.slope, slope)):
            buffer.copy_(found)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[1:] != self.mean.shape:
            raise ValueError(
                f"Standardise expects [batch, {', '.join(map(str, self.mean.shape))}], got {list(x.shape)}"
            )
        return (x - self._middle(context)) / self.sd, -self.sd.log().sum().expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.addcmul(self._middle(context), z, self.sd), self.sd.log().sum().expand(len(z))

    def _middle(self, context: Tensor | None) -> Tensor:
        return self.mean if context is None else torch.addcmul(self.mean, self.slope, context)
