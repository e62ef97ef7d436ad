"""Visits with the same pattern of measured values: what depends on the pattern alone is computed once for all."""

from __future__ import annotations

import torch
from torch import Tensor

VALUES = 2**25  # of matrices that are gathered at once
BITS = 31  # of a row that are compared at once, as one number


def patterns(present: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows ``[pattern, features]`` of ``present: [batch, time, features]``, and which each visit has.

    The second is ``[batch, time]``.
    """
    rows = present.flatten(0, -2)
    if bool((rows == rows[:1]).all()):
        return rows[:1], torch.zeros(present.shape[:-1], dtype=torch.long, device=present.device)
    index, count = _ranks(rows)
    place = torch.arange(len(rows), device=rows.device)
    each = rows[place.new_empty(count).scatter_(0, index, place)]
    return each, index.view(present.shape[:-1])


def _ranks(rows: Tensor) -> tuple[Tensor, int]:
    """The place of each row among the distinct rows in their order, and how many these are.

    Torch's own search for distinct rows compares them value by value, which takes many times as long.
    """
    rank, count = torch.zeros(len(rows), dtype=torch.long, device=rows.device), 1
    for part in rows.split(BITS, 1):
        powers = 2 ** torch.arange(part.shape[1] - 1, -1, -1, dtype=torch.double, device=rows.device)
        number = rank * 2**BITS + (part.double() @ powers).long()
        distinct, rank = torch.unique(number, return_inverse=True)
        count = len(distinct)
    return rank, count


def apply_each(matrices: Tensor, index: Tensor, x: Tensor) -> Tensor:
    """``W x`` with the matrix ``W`` of each visit's pattern: ``[pattern, out, in]``, ``[batch, time]`` and x.

    Of several models: ``[model, pattern, out, in]``, ``[model, visit]`` and ``[model, visit, in]``.
    """
    if matrices.shape[-3] == 1:
        return x @ matrices[..., 0, :, :].mT
    if matrices.shape[-3] == 2:  # twice the arithmetic of a product, which is less than the copies of two matrices
        first, second = matrices.unbind(-3)
        return torch.where(index.unsqueeze(-1) == 0, x @ first.mT, x @ second.mT)
    if matrices.ndim == 4:
        start = torch.arange(0, len(matrices) * matrices.shape[1], matrices.shape[1], device=index.device)
        return apply_each(matrices.flatten(0, 1), index + start.unsqueeze(1), x)
    rows, flat = index.flatten(), x.flatten(0, -2)
    step = max(1, VALUES // matrices[0].numel())
    parts = [
        torch.bmm(matrices[rows[i : i + step]], flat[i : i + step].unsqueeze(-1)).squeeze(-1)
        for i in range(0, len(flat), step)
    ]
    return torch.cat(parts).view(*index.shape, -1)


def only(measured: Tensor | None, v: Tensor) -> Tensor:
    """``v`` where a value was measured, else 0."""
    return v if measured is None else torch.where(measured, v, 0.0)
