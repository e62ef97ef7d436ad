"""The one convention for shapes: where channels are and what an event is."""

import torch
from torch import Tensor

from crow.bijections.base import Bijection


class ChannelBijection(Bijection):
    """A bijection of ``x: [*batch, channels, *space]`` with ``log_det: [*batch]``.

    ``space`` counts the spatial axes: 0 for vectors ``[batch, channels]`` and sequences ``[batch, time, channels]``
    (each visit its own event, so ``log_det: [batch, time]``), 1 to 3 for images ``[batch, channels, *space]``.
    """

    def __init__(self, channels: int, space: int = 0) -> None:
        super().__init__()
        self.channels, self.space = channels, space
        self.axis = -1 - space
        self.event = tuple(range(self.axis, 0))

    def check(self, x: Tensor, channels: int | None = None) -> None:
        """Raises ValueError unless ``x`` has this bijection's channels and at least one batch axis."""
        channels = self.channels if channels is None else channels
        if x.dim() < 2 + self.space or x.shape[self.axis] != channels:
            wanted = ", ".join(["*batch", str(channels), *["size"] * self.space])
            raise ValueError(f"{type(self).__name__} expects [{wanted}], got {list(x.shape)}")

    def everywhere(self, log_det: Tensor, x: Tensor) -> Tensor:
        """The log-determinant ``[*batch]`` of a map that is the same at every position of ``x``."""
        positions = x.shape[x.dim() + self.axis + 1 :].numel()
        return (log_det * positions).expand(x.shape[: self.axis])


def with_context(x: Tensor, context: Tensor | None, channels: int, space: int = 0) -> Tensor:
    """``[x, context]`` along the channel axis; a context vector is spread over ``x``'s space.

    ``channels`` is how many the context has; with 0 the context is ignored. Raises ValueError if they differ.
    """
    if not channels:
        return x
    if context is None:
        raise ValueError(f"a context of {channels} channels is needed, got none")
    if space and context.dim() == x.dim() - space:
        context = context.reshape(*context.shape, *[1] * space).expand(*context.shape, *x.shape[-space:])
    axis = -1 - space
    if context.dim() != x.dim() or context.shape[axis] != channels or context.shape[:axis] != x.shape[:axis]:
        raise ValueError(f"a context of {channels} channels is needed for {list(x.shape)}, got {list(context.shape)}")
    return torch.cat([x, context], axis)
