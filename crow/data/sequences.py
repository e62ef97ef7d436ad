"""Sequences: a cohort as padded tensors, the only thing that flows see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


class SequenceSource(Protocol):
    """Subjects that are taken a few at a time: `Sequences` in memory, or scans that are read when needed.

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
    ``time [batch, time]`` (years since the first visit, increasing), ``mask [batch, time]`` (True for a visit),
    ``measured [batch, time, *event]`` (True for a value of x that was measured; None if all of every visit were).
    """

    x: Tensor
    context: Tensor
    time: Tensor
    mask: Tensor
    measured: Tensor | None = None

    in_memory = True

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def count(self) -> int:
        """Visits: what a mean loss is a mean over."""
        return int(self.mask.sum())

    def digest(self) -> str:
        """Tells whether two cohorts of one size are the same."""
        return digest(*self._tensors())

    def __getitem__(self, rows: Tensor | slice) -> Sequences:
        """Some subjects, cut to their longest sequence."""
        some = self.rows(rows)
        return some.columns(slice(0, max(1, int(some.mask.sum(1).max()))))

    def rows(self, rows: Tensor | slice) -> Sequences:
        """Some subjects, with all columns."""
        return Sequences(*(v[rows] for v in self._tensors()))

    def columns(self, columns: slice) -> Sequences:
        """Some columns of all subjects."""
        return Sequences(*(v[:, columns] for v in self._tensors()))

    def visit(self, t: int) -> Sequences:
        """Column t alone, still with a time axis."""
        return self.columns(slice(t, t + 1))

    def repeat(self, n: int) -> Sequences:
        """Every subject n times in a row."""
        return Sequences(*(v.repeat_interleave(n, 0) for v in self._tensors()))

    def values(self) -> Tensor:
        """Which values there are, ``[batch, time, *event]``: measured, and of no pad."""
        visits = self.mask.reshape(*self.mask.shape, *[1] * (self.x.ndim - 2))
        return visits.expand_as(self.x) if self.measured is None else self.measured & visits

    def _tensors(self) -> list[Tensor]:
        all_of_it = (self.x, self.context, self.time, self.mask, self.measured)
        return [tensor for tensor in all_of_it if tensor is not None]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Sequences:
        return replace(
            self,
            x=self.x.to(device, dtype),
            context=self.context.to(device, dtype),
            time=self.time.to(device, dtype),
            mask=self.mask.to(device),
            measured=None if self.measured is None else self.measured.to(device),
        )


def digest(*tensors: Tensor) -> str:
    """Twelve digits that change with any value."""
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()[:12]
