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
    """Where the visits of ``[batch, time]`` are in ``[1, visit]``, and what is random or shared about them.

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
        What the units of one layer after the other are multiplied by, ``[visit, unit]``.
    """

    at: Tensor
    steps: Steps
    shape: tuple[int, int]
    measured: Patterns | None = None
    new_and_measured: Patterns | None = None
    dropout: Iterator[Tensor] | None = None

    def pack(self, v: Tensor) -> Tensor:
        """``[batch, time, *] -> [1, visit, *]``."""
        return v.flatten(0, 1).index_select(0, self.at).unsqueeze(0)

    def take(self, v: Tensor) -> Tensor:
        """`pack` of ``[batch, time, channels]``, with a faster gradient."""
        flat: Tensor = _Take.apply(v.flatten(0, 1), self.at)
        return flat.unsqueeze(0)

    def unpack(self, v: Tensor) -> Tensor:
        """``[1, visit, channels] -> [batch, time, channels]``, 0 elsewhere."""
        flat: Tensor = _Put.apply(v[0], self.at, self.shape[0] * self.shape[1])
        return flat.reshape(*self.shape, -1)

    def remember(self, memory: nn.GRU, x: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden state before and after each visit, ``[1, visit, hidden]``, of ``x [1, visit, channels]``."""
        weights = (memory.weight_ih_l0, memory.weight_hh_l0, memory.bias_ih_l0, memory.bias_hh_l0)
        before, after, _, _ = PackedGRU.apply(x, *(w.unsqueeze(0) for w in weights), self.steps)
        return before, after

    def drop(self, h: Tensor) -> Tensor:
        """Dropout of the hidden units of the next layer."""
        return h if self.dropout is None else h * next(self.dropout)


class _Take(torch.autograd.Function):
    """Rows ``at`` of ``[*, row, channel]``, all of them different."""

    @staticmethod
    def forward(v: Tensor, at: Tensor) -> Tensor:
        return v.index_select(-2, at)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        v, at = inputs
        ctx.save_for_backward(at)
        ctx.rows = v.shape[-2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (at,) = ctx.saved_tensors
        return _put(grad, at, ctx.rows), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], v: Tensor, at: Tensor) -> tuple[Tensor, int]:
        return _Take.apply(_first(v, in_dims[0], info.batch_size), at), 0


class _Put(torch.autograd.Function):
    """The rows of ``[*, row, channel]`` at the places ``at`` of so many ``rows``, the others 0."""

    @staticmethod
    def forward(v: Tensor, at: Tensor, rows: int) -> Tensor:
        return _put(v, at, rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (at,) = ctx.saved_tensors
        return grad.index_select(-2, at), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None, None], v: Tensor, at: Tensor, rows: int) -> tuple[Tensor, int]:
        return _Put.apply(_first(v, in_dims[0], info.batch_size), at, rows), 0


def _put(v: Tensor, at: Tensor, rows: int) -> Tensor:
    return v.new_zeros(*v.shape[:-2], rows, v.shape[-1]).index_copy_(v.ndim - 2, at, v)


def _first(v: Tensor, dim: int | None, size: int) -> Tensor:
    return v.expand(size, *v.shape) if dim is None else v.movedim(dim, 0)
