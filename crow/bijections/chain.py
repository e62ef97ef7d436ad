"""A composition of bijections."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from crow.bijections.base import Bijection, RecurrentBijection


class Chain(Bijection):
    """The composition ``z = f_n(... f_1(x, c_1) ..., c_n)``; its log-determinant is the sum of theirs.

    Recurrent bijections may be among them; they then map whole sequences from their beginning.

    Parameters
    ----------
    bijections : iterable of Bijection or RecurrentBijection
        ``f_1, ..., f_n``, at least one.
    conditioning : nn.Module, optional
        A network that maps the context to a list of n contexts, one per bijection. By default every bijection gets the
        context itself.

    Raises
    ------
    ValueError
        If there are no bijections.

    Examples
    --------
    >>> import torch
    >>> from crow.bijections.affine import ActNorm
    >>> from crow.bijections.mixing import Permutation
    >>> chain = Chain([Permutation(4), ActNorm(4)])
    >>> x = torch.randn(8, 4)
    >>> z, log_det = chain(x)
    >>> torch.allclose(chain.inverse(z)[0], x, atol=1e-5)
    True
    """

    def __init__(
        self, bijections: Iterable[Bijection | RecurrentBijection], conditioning: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)
        self.conditioning = conditioning
        if not len(self.bijections):
            raise ValueError("Chain needs at least one bijection, got none")

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_dets = []
        for bijection, c in zip(self.bijections, self._contexts(context), strict=True):
            x, log_det = bijection(x, c)[:2]
            log_dets.append(log_det)
        return x, torch.stack(log_dets).sum(0)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_dets = []
        bijections = cast(Iterable[Bijection], reversed(self.bijections))
        for bijection, c in zip(bijections, reversed(self._contexts(context)), strict=True):
            z, log_det = bijection.inverse(z, c)[:2]
            log_dets.append(log_det)
        return z, torch.stack(log_dets).sum(0)

    def _contexts(self, context: Tensor | None) -> list[Tensor | None]:
        return [context] * len(self.bijections) if self.conditioning is None else self.conditioning(context)
