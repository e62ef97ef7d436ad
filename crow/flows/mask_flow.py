"""The probability of masks, whose thresholds may shift together from draw to draw."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from crow.bijections.dequantize import BinaryDequantizer
from crow.flows.base import DiscreteFlow, Flow

EDGE = 1.6449  # 95 % quantile of N(0, 1)


def shifts_of(power: float, count: int = 15) -> Tensor:
    """``count`` equally likely shifts of the thresholds of a mask, in units of `MaskFlow.shift_sd`.

    Quantiles q of N(0, 1), as ``sign(q) EDGE |q / EDGE|^power``. A power above 1 makes small shifts smaller and leaves
    the interval of 90 %: most borders are nearly right, a few are far off.
    """
    normal = torch.special.ndtri((torch.arange(count) + 0.5) / count)
    return normal.sign() * EDGE * (normal.abs() / EDGE) ** power


class MaskFlow(DiscreteFlow):
    """Masks of 0 and 1: a voxel is 1 if ``v > -(a(c) + s)``, with v from a flow and one shift s per mask.

    s is ``shift_sd`` times one of `shifts_of` ``shift_power``, drawn for the whole mask. It widens the distribution of
    volumes: a trained flow is too sure of where borders are (`crow.training.calibrate.calibrate_volumes`). The
    probability is the exact mean over the shifts. Training has no shift.

    Parameters
    ----------
    flow : Flow
        The density of v.
    dequantizer : BinaryDequantizer
        Draws v given a mask, and knows a(c).
    """

    dequantizer: BinaryDequantizer

    def __init__(self, flow: Flow, dequantizer: BinaryDequantizer) -> None:
        super().__init__(flow, dequantizer)
        self.shift_sd, self.shift_power, self.shift_count = 0.0, 1.0, 15

    @property
    def shifts(self) -> Tensor:
        """The equally likely shifts s."""
        return self.shift_sd * shifts_of(self.shift_power, self.shift_count)

    def shift_as(self, other: MaskFlow) -> None:
        """Take the shifts of another flow."""
        self.shift_sd, self.shift_power, self.shift_count = other.shift_sd, other.shift_power, other.shift_count

    def log_prob(self, x: Tensor, context: Tensor | None = None, draws: int = 1) -> Tensor:
        if not self.shift_sd:
            return super().log_prob(x, context, draws)
        bounds = []
        for shift in self.shifts.tolist():
            drawn = [self.dequantizer(x, context, shift) for _ in range(draws)]
            bounds.append(torch.stack([self.flow.log_prob(v, context) - log_q for v, log_q in drawn]).mean(0))
        return torch.logsumexp(torch.stack(bounds), 0) - math.log(len(bounds))

    @torch.no_grad()
    def sample(self, context: Tensor | None = None, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        v = self.flow.sample(context, n, generator)
        if not self.shift_sd or context is None:
            return self.dequantizer.inverse(v, context)
        event = v.dim() - 1 - (context.dim() - self.flow.context_dims)
        which = torch.randint(len(self.shifts), (*v.shape[:-event], *[1] * event), generator=generator)
        return self.dequantizer.inverse(v, context, self.shifts[which])

    @torch.no_grad()
    def margins(self, context: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws of ``v + a(c)``, ``[n, *batch, *event]``: the mask of a draw with shift s is where this is above -s."""
        return self.flow.sample(context, n, generator) + self.dequantizer.threshold(context)
