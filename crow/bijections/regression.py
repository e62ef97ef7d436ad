"""A linear regression on the context as a bijection: the initial map of cross-sectional flows."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from crow.bijections.base import Bijection
from crow.bijections.shrinkage import shrunk_covariance

RIDGE = 1.0  # weight of the prior of no effect, in visits


class Regression(Bijection):
    """``z = L^-1 (x - level - effect c)`` of ``x: [*batch, features]`` and ``c: [*batch, context]``.

    L is lower triangular with diagonal ``exp(log_sd)``. The map is the identity until `fit`; after it, N(0, I) of z is
    the linear model ``x | c ~ N(level + effect c, L L')``.

    Parameters
    ----------
    features : int
        Number of features of x.
    context : int
        Number of channels of the context.

    Raises
    ------
    ValueError
        If x or the context has another shape.

    Examples
    --------
    >>> import torch
    >>> layer = Regression(features=2, context=1)
    >>> age = torch.linspace(-1, 1, 200)[:, None]
    >>> layer.fit(torch.cat([3 * age, -age], 1) + torch.randn(200, 2) / 100, age)
    >>> layer.effect.detach().round().flatten().tolist()
    [3.0, -1.0]
    """

    def __init__(self, features: int, context: int) -> None:
        super().__init__()
        self.features, self.context = features, context
        self.level = nn.Parameter(torch.zeros(features))
        self.effect = nn.Parameter(torch.zeros(features, context))
        self.log_sd = nn.Parameter(torch.zeros(features))
        self.lower = nn.Parameter(torch.zeros(features, features))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = torch.linalg.solve_triangular(self.factor.mT, x - self._mean(x, context), upper=True, left=False)
        return z, -self.log_sd.sum().expand(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._mean(z, context) + z @ self.factor.mT, self.log_sd.sum().expand(z.shape[:-1])

    @property
    def factor(self) -> Tensor:
        """L."""
        return self.lower.tril(-1) + self.log_sd.exp().diag()

    @torch.no_grad()
    def fit(self, x: Tensor, context: Tensor, subject: Tensor | None = None) -> None:
        """Fit level, effect and L, in float64.

        Ridge regression on the centred context. L is the factor of the residuals' shrunk covariance
        (`shrunk_covariance`), which is cross-validated over subjects.

        Parameters
        ----------
        x : Tensor
            ``[visit, features]``.
        context : Tensor
            ``[visit, context]``.
        subject : Tensor, optional
            Subject of every visit, ``[visit]``. By default every visit is a subject of its own.
        """
        x, c = x.double(), context.double()
        subject = torch.arange(len(x)) if subject is None else subject
        x_mean, c_mean = x.mean(0), c.mean(0)
        a = c - c_mean
        effect = torch.linalg.solve(a.mT @ a + RIDGE * torch.eye(self.context).to(a), a.mT @ (x - x_mean)).mT
        degrees_of_freedom = len(x) - 1 - int(torch.linalg.matrix_rank(a))
        residual = (x - x_mean - a @ effect.mT) * math.sqrt(len(x) / max(degrees_of_freedom, 1))
        self._set(x_mean - effect @ c_mean, effect, shrunk_covariance(residual, subject))

    def _set(self, level: Tensor, effect: Tensor, covariance: Tensor) -> None:
        factor = torch.linalg.cholesky(covariance)
        self.level.copy_(level)
        self.effect.copy_(effect)
        self.log_sd.copy_(factor.diagonal().log())
        self.lower.copy_(factor.tril(-1))

    def _mean(self, x: Tensor, context: Tensor | None) -> Tensor:
        if x.shape[-1] != self.features:
            raise ValueError(f"{type(self).__name__} expects {self.features} features, got {list(x.shape)}")
        if context is None or context.shape != (*x.shape[:-1], self.context):
            found = "none" if context is None else list(context.shape)
            name = type(self).__name__
            raise ValueError(f"{name} needs a context of {self.context} channels for every x, got {found}")
        return self.level + context @ self.effect.mT
