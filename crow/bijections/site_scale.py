"""The scale on which effects of sites add up: that of standardised values, or for positive regions a logarithm."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class SiteScale(NamedTuple):
    """``y = k log(1 + x / k)`` of standardised x with k = ``reach [region]``, its distance from the lower bound.

    At 0 it has slope 1, so that effects are in standard deviations; no effect leads below the bound. An infinite k
    is y = x. Regions that are ``not has_effects [region]`` (scores, shares) have none.
    """

    reach: Tensor
    has_effects: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Y of x; an impossible x, at the bound or below it, is NaN."""
        k = self.reach
        return torch.where(torch.isfinite(k), k * torch.log1p(x / k), x)

    def inverse(self, y: Tensor) -> Tensor:
        """X of y."""
        k = self.reach
        return torch.where(torch.isfinite(k), k * torch.expm1(y / k), y)

    def remove(self, x: Tensor, level: Any, log_scale: Any) -> Tensor:
        """X without the effects of a site; an impossible value stays as it is."""
        y = (self.forward(x) - torch.as_tensor(level)) * torch.exp(-torch.as_tensor(log_scale))
        found = self.inverse(y)
        return torch.where(torch.isfinite(found), found, x)

    def add(self, x: Tensor, level: Any, log_scale: Any) -> tuple[Tensor, Tensor]:
        """X with the effects of a site, and the logarithm of the derivative."""
        level, log_scale = torch.as_tensor(level), torch.as_tensor(log_scale)
        y = self.forward(x)
        moved = level + torch.exp(log_scale) * y
        slope = log_scale + torch.where(torch.isfinite(self.reach), (moved - y) / self.reach, 0.0)
        found = self.inverse(moved)
        possible = torch.isfinite(found)
        return torch.where(possible, found, x), torch.where(possible, slope, 0.0)
