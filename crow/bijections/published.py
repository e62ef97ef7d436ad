"""The recurrent block of CRow as published."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from crow.bijections.base import RecurrentBijection
from crow.bijections.coupling import soft_clamp
from crow.networks.mlp import MLP


class Hidden(NamedTuple):
    """State of a block: the hidden states of its two couplings, each ``[batch, features / 2]``."""

    first: Tensor
    second: Tensor


class PublishedBlock(RecurrentBijection):
    """Two couplings with recurrent subnets; a gate on the other coupling's previous state scales each half.

    With halves u1, u2 of a visit, states h1, h2 and ``e(s) = exp(c 2/pi atan(s / c))``, all elementwise,

        (s2, t2) = S2(u2 up to t),  a1 = e(s2) u1 + t2,            v1 = a1 e(g2(h2 before t)),
        (s1, t1) = S1(a1 up to t),  v2 = e(s1) e(g1(h1 before t)) u2 + t1,

    and the log-determinant is the sum of the four exponents. Both states start at 0 in both directions. (In the code
    of the paper they do not, and its inverse is not exact.) There is no context: in this flow covariates are outputs.

    Parameters
    ----------
    features : int
        Number of values per visit, even.
    clamp : float
        c, the bound of every exponent.

    Raises
    ------
    ValueError
        If the number of features is odd.

    References
    ----------
    Hwang, Tao, Kim & Singh, "Conditional recurrent flow", ICCV 2019, sections 3.2 and 3.3, and its code.

    Examples
    --------
    >>> import torch
    >>> block, x = PublishedBlock(6), torch.randn(4, 5, 6)
    >>> z, log_det, state = block(x)
    >>> torch.allclose(block.inverse(z)[0], x, atol=1e-4), log_det.shape
    (True, torch.Size([4, 5]))
    """

    def __init__(self, features: int, clamp: float = 2.0) -> None:
        super().__init__()
        if features < 2 or features % 2:
            raise ValueError(f"PublishedBlock needs an even number of features, got {features}")
        self.first = _Subnet(features // 2, clamp)
        self.second = _Subnet(features // 2, clamp)

    def forward(
        self, x: Tensor, context: Tensor | None = None, state: Hidden | None = None
    ) -> tuple[Tensor, Tensor, Hidden]:
        u1, u2 = x.chunk(2, -1)
        before = state or _initial(x)
        s2, t2, h2 = self.second(u2, before.second)
        a1 = torch.addcmul(t2, s2.exp(), u1)
        s1, t1, h1 = self.first(a1, before.first)
        g1, g2 = self.first.gate(_shift(h1, before.first)), self.second.gate(_shift(h2, before.second))
        v1, v2 = g2.exp() * a1, torch.addcmul(t1, (s1 + g1).exp(), u2)
        return torch.cat([v1, v2], -1), (s1 + s2 + g1 + g2).sum(-1), Hidden(h1[:, -1], h2[:, -1])

    def inverse(
        self, z: Tensor, context: Tensor | None = None, state: Hidden | None = None
    ) -> tuple[Tensor, Tensor, Hidden]:
        state = state or _initial(z)
        xs, log_dets = [], []
        for visit in z.split(1, 1):
            x, log_det, state = self._step_back(visit, state)
            xs.append(x)
            log_dets.append(log_det)
        return torch.cat(xs, 1), torch.cat(log_dets, 1), state

    def _step_back(self, z: Tensor, before: Hidden) -> tuple[Tensor, Tensor, Hidden]:
        v1, v2 = z.chunk(2, -1)
        g1, g2 = self.first.gate(before.first.unsqueeze(1)), self.second.gate(before.second.unsqueeze(1))
        a1 = v1 * torch.exp(-g2)
        s1, t1, h1 = self.first(a1, before.first)
        u2 = (v2 - t1) * torch.exp(-s1 - g1)
        s2, t2, h2 = self.second(u2, before.second)
        u1 = (a1 - t2) * torch.exp(-s2)
        return torch.cat([u1, u2], -1), -(s1 + s2 + g1 + g2).sum(-1), Hidden(h1[:, -1], h2[:, -1])


class _Subnet(nn.Module):
    """S and its gate: log-scale, shift and hidden states, ``[batch, time, half]``, given the state before."""

    def __init__(self, half: int, clamp: float) -> None:
        super().__init__()
        self.clamp = clamp
        self.memory = nn.GRU(half, half, batch_first=True)
        self.head = MLP(half, 2 * half, hidden=4 * half, depth=2, activation=functional.relu, zero=False)
        self.gate_layer = nn.Linear(half, half)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, _ = self.memory(x, before.unsqueeze(0))
        s, t = self.head(h).chunk(2, -1)
        return soft_clamp(s, self.clamp), t, h

    def gate(self, h: Tensor) -> Tensor:
        """The temporal context gate ``g = logsigmoid(relu(W (h + 2) + b))``, at most 0, soft-clamped."""
        return soft_clamp(functional.logsigmoid(functional.relu(self.gate_layer(h + 2))), self.clamp)


def _shift(h: Tensor, before: Tensor) -> Tensor:
    """The state before each visit."""
    return torch.cat([before.unsqueeze(1), h[:, :-1]], 1)


def _initial(x: Tensor) -> Hidden:
    zero = x.new_zeros(x.shape[0], x.shape[2] // 2)
    return Hidden(zero, zero)
