"""A linear regression of every value of an image on a few attributes, as a bijection."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from crow.bijections.base import Bijection
from crow.bijections.regression import RIDGE


class VoxelRegression(Bijection):
    """``z = (x - level - effect c) / sd`` of ``x: [batch, *event]`` and ``c: [batch, context]``, per value.

    ``effect: [context, *event]``. The map is the identity until `fit`; what is fitted is not trained.

    Parameters
    ----------
    event : tuple of int
        Shape of an event.
    context : int
        Number of channels of the context.

    Raises
    ------
    ValueError
        If x or the context has another shape.
    """

    level: Tensor
    effect: Tensor
    sd: Tensor

    def __init__(self, event: tuple[int, ...], context: int) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(event))
        self.register_buffer("effect", torch.zeros(context, *event))
        self.register_buffer("sd", torch.ones(event))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(x, context)
        return (x - self.mean(context)) / self.sd, -self.sd.log().sum().expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(z, context)
        return torch.addcmul(self.mean(context), z, self.sd), self.sd.log().sum().expand(len(z))

    def fit(self, pairs: Iterable[tuple[Tensor, Tensor]], min_sd: float) -> None:
        """Set level, effect and sd by ridge regression.

        The effects on a value are shrunk together towards 0 by their error (the positive-part estimate of James & Stein
        1961). The sd is that of a new x about the mean.

        Parameters
        ----------
        pairs : iterable of (Tensor, Tensor)
            Batches of x and c, read once.
        min_sd : float
            Added to the sd in squares: the noise of x that the data do not show.
        """
        n = 0
        sums = [torch.zeros((), dtype=torch.float64)] * 5
        for x, c in pairs:
            x, c = x.double().flatten(1), c.double()
            n += len(x)
            found = (x.sum(0), c.sum(0), c.T @ x, c.T @ c, x.square().sum(0))
            sums = [total + new for total, new in zip(sums, found, strict=True)]
        x, c, cx, cc, xx = (total / n for total in sums)
        cc, cx, xx = cc - c[:, None] * c, cx - c[:, None] * x, (xx - x * x).clamp_min(0)
        rank = int(torch.linalg.matrix_rank(cc, hermitian=True, rtol=1e-6))
        effect = torch.linalg.solve(cc + RIDGE / n * torch.eye(len(cc)).to(cc), cx)
        degrees_of_freedom = max(n - 1 - rank, 1)
        explained = (effect * cx).sum(0)
        shrinkage = (1 - rank * (xx - explained) / degrees_of_freedom / explained.clamp_min(1e-12)).clamp(0, 1)
        effect = shrinkage * effect
        error = (xx - 2 * (effect * cx).sum(0) + (effect * (cc @ effect)).sum(0)).clamp_min(0)
        sd = (error * (n + 1 + rank) / degrees_of_freedom + min_sd**2).sqrt()
        for buffer, found in ((self.level, x - c @ effect), (self.effect, effect), (self.sd, sd)):
            buffer.copy_(found.view_as(buffer))

    def mean(self, context: Tensor | None) -> Tensor:
        """The values that the regression expects, ``[batch, *event]``."""
        assert context is not None
        return self.level + (context @ self.effect.flatten(1)).unflatten(1, self.level.shape)

    def _check(self, x: Tensor, context: Tensor | None) -> None:
        if x.shape[1:] != self.level.shape:
            event = ", ".join(map(str, self.level.shape))
            raise ValueError(f"VoxelRegression expects [batch, {event}], got {list(x.shape)}")
        if context is None or context.shape != (len(x), len(self.effect)):
            found = "none" if context is None else list(context.shape)
            raise ValueError(f"VoxelRegression needs a context [batch, {len(self.effect)}], got {found}")
