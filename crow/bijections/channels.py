"""The shared convention for shapes: where the channels are, and what an event is."""

from __future__ import annotations

from torch import Tensor

from crow.bijections.base import Bijection


class ChannelBijection(Bijection):
    """A bijection of ``x: [*batch, channels, *space]`` with ``log_det: [*batch]``.

    Parameters
    ----------
    channels : int
        Number of channels.
    space : int
        Number of spatial axes. 0 is for vectors ``[batch, channels]`` and for sequences ``[batch, time, channels]``, in
        which every visit is an event of its own (``log_det: [batch, time]``). 1 to 3 are for images
        ``[batch, channels, *space]``.
    """

    def __init__(self, channels: int, space: int = 0) -> None:
        super().__init__()
        self.channels, self.space = channels, space
        self.axis = -1 - space
        self.event = tuple(range(self.axis, 0))

    def check(self, x: Tensor, channels: int | None = None) -> None:
        """Raise ValueError unless ``x`` has this bijection's channels and at least one batch axis."""
        channels = self.channels if channels is None else channels
        if x.dim() < 2 + self.space or x.shape[self.axis] != channels:
            wanted = ", ".join(["*batch", str(channels), *["size"] * self.space])
            raise ValueError(f"{type(self).__name__} expects [{wanted}], got {list(x.shape)}")

    def everywhere(self, log_det: Tensor, x: Tensor) -> Tensor:
        """The log-determinant ``[*batch]`` of a map that is the same at every position of ``x``."""
        positions = x.shape[x.dim() + self.axis + 1 :].numel()
        return (log_det * positions).expand(x.shape[: self.axis])
