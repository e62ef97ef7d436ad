"""Visits with the sites that they were measured at, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SiteVisits:
    """Standardised visits with their sites, in float64.

    ``y [batch, time, region]`` is 0 where nothing was measured, ``there`` is 1 where something was; ``codes [batch,
    time, factor]`` is the row of each factor's level among all levels, or their number for a level without an effect.
    ``counts`` are the levels of each factor. ``log_scale`` is what other effects, which are known, add to the log-scale
    of each visit.
    """

    y: Tensor
    there: Tensor
    codes: Tensor
    counts: list[int]
    log_scale: Tensor | float = 0.0

    @classmethod
    def of(
        cls, x: Tensor, values: Tensor, codes: Tensor, counts: list[int], log_scale: Tensor | float = 0.0
    ) -> SiteVisits:
        """Of ``x`` and ``codes``, negative for a level without an effect; ``values`` tells what was measured."""
        y = torch.where(values, x.double(), 0.0)
        return cls(y, values.double(), torch.where(codes < 0, sum(counts), codes), counts, log_scale)

    @property
    def levels(self) -> int:
        return sum(self.counts)

    @property
    def factor(self) -> Tensor:
        """The factor of each level."""
        return torch.repeat_interleave(torch.arange(len(self.counts)), torch.tensor(self.counts))

    @property
    def centre(self) -> Tensor:
        """Projection ``[level, level]`` on differences from the mean over the levels of a factor."""
        same = self.factor[:, None] == self.factor
        return torch.eye(self.levels, dtype=torch.double) - same / torch.tensor(self.counts)[self.factor]

    def of_visits(self, effect: Tensor) -> Tensor:
        """The sum of each visit's effects ``[batch, time, region]``, from ``effect [level, region]``."""
        rows = torch.cat([effect, effect.new_zeros(1, effect.shape[1])])
        return rows[self.codes].sum(2)

    def scales(self, log_scale: Tensor) -> Tensor:
        """Log-scale of each visit, with that of other effects."""
        return self.of_visits(log_scale) + self.log_scale

    def adjusted(self, level: Tensor, log_scale: Tensor) -> Tensor:
        """``x = (y - level) / exp(log_scale)``, 0 where nothing was measured."""
        return self.there * (self.y - self.of_visits(level)) * torch.exp(-self.scales(log_scale))
