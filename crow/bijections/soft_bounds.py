"""Values with bounds, on the whole line: the first layer of the flow of a table."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from crow.bijections.base import Bijection
from crow.bijections.patterns import only

NEAREST = 10  # distance from a bound, in softness and the spacing of numbers at 1
LEAST_SD = 1e-2  # of values on the line: a region that varies less in these visits is not stretched
ROUNDING = 1e-4  # of values in single precision, in standard deviations


class Bounds(NamedTuple):
    """What values there are, in the units of the flow's input; each ``[region]``.

    ``least`` and ``most`` are infinite if there is no bound; ``open_`` tells whether the bound itself cannot be
    reached. ``step`` is 0 for a continuous region, else the distance of its levels, which start at ``origin``.
    """

    least: Tensor
    most: Tensor
    open_: Tensor
    step: Tensor
    origin: Tensor

    @classmethod
    def none(cls, features: int) -> Bounds:
        """All real."""
        endless, zero = torch.full((features,), math.inf), torch.zeros(features)
        return cls(-endless, endless, zero.bool(), zero, zero)


class SoftBounds(Bijection):
    """``y = x + s log(1 - e^-(x - L)/s) - s log(1 - e^-(U - x)/s)``, then standardised: (L, U) becomes the whole line.

    Far from the bounds, in units of the softness s, the map is the identity; near one it is a logarithm. So s leads
    from a line with two bends (small) to the logit, or with one bound the logarithm (large): some are tried, and
    the likelihood of the training data chooses (`crow.flows.crow.CRowFlow.initialise`). The inverse is closed, too:
    ``x = L + s softplus((y - L)/s) - s softplus((y - U)/s)``.

    L and U lie beyond the bounds by half a step for scores with levels, whose cells are then inside, and by ``s log 2``
    if the bound itself is among the values. A region without bounds stays as it is. Shapes ``[*, region]``; the
    log-determinant is the sum over the measured regions.

    Parameters
    ----------
    features : int
        Number of regions.

    Examples
    --------
    A score from 0 to 30 beside a region without bounds:

    >>> import torch
    >>> endless, none = torch.tensor([0.0, -torch.inf]), torch.zeros(2)
    >>> layer = SoftBounds(2)
    >>> layer.set(Bounds(endless, torch.tensor([30.0, torch.inf]), none.bool(), torch.tensor([1.0, 0.0]), none))
    >>> x = layer.inverse(torch.tensor([[-9.0, -9.0], [90.0, 90.0]]))[0]
    >>> [f"{value:.1f}" for value in x[:, 0].tolist()], x[:, 1].tolist()  # half a step beyond the bounds at most
    (['-0.5', '30.5'], [-9.0, 90.0])
    """

    least: Tensor
    most: Tensor
    open_: Tensor
    step: Tensor
    origin: Tensor
    softness: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        for name, value in Bounds.none(features)._asdict().items():
            self.register_buffer(name, value.clone())
        self.register_buffer("softness", torch.ones(features))
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @property
    def bounded(self) -> Tensor:
        """Which regions have a bound, ``[region]``."""
        return torch.isfinite(self.least) | torch.isfinite(self.most)

    @property
    def has_levels(self) -> bool:
        return bool((self.step > 0).any())

    def set(self, bounds: Bounds) -> None:
        """Take the bounds; the softness starts at 1."""
        for name, value in bounds._asdict().items():
            getattr(self, name).copy_(value)
        self.softness.fill_(1.0)

    def forward(
        self, x: Tensor, context: Tensor | None = None, measured: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        y, log_slope = self.each(x)
        return only(measured, y), only(measured, log_slope).sum(-1)

    def each(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The map of every value, and the logarithm of its slope there; both ``[*, region]``."""
        s, (low, high) = self.softness, self._ends()
        has_low, has_high = torch.isfinite(low), torch.isfinite(high)
        nearest = NEAREST * torch.finfo(x.dtype).eps
        w = torch.where(has_low, (x - low) / s, 1.0).clamp_min(nearest)
        v = torch.where(has_high, (high - x) / s, 1.0).clamp_min(nearest)
        y = x + torch.where(has_low, s * _log_one_less(w), 0.0) - torch.where(has_high, s * _log_one_less(v), 0.0)
        slope = 1 + torch.where(has_low, 1 / torch.expm1(w), 0.0) + torch.where(has_high, 1 / torch.expm1(v), 0.0)
        return (y - self.shift) / self.scale, torch.where(self.bounded, slope.log() - self.scale.log(), 0.0)

    def inverse(
        self, z: Tensor, context: Tensor | None = None, measured: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        y = z * self.scale + self.shift
        s, (low, high) = self.softness, self._ends()
        has_low, has_high = torch.isfinite(low), torch.isfinite(high)
        below = torch.where(has_low, (y - torch.where(has_low, low, 0.0)) / s, 0.0)
        above = torch.where(has_high, (torch.where(has_high, high, 0.0) - y) / s, 0.0)
        # From the lower end, and near the upper end from there: the same number with the digits that matter.
        from_low = low + s * _softplus(below) - torch.where(has_high, s * _softplus(-above), 0.0)
        from_high = high - s * _softplus(above) + torch.where(has_low, s * _softplus(-below), 0.0)
        x = torch.where(has_low & ~(has_high & (above < below)), from_low, torch.where(has_high, from_high, y))
        return only(measured, x), -only(measured, self.each(x)[1]).sum(-1)

    def soften(self, softness: Tensor) -> None:
        """Set the softness ``[region]`` of the regions that have a bound.

        That of a score is half a step to a step: its levels are anywhere within their step, and a larger softness would
        make a large difference of where in the step of the bound that is.
        """
        levels = softness.clamp(self.step / 2, self.step)
        softness = torch.where(self.step > 0, levels, softness)
        self.softness.copy_(torch.where(self.bounded, softness, 1.0))

    def standardise(self, x: Tensor, present: Tensor) -> None:
        """Let the values that are ``present`` have mean 0 and sd 1 in bounded regions; others stay as they are."""
        self.shift.fill_(0.0)
        self.scale.fill_(1.0)
        y = self.forward(x)[0].flatten(0, -2)
        weight = present.expand_as(x).flatten(0, -2).to(y.dtype)
        count = weight.sum(0).clamp_min(1)
        mean = (y * weight).sum(0) / count
        sd = ((y - mean).square() * weight).sum(0).div(count).sqrt()
        sd = torch.where(sd < LEAST_SD, 1.0, sd)
        self.shift.copy_(torch.where(self.bounded, mean, 0.0))
        self.scale.copy_(torch.where(self.bounded, sd, 1.0))

    def ends(self) -> tuple[Tensor, Tensor]:
        """The least and the greatest value as the map has them, ``[region]``; infinite without a bound."""
        return self.each(self.least)[0], self.each(self.most)[0]

    def dequantise(self, x: Tensor, noise: Tensor) -> Tensor:
        """``noise`` in [0, 1] of a step around the level."""
        return x + (noise - 0.5) * self.step

    def allows(self, x: Tensor) -> Tensor:
        """Whether values lie within the bounds, up to half a step or rounding."""
        room = torch.maximum(self.step / 2, torch.full_like(self.step, ROUNDING))
        return (x >= self.least - room) & (x <= self.most + room)

    def settle(self, x: Tensor) -> Tensor:
        """The nearest values that exist: levels of a score, and nothing beyond a bound."""
        step = torch.where(self.step > 0, self.step, 1.0)
        levels = self.origin + step * ((x - self.origin) / step).round()
        return torch.where(self.step > 0, levels, x).clamp(self.least, self.most)

    def _ends(self) -> tuple[Tensor, Tensor]:
        beyond = torch.where(self.step > 0, self.step / 2, torch.where(self.open_, 0.0, self.softness * math.log(2)))
        return self.least - beyond, self.most + beyond


def _softplus(w: Tensor) -> Tensor:
    """``log(1 + e^w)`` to the last digit; torch's own is a line from 20 on."""
    return torch.logaddexp(w, torch.zeros_like(w))


def _log_one_less(w: Tensor) -> Tensor:
    """``log(1 - e^-w)`` of w > 0."""
    return torch.log(-torch.expm1(-w))
