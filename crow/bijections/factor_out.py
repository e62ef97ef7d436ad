"""Multi-scale factor-out: some channels leave the flow early, given those that stay."""

from __future__ import annotations

import torch
from torch import Tensor

from crow.bijections.base import Bijection
from crow.bijections.channels import ChannelBijection
from crow.bijections.coupling import Subnet
from crow.bijections.priors import SplitPrior


class FactorOut(ChannelBijection):
    """Factor out channels by a split prior: ``z = [inner(x0, c), e1]`` with ``e1 = (x1 - mu) / sd``.

    Maps ``[*batch, *shape]`` to ``[*batch, values]``. ``x0`` are the first ``kept`` channels; ``mu`` and ``sd`` are the
    moments of a `SplitPrior` given ``x0`` and the context. N(0, I) of e1 is the density
    ``p(x1 | x0, c) = N(x1; mu(x0, c), sd(x0, c))``, and its ``-sum log sd`` is part of ``log_det``. If the subnet is
    zero, the map only flattens x.

    Parameters
    ----------
    shape : tuple of int
        ``(channels, *space)`` of an event.
    kept : int
        Number of channels that stay, at least 1 and fewer than ``channels``.
    context : int
        Number of channels of the context (0 for none).
    subnet : callable
        Makes the network of the split prior from its numbers of input and output channels.
    inner : Bijection, optional
        The rest of the flow, which maps x0 to ``[*batch, values of x0]``. By default x0 is flattened.

    Raises
    ------
    ValueError
        If ``kept`` is out of range, or if x has another shape.

    References
    ----------
    Winkler et al. 2019, equation 8.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from crow.networks.convolutional import ConvNet
    >>> layer = FactorOut((4, 8, 8), kept=2, context=0, subnet=partial(ConvNet, space=2))
    >>> x = torch.randn(3, 4, 8, 8)
    >>> z, log_det = layer(x)
    >>> z.shape, torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
    (torch.Size([3, 256]), True)
    """

    def __init__(
        self, shape: tuple[int, ...], kept: int, context: int, subnet: Subnet, inner: Bijection | None = None
    ) -> None:
        channels, *sizes = shape
        super().__init__(channels, len(sizes))
        if not 0 < kept < channels:
            raise ValueError(f"FactorOut keeps between 1 and {channels - 1} of {channels} channels, got {kept}")
        self.shape, self.kept, self.inner = tuple(shape), kept, inner
        self.prior = SplitPrior(channels - kept, kept, context, subnet, self.space)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[self.axis :] != self.shape:
            raise ValueError(f"FactorOut expects [*batch, {', '.join(map(str, self.shape))}], got {list(x.shape)}")
        x0, x1 = x.split([self.kept, self.channels - self.kept], self.axis)
        mean, log_sd = self.prior.moments(x0, context)
        e1 = (x1 - mean) * torch.exp(-log_sd)
        log_det = -log_sd.sum(self.event)
        if self.inner is None:
            return torch.cat([x0, e1], self.axis).flatten(self.axis), log_det
        z0, inner_log_det = self.inner(x0, context)
        return torch.cat([z0, e1.flatten(self.axis)], -1), inner_log_det + log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept_shape = torch.Size((self.kept, *self.shape[1:]))
        values = torch.Size(self.shape).numel()
        if z.shape[-1] != values:
            raise ValueError(f"FactorOut inverts [*batch, {values}], got {list(z.shape)}")
        z0, e1 = z.split([kept_shape.numel(), values - kept_shape.numel()], -1)
        if self.inner is None:
            x0, inner_log_det = z0.unflatten(-1, kept_shape), z.new_zeros(())
        else:
            x0, inner_log_det = self.inner.inverse(z0, context)
        mean, log_sd = self.prior.moments(x0, context)
        x1 = torch.addcmul(mean, e1.unflatten(-1, (-1, *self.shape[1:])), torch.exp(log_sd))
        return torch.cat([x0, x1], self.axis), inner_log_det + log_sd.sum(self.event)
