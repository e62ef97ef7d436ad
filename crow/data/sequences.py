"""Sequences: a cohort as padded tensors, the only thing that flows see."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

NAMES = ("x", "context", "time", "mask", "measured", "carried")


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
    ``measured [batch, time, *event]`` (True for a value of x that was measured; None if all of every visit were),
    ``carried [batch, time, features]`` (for how many years a channel of the context has been carried forward from its
    last known value; None if none is).
    """

    x: Tensor
    context: Tensor
    time: Tensor
    mask: Tensor
    measured: Tensor | None = None
    carried: Tensor | None = None

    in_memory = True

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def count(self) -> int:
        """Visits: what a mean loss is a mean over."""
        return int(self.mask.sum())

    def digest(self) -> str:
        """Tells whether two cohorts of one size are the same."""
        return digest(*(tensor for tensor in self._tensors() if tensor is not None))

    def __getitem__(self, rows: Tensor | slice) -> Sequences:
        """Some subjects, cut to their longest sequence."""
        some = self.rows(rows)
        return some.columns(slice(0, max(1, int(some.mask.sum(1).max()))))

    def rows(self, rows: Tensor | slice) -> Sequences:
        """Some subjects, with all columns."""
        return self._each(lambda v: v[rows])

    def columns(self, columns: slice) -> Sequences:
        """Some columns of all subjects."""
        return self._each(lambda v: v[:, columns])

    def visit(self, t: int) -> Sequences:
        """Column t alone, still with a time axis."""
        return self.columns(slice(t, t + 1))

    def repeat(self, n: int) -> Sequences:
        """Every subject n times in a row."""
        return self._each(lambda v: v.repeat_interleave(n, 0))

    def values(self) -> Tensor:
        """Which values there are, ``[batch, time, *event]``: measured, and of no pad."""
        visits = self.mask.reshape(*self.mask.shape, *[1] * (self.x.ndim - 2))
        return visits.expand_as(self.x) if self.measured is None else self.measured & visits

    def _tensors(self) -> tuple[Tensor | None, ...]:
        return self.x, self.context, self.time, self.mask, self.measured, self.carried

    def _each(self, change: Callable[[Tensor], Tensor]) -> Sequences:
        """All tensors changed."""
        tensors = zip(NAMES, self._tensors(), strict=True)
        return replace(self, **{name: change(tensor) for name, tensor in tensors if tensor is not None})

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Sequences:
        return replace(
            self,
            x=self.x.to(device, dtype),
            context=self.context.to(device, dtype),
            time=self.time.to(device, dtype),
            mask=self.mask.to(device),
            measured=None if self.measured is None else self.measured.to(device),
            carried=None if self.carried is None else self.carried.to(device, dtype),
        )


def digest(*tensors: Tensor) -> str:
    """Twelve digits that change with any value."""
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()[:12]
