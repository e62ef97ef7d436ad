"""The subnet for vectors and sequences."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from crow.networks.linear import linear


class MLP(nn.Module):
    """``[*batch, inputs] -> [*batch, outputs]`` with ``depth`` hidden layers of width ``hidden``.

    With ``zero`` its output is zero at initialisation. As a subnet factory: ``functools.partial(MLP, hidden=256)``.

    Examples
    --------
    >>> import torch
    >>> MLP(3, 2, hidden=8)(torch.randn(4, 5, 3)).shape
    torch.Size([4, 5, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int = 128,
        depth: int = 2,
        activation: Callable[[Tensor], Tensor] = functional.silu,
        dropout: float = 0.0,
        zero: bool = True,
    ) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * depth]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.last = nn.Linear(widths[-1], outputs)
        self.activation, self.dropout = activation, dropout
        if zero:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        # Functions, not modules: in small flows on a CPU the calls take longer than the arithmetic.
        for layer in cast(Iterable[nn.Linear], self.hidden):
            x = self.activation(linear(x, layer.weight, layer.bias))
            if self.dropout:
                x = functional.dropout(x, self.dropout, self.training)
        return linear(x, self.last.weight, self.last.bias)
