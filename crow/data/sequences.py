"""Sequences: a cohort as padded tensors, the only thing that flows see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


class SequenceSource(Protocol):
    """Subjects of whom some are taken at a time: `Sequences` in memory, or scans that are read when asked for.

    ``context``, ``time`` and ``mask`` are in memory, as in `Sequences`.
    """

    @property
    def context(self) -> Tensor: ...
    @property
    def time(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor: ...
    @property
    def count(self) -> int: ...
    @property
    def in_memory(self) -> bool: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor | slice) -> Sequences:
        """Some subjects, cut to their longest sequence."""
        ...

    def digest(self) -> str:
        """Tells whether two sources of one size hold the same."""
        ...


@dataclass(frozen=True)
class Sequences:
    """Visits of a batch of subjects, padded at the end.

    Shapes: ``x [batch, time, *event]`` (standardised values, 0 where padded), ``context [batch, time, features]``,
    ``time [batch, time]`` (years since the first visit, increasing), ``mask [batch, time]`` (True for a visit).
    """

    x: Tensor
    context: Tensor
    time: Tensor
    mask: Tensor

    in_memory = True

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def count(self) -> int:
        """Visits: what a mean loss is a mean over."""
        return int(self.mask.sum())

    def digest(self) -> str:
        """Tells whether two cohorts of one size are the same."""
        return digest(self.x, self.context, self.time, self.mask)

    def __getitem__(self, rows: Tensor | slice) -> Sequences:
        """Some subjects, cut to their longest sequence."""
        some = self.rows(rows)
        length = max(1, int(some.mask.sum(1).max()))
        return Sequences(*(v[:, :length] for v in (some.x, some.context, some.time, some.mask)))

    def rows(self, rows: Tensor | slice) -> Sequences:
        """Some subjects, with all columns."""
        return Sequences(self.x[rows], self.context[rows], self.time[rows], self.mask[rows])

    def visit(self, t: int) -> Sequences:
        """Column t alone, still with a time axis."""
        return Sequences(*(v[:, t : t + 1] for v in (self.x, self.context, self.time, self.mask)))

    def repeat(self, n: int) -> Sequences:
        """Every subject n times in a row."""
        return Sequences(*(v.repeat_interleave(n, 0) for v in (self.x, self.context, self.time, self.mask)))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Sequences:
        return replace(
            self,
            x=self.x.to(device, dtype),
            context=self.context.to(device, dtype),
            time=self.time.to(device, dtype),
            mask=self.mask.to(device),
        )


def digest(*tensors: Tensor) -> str:
    """Twelve digits that change with any value."""
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()[:12]
