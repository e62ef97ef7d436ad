"""The recurrent subnet of the couplings of CRow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crow.networks.linear import Linear
from crow.networks.packing import Packing


class RecurrentSubnet(nn.Module):
    """A GRU over ``[batch, time, inputs]`` and a two-layer head on its state and input; zero at initialisation.

    Returns outputs ``[batch, time, outputs]`` and the last state of the GRU, ``[batch, hidden]``. With a ``packing``
    there is no such state: a packed sequence is whole.

    Examples
    --------
    >>> import torch
    >>> outputs, state = RecurrentSubnet(3, hidden=8, outputs=2)(torch.randn(4, 5, 3))
    >>> outputs.shape, state.shape
    (torch.Size([4, 5, 2]), torch.Size([4, 8]))
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.memory = nn.GRU(inputs, hidden, batch_first=True)
        self.inner = Linear(hidden + inputs, hidden)
        self.dropout = nn.Dropout(dropout)
        self.outer = Linear(hidden, outputs)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(
        self, x: Tensor, state: Tensor | None = None, packing: Packing | None = None
    ) -> tuple[Tensor, Tensor | None]:
        if packing is None:
            h, _ = self.memory(x, None if state is None else state.unsqueeze(0))
            state = h[:, -1]
        else:
            _, h = packing.remember(self.memory, x)
        h = nn.functional.silu(self.inner(torch.cat([h, x], -1)))
        return self.outer(self.dropout(h) if packing is None else packing.drop(h)), state
