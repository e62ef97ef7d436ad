"""Sequences without their padding, for training: the visits of all subjects, ordered by visit number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crow.networks.packed_gru import PackedGRU, Steps

Patterns = tuple[Tensor, Tensor]  # as `crow.bijections.patterns.patterns` returns them


@dataclass(frozen=True)
class Packing:
    """Where the visits of ``[batch, time]`` are in ``[visit]``, and what is random or shared about them.

    It is one for several models, each with a batch of its own.

    The sequences are in order of decreasing length: first comes visit 1 of all of them, then visit 2 of those that have
    one, and so on. The last visits of some sequences may be padding.

    Parameters
    ----------
    at : Tensor
        ``[visit]``, the place of each visit among batch x time.
    steps : Steps
        The visits with each number.
    shape : tuple of int
        Batch and time.
    measured, new_and_measured : Patterns, optional
        Patterns of the measured values, and of those that are new to a subject and measured.
    dropout : iterator of Tensor, optional
        What the units of one layer after the other are multiplied by, ``[model, visit, unit]``.
    """

    at: Tensor
    steps: Steps
    shape: tuple[int, int]
    measured: Patterns | None = None
    new_and_measured: Patterns | None = None
    dropout: Iterator[Tensor] | None = None

    def pack(self, v: Tensor) -> Tensor:
        """``[model, batch, time, *] -> [model, visit, *]``."""
        return v.flatten(1, 2).index_select(1, self.at)

    def take(self, v: Tensor) -> Tensor:
        """``[model x batch, time, channels] -> [model, visit, channels]``, with a faster gradient than `pack`."""
        taken: Tensor = _Take.apply(  # type: ignore[no-untyped-call]
            v.reshape(-1, self.shape[0] * self.shape[1], v.shape[-1]), self.at
        )
        return taken

    def unpack(self, v: Tensor) -> Tensor:
        """``[model, visit, channels] -> [model x batch, time, channels]``, 0 elsewhere."""
        flat: Tensor = _Put.apply(v, self.at, self.shape[0] * self.shape[1])  # type: ignore[no-untyped-call]
        return flat.reshape(-1, self.shape[1], v.shape[-1])

    def remember(self, memory: nn.GRU, x: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden states before and after each visit, ``[model, visit, hidden]``; ``x [model, visit, channels]``."""
        weights = [getattr(memory, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        if weights[0].ndim == 2:
            weights = [weight.unsqueeze(0) for weight in weights]
        before, after = PackedGRU.apply(x, *weights, self.steps)  # type: ignore[no-untyped-call]
        return before, after

    def drop(self, h: Tensor) -> Tensor:
        """Dropout of the hidden units of the next layer."""
        return h if self.dropout is None else h * next(self.dropout)


class _Take(torch.autograd.Function):
    """Rows ``at`` of ``[*, row, channel]``, all of them different."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, at: Tensor) -> Tensor:
        ctx.save_for_backward(at)
        ctx.rows = v.shape[-2]
        return v.index_select(-2, at)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (at,) = ctx.saved_tensors
        return _put(grad, at, ctx.rows), None


class _Put(torch.autograd.Function):
    """The rows of ``[*, row, channel]`` at the places ``at`` of so many ``rows``, the others 0."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, at: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(at)
        return _put(v, at, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (at,) = ctx.saved_tensors
        return grad.index_select(-2, at), None, None


def _put(v: Tensor, at: Tensor, rows: int) -> Tensor:
    return v.new_zeros(*v.shape[:-2], rows, v.shape[-1]).index_copy_(v.ndim - 2, at, v)
