"""The subnet of vectors and sequences."""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """``[*batch, inputs] -> [*batch, outputs]`` with ``depth`` hidden layers; zero at initialisation with ``zero``.

    As a subnet factory: ``functools.partial(MLP, hidden=256)``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int = 128,
        depth: int = 2,
        activation: Callable[[], nn.Module] = nn.SiLU,
        dropout: float = 0.0,
        zero: bool = True,
    ) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * depth]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), activation(), *([nn.Dropout(dropout)] if dropout else [])]
        last = nn.Linear(widths[-1], outputs)
        if zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
