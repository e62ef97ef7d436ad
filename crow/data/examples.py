"""Examples: single visits as tensors, the input of cross-sectional flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from crow.data.sequences import digest

UNKNOWN = -1


class ExampleSource(Protocol):
    """A collection of examples that is read by rows: `Examples` in memory, or scans on disk."""

    @property
    def count(self) -> int: ...
    @property
    def in_memory(self) -> bool: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor | slice) -> Examples: ...

    def digest(self) -> str:
        """A hash of the values: equal for equal sources."""
        ...


@dataclass(frozen=True)
class Examples:
    """A batch of single visits.

    Parameters
    ----------
    x : Tensor
        ``[batch, *event]``: standardised values, or integer levels of an image.
    context : Tensor, optional
        ``[batch, channels]`` or ``[batch, channels, *space]``.
    label : Tensor, optional
        Class from 0, ``[batch]``; `UNKNOWN` for unlabelled visits.
    """

    x: Tensor
    context: Tensor | None = None
    label: Tensor | None = None

    in_memory = True

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def count(self) -> int:
        """Number of terms of a mean loss."""
        return len(self)

    def digest(self) -> str:
        """A hash of the values: equal for equal examples."""
        return digest(*(tensor for tensor in (self.x, self.context, self.label) if tensor is not None))

    def __getitem__(self, rows: Tensor | slice) -> Examples:
        def take(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[rows]

        return Examples(self.x[rows], take(self.context), take(self.label))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Examples:
        """A copy on another device or with another dtype; labels keep their dtype."""
        context = None if self.context is None else self.context.to(device, dtype)
        return Examples(self.x.to(device, dtype), context, None if self.label is None else self.label.to(device))
