"""The right-hand side of a continuous flow: one layer of hidden units, whose divergence is cheap and exact."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from crow.networks.context import with_context

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class HiddenUnits(nn.Module):
    """``dy/dt = W2(t) h + b2``, ``h = tanh(W1 [y, c] + b1 + t v)``, ``W2(t) = W2 (1 + t g)``; zero at initialisation.

    ``y: [batch, channels, *space]``, ``t`` a scalar, ``context: [batch, context, *space]`` or ``[batch, context]``.
    W1 and W2 are linear for vectors and convolutions of width 3 for images; g and v are one number per unit. Every unit
    adds ``W2(t) W1`` to the diagonal of the Jacobian, so the divergence is exact:
    ``sum_h (1 - h^2) m_h``, m_h being the sum over channels (and offsets that stay inside the image) of W1 times W2(t).
    Source: Chen et al., Neural ordinary differential equations, 2018, section 4 (many units, gated by time).
    """

    def __init__(self, channels: int, context: int, space: int = 0, hidden: int = 64) -> None:
        super().__init__()
        self.channels, self.context, self.space = channels, context, space
        kernel = [3] * space
        self.weight_in = nn.Parameter(torch.empty(hidden, channels + context, *kernel))
        self.weight_out = nn.Parameter(torch.zeros(channels, hidden, *kernel))
        self.bias_in = nn.Parameter(torch.zeros(hidden))
        self.bias_out = nn.Parameter(torch.zeros(channels))
        self.bias_in_by_time = nn.Parameter(torch.zeros(hidden))
        self.gate_by_time = nn.Parameter(torch.zeros(hidden))
        nn.init.kaiming_uniform_(self.weight_in, a=5**0.5)
        nn.init.uniform_(self.bias_in, -1, 1)
        nn.init.uniform_(self.bias_in_by_time, -1, 1)

    def forward(self, t: Tensor, y: Tensor, context: Tensor | None = None) -> Tensor:
        return self._derivative(y, *self._units(t, y, context))

    def with_divergence(self, t: Tensor, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """dy/dt in the shape of y, and its divergence ``[batch]``."""
        h, weight_out = self._units(t, y, context)
        m = self._diagonal(weight_out, y)
        return self._derivative(y, h, weight_out), m.sum() - h.square().flatten(1) @ m.flatten()

    def _units(self, t: Tensor, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        inputs = with_context(y, context, self.context, self.space)
        h = self._apply_weights(inputs, self.weight_in, torch.addcmul(self.bias_in, t, self.bias_in_by_time)).tanh()
        gate = (1 + t * self.gate_by_time).view(-1, *[1] * self.space)
        return h, self.weight_out * gate

    def _derivative(self, y: Tensor, h: Tensor, weight_out: Tensor) -> Tensor:
        return self._apply_weights(h, weight_out, self.bias_out)

    def _diagonal(self, weight_out: Tensor, y: Tensor) -> Tensor:
        """m, ``[hidden, *space]``."""
        axes = tuple(range(2, 2 + self.space))
        m = (weight_out.transpose(0, 1) * self.weight_in[:, : self.channels].flip(axes)).sum(1)
        if not self.space:
            return m
        ones = y.new_ones(1, 1, *y.shape[2:])
        return CONVOLVE[self.space](ones, m.flip(tuple(range(1, 1 + self.space))).unsqueeze(1), padding=1)[0]

    def _apply_weights(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if not self.space:
            return functional.linear(x, weight, bias)
        return CONVOLVE[self.space](x, weight, bias, padding=1)


class MeasuredUnits(HiddenUnits):
    """`HiddenUnits` for vectors with missing values, which stay as they are.

    ``context: [batch, context + channels]``; its last ``channels`` are 1 for measured values and 0 for missing ones.
    The divergence is that of the measured values.
    """

    def forward(self, t: Tensor, y: Tensor, context: Tensor | None = None) -> Tensor:
        return self.with_divergence(t, y, context)[0]

    def with_divergence(self, t: Tensor, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert context is not None
        context, measured = context.split([self.context, self.channels], -1)
        h, weight_out = self._units(t, y, context)
        m = measured @ (weight_out * self.weight_in[:, : self.channels].T)
        return self._derivative(y, h, weight_out) * measured, m.sum(-1) - (h.square() * m).sum(-1)
