"""The logarithm of features that are never negative, such as volumes, if it makes them closer to normal."""

from __future__ import annotations

import torch
from torch import Tensor

from crow.bijections.base import Bijection

MIN_DISTANCE = 1e-6  # smallest distance above zero; values below it count as this and are all but impossible


class Logarithm(Bijection):
    """``z = log(x - zero)`` of the ``selected`` features of ``x: [*batch, features]``; the identity until `fit`.

    ``zero`` is the value of x that stands for a measurement of 0. Every z maps to an x above it.

    Parameters
    ----------
    features : int
        Number of features.

    Raises
    ------
    ValueError
        If x has another number of features.

    Examples
    --------
    >>> import torch
    >>> layer, age = Logarithm(2), torch.randn(500, 1)
    >>> x = torch.cat([torch.randn(500, 1).exp(), 10 + torch.randn(500, 1)], 1)  # skewed, and symmetric
    >>> layer.fit(x, age, zero=torch.zeros(2))
    >>> layer.selected.tolist()
    [True, False]
    """

    zero: Tensor
    selected: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(features))
        self.register_buffer("selected", torch.zeros(features, dtype=torch.bool))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[-1] != len(self.zero):
            raise ValueError(f"Logarithm expects {len(self.zero)} features, got {list(x.shape)}")
        u = (x - self.zero).clamp_min(MIN_DISTANCE).log()
        return torch.where(self.selected, u, x), -torch.where(self.selected, u, 0.0).sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u = torch.where(self.selected, z, 0.0)
        return torch.where(self.selected, u.exp() + self.zero, z), u.sum(-1)

    @torch.no_grad()
    def fit(self, x: Tensor, context: Tensor, zero: Tensor) -> None:
        """Select the features whose logarithm gives a higher likelihood.

        The likelihood is that of a linear regression on the context with normal residuals. Features with a value at or
        below zero are not selected.

        Parameters
        ----------
        x : Tensor
            ``[visit, features]``.
        context : Tensor
            ``[visit, channels]``.
        zero : Tensor
            ``[features]``.
        """
        x, zero = x.double(), zero.double()
        design = torch.cat([torch.ones(len(x), 1).to(x), context.to(x)], 1)

        def log_sd(values: Tensor) -> Tensor:
            fitted = design @ torch.linalg.lstsq(design, values, driver="gelsd").solution
            return (values - fitted).square().mean(0).clamp_min(1e-12).log() / 2

        u = (x - zero).clamp_min(MIN_DISTANCE).log()
        gain = log_sd(x) - log_sd(u) - u.mean(0)
        self.zero.copy_(zero)
        self.selected.copy_((x > zero).all(0) & (gain > 0))
