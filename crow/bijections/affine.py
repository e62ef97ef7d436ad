"""Normalisation: of channels, learned from where the data are at first; of every value, by the data's own moments."""

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


class Standardise(Bijection):
    """``z = (x - mean) / sd`` with a mean and sd for every value of ``x: [batch, *event]``, which do not learn.

    Raises ValueError for x of another event.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, mean: Tensor, sd: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("sd", sd)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[1:] != self.mean.shape:
            raise ValueError(
                f"Standardise expects [batch, {', '.join(map(str, self.mean.shape))}], got {list(x.shape)}"
            )
        return (x - self.mean) / self.sd, -self.sd.log().sum().expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.addcmul(self.mean, z, self.sd), self.sd.log().sum().expand(len(z))
