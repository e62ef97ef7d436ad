"""A context beside the values that a network sees."""

from __future__ import annotations

import torch
from torch import Tensor


def with_context(x: Tensor, context: Tensor | None, channels: int, space: int = 0) -> Tensor:
    """Concatenate x and its context along the channel axis.

    Parameters
    ----------
    x : Tensor
        ``[*batch, channels of x, *space]``.
    context : Tensor or None
        ``[*batch, channels, *space]``, or ``[*batch, channels]``, which is repeated over the space of x.
    channels : int
        Number of channels of the context. If it is 0, the context is ignored.
    space : int
        Number of spatial axes of x.

    Returns
    -------
    Tensor
        ``[*batch, channels of x + channels, *space]``.

    Raises
    ------
    ValueError
        If the context is missing or does not have ``channels`` channels.
    """
    if not channels:
        return x
    if context is None:
        raise ValueError(f"a context of {channels} channels is needed, got none")
    if space and context.dim() == x.dim() - space:
        context = over_space(context, x, space)
    axis = -1 - space
    if context.dim() != x.dim() or context.shape[axis] != channels or context.shape[:axis] != x.shape[:axis]:
        raise ValueError(f"a context of {channels} channels is needed for {list(x.shape)}, got {list(context.shape)}")
    return torch.cat([x, context], axis)


def over_space(context: Tensor, x: Tensor, space: int) -> Tensor:
    """A context vector ``[*batch, channels]`` repeated over the ``space`` last axes of x."""
    sizes = x.shape[x.dim() - space :]
    return context.reshape(*context.shape, *[1] * space).expand(*context.shape, *sizes)
