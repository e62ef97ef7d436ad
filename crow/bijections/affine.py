"""Normalisation: per channel, initialised by a batch; or per value, by the moments of the data."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from crow.bijections.base import Bijection
from crow.bijections.channels import ChannelBijection

MIN_SD = 1e-6  # a channel with a smaller sd counts as constant


class ActNorm(ChannelBijection):
    """Shift and scale per channel: ``z = (x - shift) exp(-log_scale)``.

    The first forward pass in training mode sets the shift and the scale to the mean and the standard deviation of its
    batch. Until then the map is the identity. The flag ``initialised`` is part of the ``state_dict``, so a loaded model
    is not initialised again. For padded sequences call ``initialise(x[mask])`` first.

    Parameters
    ----------
    channels : int
        Number of channels of ``x: [*batch, channels, *space]``.
    space : int
        Number of spatial axes: 0 for vectors and sequences, 1 to 3 for images.

    Raises
    ------
    ValueError
        If x has another number of channels.

    References
    ----------
    Kingma & Dhariwal, Glow, 2018, section 3.1.

    Examples
    --------
    >>> import torch
    >>> x = 3 * torch.randn(64, 2) + 5
    >>> norm = ActNorm(channels=2)
    >>> z, log_det = norm(x)
    >>> bool(z.mean().abs() < 1e-5), log_det.shape
    (True, torch.Size([64]))
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
        """Set shift and scale from ``x: [*batch, channels, *space]``. Constant channels keep scale 1."""
        values = x.movedim(self.axis, 0).flatten(1)
        sd = values.std(1, correction=0)
        self.shift.copy_(values.mean(1).view_as(self.shift))
        self.log_scale.copy_(torch.where(sd > MIN_SD, sd, 1.0).log().view_as(self.log_scale))
        self.initialised.fill_(True)


def mark_initialised(flow: nn.Module) -> None:
    """Mark every ActNorm of a flow as initialised, so that no batch changes it: the data are normalised already."""
    for module in flow.modules():
        if isinstance(module, ActNorm):
            module.initialised.fill_(True)


class Standardise(Bijection):
    """``z = (x - mean - slope c) / sd`` per value of ``x: [batch, *event]``, with fixed numbers.

    The context ``c: [batch, *event]`` is an image on the grid of x, and each of its values predicts the value of x at
    the same place. Without a context, and before `fit`, the slope plays no part. The numbers are fitted once and are
    not trained.

    Parameters
    ----------
    mean, sd : Tensor
        ``[*event]``.
    slope : Tensor, optional
        ``[*event]``; 0 by default.

    Raises
    ------
    ValueError
        If x has another event shape.

    Examples
    --------
    >>> import torch
    >>> z, log_det = Standardise(torch.full((3,), 10.0), torch.full((3,), 2.0))(torch.full((4, 3), 12.0))
    >>> z[0].tolist(), log_det.shape
    ([1.0, 1.0, 1.0], torch.Size([4]))
    """

    mean: Tensor
    sd: Tensor
    slope: Tensor

    def __init__(self, mean: Tensor, sd: Tensor, slope: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("sd", sd)
        self.register_buffer("slope", torch.zeros_like(mean) if slope is None else slope)

    def fit(self, pairs: Iterable[tuple[Tensor, Tensor]], min_sd: float) -> None:
        """Set mean, sd and slope by a linear regression of x on c per value.

        Each slope is shrunk towards 0 by its own error (the positive-part estimate of James & Stein 1961). The sd is
        that of a new x about the line.

        Parameters
        ----------
        pairs : iterable of (Tensor, Tensor)
            Batches of x and c, read once.
        min_sd : float
            Added to the sd in squares: the noise of x that the data do not show.
        """
        n, sums = 0, list(torch.zeros(5, *self.mean.shape, dtype=torch.float64))
        for batch in pairs:  # one image after the other: whole volumes in float64 are large
            for x, c in zip(*(part.double() for part in batch), strict=True):
                for total, one, other in zip(sums, (x, c, x, x, c), (None, None, x, c, c), strict=True):
                    total.add_(one) if other is None else total.addcmul_(one, other)
                n += 1
        x, c, xx, xc, cc = (total.div_(n) for total in sums)
        xx.addcmul_(x, x, value=-1)
        xc.addcmul_(x, c, value=-1)
        cc.addcmul_(c, c, value=-1)
        least_squares = xc / cc.clamp_min(1e-12)
        explained, freedom = least_squares * xc, max(n - 2, 1)
        residual = (xx - explained).clamp_min_(0).div_(freedom)
        slope = residual.div_(explained.clamp_min_(1e-12)).neg_().add_(1).clamp_min_(0).mul_(least_squares)
        error = (xx - 2 * slope * xc).addcmul_(slope.square(), cc).clamp_min_(0).mul_((n + 2) / freedom)
        self.mean.copy_(x - slope * c)
        self.sd.copy_((error + min_sd**2).sqrt())
        self.slope.copy_(slope)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[1:] != self.mean.shape:
            raise ValueError(
                f"Standardise expects [batch, {', '.join(map(str, self.mean.shape))}], got {list(x.shape)}"
            )
        return (x - self._centre(context)) / self.sd, -self.sd.log().sum().expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.addcmul(self._centre(context), z, self.sd), self.sd.log().sum().expand(len(z))

    def _centre(self, context: Tensor | None) -> Tensor:
        return self.mean if context is None else torch.addcmul(self.mean, self.slope, context)
