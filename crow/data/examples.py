"""Examples: single visits as tensors, the only thing that the flows of one visit see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from crow.data.sequences import digest

UNKNOWN = -1


class ExampleSource(Protocol):
    """Examples of which some are taken at a time: `Examples` in memory, or scans that are read when asked for."""

    @property
    def count(self) -> int: ...
    @property
    def in_memory(self) -> bool: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor | slice) -> Examples: ...

    def digest(self) -> str:
        """Tells whether two sources of one size hold the same."""
        ...


@dataclass(frozen=True)
class Examples:
    """A batch of visits, each by itself.

    Shapes: ``x [batch, *event]`` (standardised values, or integer levels of an image), ``context [batch, channels]`` or
    ``[batch, channels, *space]`` or None, ``label [batch]`` (a class from 0, `UNKNOWN` if unlabelled) or None.
    """

    x: Tensor
    context: Tensor | None = None
    label: Tensor | None = None

    in_memory = True

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def count(self) -> int:
        """What a mean loss is a mean over."""
        return len(self)

    def digest(self) -> str:
        """Tells whether two sets of one size are the same."""
        return digest(*(tensor for tensor in (self.x, self.context, self.label) if tensor is not None))

    def __getitem__(self, rows: Tensor | slice) -> Examples:
        def some(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[rows]

        return Examples(self.x[rows], some(self.context), some(self.label))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Examples:
        context = None if self.context is None else self.context.to(device, dtype)
        return Examples(self.x.to(device, dtype), context, None if self.label is None else self.label.to(device))
