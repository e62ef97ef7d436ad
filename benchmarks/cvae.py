"""The conditional VAE, a baseline for the cINN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crow.data.examples import Examples
from crow.networks.mlp import MLP


class ConditionalVAE(nn.Module):
    """``x = decoder(z, h(c)) + N(0, sd^2)``, z of ``latent`` values, trained by the evidence lower bound.

    The sd is learned and starts small: starting from 1, the decoder ignores z and all samples are the same. ``sample``
    returns the decoder's means, as is common. Source: Sohn et al. 2015.

    Parameters
    ----------
    trunk : nn.Module
        Maps the condition to ``[batch, hidden]`` or ``[batch, hidden, *space]``.
    hidden : int
        Number of features of the trunk.
    shape : tuple of int
        Shape of x.
    latent : int
        Number of values of z.
    """

    def __init__(self, trunk: nn.Module, hidden: int, shape: tuple[int, ...], latent: int = 8) -> None:
        super().__init__()
        self.trunk, self.shape, self.latent = trunk, shape, latent
        values, positions = torch.Size(shape).numel(), torch.Size(shape[1:]).numel()
        self.summary = nn.Linear(hidden * positions, 128)
        self.encoder = MLP(values + 128, 2 * latent, 256)
        self.decoder = MLP(latent + 128, values, 256, zero=False)
        self.log_sd = nn.Parameter(torch.tensor(-2.0))

    def loss(self, batch: Examples) -> Tensor:
        """The negative evidence lower bound per value, without constants."""
        assert batch.context is not None
        x, c = batch.x.flatten(1), self._summary(batch.context)
        mean, log_sd = self.encoder(torch.cat([x, c], 1)).chunk(2, 1)
        z = mean + log_sd.exp() * torch.randn_like(mean)
        kl = (0.5 * (mean.square() + (2 * log_sd).exp() - 1) - log_sd).sum(1)
        error = (x - self.decoder(torch.cat([z, c], 1))) * torch.exp(-self.log_sd)
        return ((error.square() / 2 + self.log_sd).sum(1) + kl).mean() / x.shape[1]

    @torch.no_grad()
    def sample(self, context: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """n draws per condition, ``[n, batch, *shape]``."""
        c = self._summary(context).expand(n, -1, -1)
        z = torch.randn(n, len(context), self.latent, generator=generator)
        return self.decoder(torch.cat([z, c], 2)).unflatten(2, self.shape)

    def _summary(self, context: Tensor) -> Tensor:
        return nn.functional.silu(self.summary(self.trunk(context).flatten(1)))
