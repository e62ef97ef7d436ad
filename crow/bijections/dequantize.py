"""From levels of an image to the continuous values that a flow has a density of, and back."""

import math

import torch
from torch import Tensor, nn


class UniformDequantizer(nn.Module):
    """``v = (x + u) / levels - 0.5`` with u uniform in [0, 1), for ``x: [batch, *event]`` of integers below ``levels``.

    Returns v and ``log q(v | x)`` in nats, ``[batch]``; ``log P(x) >= E_q[log p(v) - log q(v | x)]``. ``inverse(v)`` is
    the level that v lies in (the nearest one outside [-0.5, 0.5]). Draws from torch's global generator.
    Source: Theis et al., A note on the evaluation of generative models, 2016, section 3.1.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        v = (x + torch.rand_like(x)) / self.levels - 0.5
        return v, x.new_full((len(x),), x[0].numel() * math.log(self.levels))

    def inverse(self, v: Tensor, context: Tensor | None = None) -> Tensor:
        return ((v + 0.5) * self.levels).floor().clamp(0, self.levels - 1)
