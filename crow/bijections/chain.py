"""Bijections one after the other."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from crow.bijections.base import Bijection, RecurrentBijection


class Chain(Bijection):
    """``z = f_n(... f_1(x, c_1) ..., c_n)``, with the sum of the log-determinants.

    Every ``c_k`` is the context, or, with a ``conditioning`` network, the k-th of the contexts that it returns
    (``conditioning(context) -> list`` of one tensor a bijection). Recurrent bijections may be among them, over whole
    sequences from their start.
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
