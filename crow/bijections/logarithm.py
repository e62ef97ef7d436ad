"""Logarithms of values that are never negative, where these vary more evenly: volumes stay volumes."""

from __future__ import annotations

import torch
from torch import Tensor

from crow.bijections.base import Bijection

LEAST = 1e-6  # above zero: what lies below counts as that, and is all but impossible


class Logarithm(Bijection):
    """``z = log(x - zero)`` of the ``chosen`` features of ``x: [*batch, features]``; the identity until `fit`.

    Every x has a z only above zero; of every z the x is above it. Raises ValueError for another number of features.
    """

    zero: Tensor
    chosen: Tensor
    later = ("zero", "chosen")

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(features))
        self.register_buffer("chosen", torch.zeros(features, dtype=torch.bool))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[-1] != len(self.zero):
            raise ValueError(f"Logarithm expects {len(self.zero)} features, got {list(x.shape)}")
        u = (x - self.zero).clamp_min(LEAST).log()
        return torch.where(self.chosen, u, x), -torch.where(self.chosen, u, 0.0).sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u = torch.where(self.chosen, z, 0.0)
        return torch.where(self.chosen, u.exp() + self.zero, z), u.sum(-1)

    @torch.no_grad()
    def fit(self, x: Tensor, context: Tensor, zero: Tensor) -> None:
        """Chooses the features of ``x: [visit, features]`` that all lie above ``zero: [features]`` and whose logarithms
        make a linear regression on ``context: [visit, channels]`` with Gaussian residuals likelier."""
        x, zero = x.double(), zero.double()
        design = torch.cat([torch.ones(len(x), 1).to(x), context.to(x)], 1)

        def spread(values: Tensor) -> Tensor:
            fitted = design @ torch.linalg.lstsq(design, values, driver="gelsd").solution
            return (values - fitted).square().mean(0).clamp_min(1e-12).log() / 2

        u = (x - zero).clamp_min(LEAST).log()
        gain = spread(x) - spread(u) - u.mean(0)
        self.zero.copy_(zero)
        self.chosen.copy_((x > zero).all(0) & (gain > 0))
