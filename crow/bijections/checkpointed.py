"""Activation checkpointing of a chain."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from crow.bijections.chain import Chain


class CheckpointedChain(Chain):
    """A Chain that keeps each bijection's input in training and nothing inside it: the same values and gradients.

    Unlike `ReversibleChain` its memory grows with the depth, slowly, and what is computed again is bit for bit what it
    was, so subnets may run in low precision or with dropout.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_dets = []
        for bijection, c in zip(self.bijections, self._contexts(context), strict=True):
            x, log_det = checkpoint(bijection, x, c, use_reentrant=False)[:2]
            log_dets.append(log_det)
        return x, torch.stack(log_dets).sum(0)
