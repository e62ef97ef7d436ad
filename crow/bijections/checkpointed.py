"""Activation checkpointing of a chain."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from crow.bijections.chain import Chain


class CheckpointedChain(Chain):
    """A Chain that stores only the input of each bijection during training; values and gradients stay the same.

    Its memory grows slowly with depth, unlike that of `ReversibleChain`. What is recomputed is identical bit for bit,
    so the subnets may use low precision or dropout.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from crow.bijections.coupling import AffineCoupling
    >>> from crow.networks.mlp import MLP
    >>> chain = CheckpointedChain(AffineCoupling(6, 0, partial(MLP, hidden=8)) for _ in range(4))
    >>> z, log_det = chain(torch.randn(5, 6))
    >>> z.shape, log_det.shape
    (torch.Size([5, 6]), torch.Size([5]))
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_dets = []
        for bijection, c in zip(self.bijections, self._contexts(context), strict=True):
            x, log_det = checkpoint(bijection, x, c, use_reentrant=False)[:2]
            log_dets.append(log_det)
        return x, torch.stack(log_dets).sum(0)
