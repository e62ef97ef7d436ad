"""Networks of images applied block by block, so that their memory does not grow with the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, TypeVar

import torch
from torch import Tensor

BLOCK = 48  # voxels along every axis of a block; images that are not larger are computed at once

Result = TypeVar("Result", Tensor, list[Tensor])


def in_blocks(net: Callable[[Tensor], Result], x: Tensor, reach: int, multiple: int = 1) -> Result:
    """``net(x)`` of ``x [batch, channels, *space]``, computed in blocks of `BLOCK` voxels along every axis.

    A block is computed with ``reach`` voxels around it, as far as x goes, so that the result is that of the whole
    image. The memory of activations is that of a block. While gradients are recorded, x is computed at once: training
    takes small patches.

    Parameters
    ----------
    net : callable
        Maps x to a tensor, or to a list of tensors, whose axes are those of x divided by a whole number.
    x : Tensor
        The input.
    reach : int
        How far from a voxel the inputs are on which its output depends.
    multiple : int
        The largest of those whole numbers.
    """
    sizes = tuple(x.shape[2:])
    if torch.is_grad_enabled() or max(sizes) <= BLOCK:
        return net(x)
    step = max(BLOCK // multiple, 1) * multiple
    around = -(-reach // multiple) * multiple
    whole: list[Tensor] = []
    single = True
    corner: tuple[int, ...]
    for corner in product(*(range(0, size, step) for size in sizes)):
        low = [max(start - around, 0) for start in corner]
        high = [min(start + step + around, size) for start, size in zip(corner, sizes, strict=True)]
        part = net(x[_box(low, high)].contiguous())
        single = isinstance(part, Tensor)
        outputs: Sequence[Tensor] = [part] if isinstance(part, Tensor) else part
        for k, output in enumerate(outputs):
            scales = [(end - start) // size for start, end, size in zip(low, high, output.shape[2:], strict=True)]
            if len(whole) <= k:
                shape = [size // scale for size, scale in zip(sizes, scales, strict=True)]
                whole.append(output.new_empty(*output.shape[:2], *shape))
            ends = [min(start + step, size) for start, size in zip(corner, sizes, strict=True)]
            inner = [[at - first for at, first in zip(place, low, strict=True)] for place in (corner, ends)]
            (start_in, end_in), (start_out, end_out) = (
                [[at // scale for at, scale in zip(place, scales, strict=True)] for place in pair]
                for pair in (inner, (corner, ends))
            )
            whole[k][_box(start_out, end_out)] = output[_box(start_in, end_in)]
    return whole[0] if single else whole  # type: ignore[return-value]


def _box(low: Sequence[int], high: Sequence[int]) -> Any:
    """The index of a box, from ``low`` to ``high`` along the last axes."""
    return (..., *map(slice, low, high))
