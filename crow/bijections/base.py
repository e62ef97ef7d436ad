"""The two contracts every invertible map keeps."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Bijection(nn.Module):
    """An exact invertible map of x given an optional context.

    ``forward(x, context) -> (z, log_det)`` and ``inverse(z, context) -> (x, log_det)``, each with the
    log-determinant of the map it computes (so the two are negatives of each other). ``x: [batch, *event]`` gives
    ``log_det: [batch]``. No state that a ``state_dict`` does not carry; tensors that came ``later`` than the first
    saved runs are 0 where one lacks them.
    """

    later: ClassVar[tuple[str, ...]] = ()

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self.later:
            state_dict.setdefault(prefix + name, torch.zeros_like(getattr(self, name)))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class RecurrentBijection(nn.Module):
    """An invertible map of a sequence whose value at t depends on visits up to t only.

    ``x: [batch, time, features]``, ``context: [batch, time, channels]``, ``log_det: [batch, time]``. ``state`` carries
    everything the next visit needs, so any split gives the same answer: ``forward(x[:, :k])`` and then
    ``forward(x[:, k:], state=state)`` equals ``forward(x)``. ``forward`` has no Python loop over time; ``inverse``
    walks through time with the state cached. ``state=None`` is the start of a sequence.
    """

    def forward(self, x: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Tensor, Any]:
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Tensor, Any]:
        raise NotImplementedError
