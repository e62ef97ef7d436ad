"""CRow's two bijections over time: the temporal context gate and the recurrent coupling.

Source: Hwang, Tao, Kim & Singh, "Conditional recurrent flow", ICCV 2019, section 3; here the gate shifts as well as
scales, and the context (covariates, age, times) enters every subnet.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from crow.bijections.base import RecurrentBijection
from crow.bijections.coupling import scale_and_shift, soft_clamp
from crow.networks.recurrent import RecurrentSubnet


class Past(NamedTuple):
    """State of a gate: its network's hidden state, the last visit, the sum of all visits, and how many."""

    hidden: Tensor
    last: Tensor
    total: Tensor
    visits: Tensor


def running_past(
    x: Tensor, last: Tensor, total: Tensor, visits: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """The visit before each visit and the mean of all before it, both ``[batch, time, features]``, 0 where none is.

    ``last`` and ``total [batch, features]`` and ``visits [batch, 1]`` are the last visit, the sum and the number of
    those before ``x``; the same three after ``x`` are returned, too.
    """
    lasts = torch.cat([last.unsqueeze(1), x[:, :-1]], 1)
    totals = torch.cat([total.unsqueeze(1), total.unsqueeze(1) + x.cumsum(1)], 1)
    before = visits.unsqueeze(1) + torch.arange(x.shape[1], device=x.device, dtype=x.dtype).view(1, -1, 1)
    return lasts, totals[:, :-1] / before.clamp_min(1), (x[:, -1], totals[:, -1], before[:, -1] + 1)


class TemporalContextGate(RecurrentBijection):
    """Shifts and scales a visit by what came before it: ``z_t = (x_t - m_t) exp(-g_t)``.

    ``m_t`` and ``g_t`` come from a recurrent network of the visits before t and of the context at t; ``m_t`` also has a
    direct linear path from the last visit, the mean of the past and the context. The identity at initialisation.

    Args:
        features: values a visit.
        context: channels of the context (0 for none).
        hidden: width of the recurrent network.
        clamp: bound of ``|g_t|``.
        dropout: of the network's hidden layer.
    """

    def __init__(self, features: int, context: int, hidden: int, clamp: float = 2.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.clamp = clamp
        self.memory = nn.GRU(features + context, hidden, batch_first=True)
        self.inner = nn.Linear(hidden + context, hidden)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(hidden, 2 * features)
        self.direct = nn.Linear(2 * features + context, features, bias=False)
        for layer in (self.outer, self.direct):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(
        self, x: Tensor, context: Tensor | None = None, state: Past | None = None
    ) -> tuple[Tensor, Tensor, Past]:
        state = state or self._start(x)
        past, state = self._remember(x, context, state)
        m, g = self._shift_and_scale(past, context)
        return (x - m) * torch.exp(-g), -g.sum(-1), state

    def inverse(
        self, z: Tensor, context: Tensor | None = None, state: Past | None = None
    ) -> tuple[Tensor, Tensor, Past]:
        state = state or self._start(z)
        xs, log_dets = [], []
        for t in range(z.shape[1]):
            c = None if context is None else context[:, t : t + 1]
            mean = state.total / state.visits.clamp_min(1)
            m, g = self._shift_and_scale((state.hidden[:, None], state.last[:, None], mean[:, None]), c)
            x = z[:, t : t + 1] * torch.exp(g) + m
            _, state = self._remember(x, c, state)
            xs.append(x)
            log_dets.append(g.sum(-1))
        return torch.cat(xs, 1), torch.cat(log_dets, 1), state

    def _remember(self, x: Tensor, context: Tensor | None, state: Past) -> tuple[tuple[Tensor, Tensor, Tensor], Past]:
        h, _ = self.memory(x if context is None else torch.cat([x, context], -1), state.hidden.unsqueeze(0))
        before = torch.cat([state.hidden.unsqueeze(1), h[:, :-1]], 1)
        last, mean, seen = running_past(x, state.last, state.total, state.visits)
        return (before, last, mean), Past(h[:, -1], *seen)

    def _shift_and_scale(self, past: tuple[Tensor, Tensor, Tensor], context: Tensor | None) -> tuple[Tensor, Tensor]:
        before, last, mean = past
        extra = [] if context is None else [context]
        h = self.dropout(nn.functional.silu(self.inner(torch.cat([before, *extra], -1))))
        m, g = self.outer(h).chunk(2, -1)
        return m + self.direct(torch.cat([last, mean, *extra], -1)), soft_clamp(g, self.clamp)

    def _start(self, x: Tensor) -> Past:
        zero = x.new_zeros(x.shape[0], x.shape[2])
        return Past(x.new_zeros(x.shape[0], self.memory.hidden_size), zero, zero, x.new_zeros(x.shape[0], 1))


class RecurrentCoupling(RecurrentBijection):
    """Moves one part of a visit given the whole history of the other: ``z_a = x_a exp(s) + t``, ``z_p = x_p``.

    ``(s_t, t_t)`` come from a recurrent network over the passive part up to and including visit t, so both directions
    run on whole sequences. The identity at initialisation.

    Args:
        features: values a visit, at least 2; the first half is passive, or the second with ``swap``.
        context: channels of the context (0 for none).
        hidden: width of the recurrent network.
        clamp: bound of ``|s|``.
    """

    def __init__(
        self, features: int, context: int, hidden: int, swap: bool = False, clamp: float = 2.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if features < 2:
            raise ValueError(f"RecurrentCoupling needs at least 2 features, got {features}")
        self.clamp = clamp
        self.sizes, self.axis = (features // 2, features - features // 2), -1
        active = 0 if swap else 1
        self.actives = (active,)
        subnet = RecurrentSubnet(self.sizes[1 - active] + context, hidden, 2 * self.sizes[active], dropout)
        self.subnets = nn.ModuleList([subnet])

    def transform(self, active: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return scale_and_shift(active, theta, self.clamp, (self.axis,), inverse)

    def theta(self, subnet: nn.Module, passive: Tensor, context: Tensor | None) -> Tensor:
        """For the whole of a sequence, from its start."""
        return subnet(_with_context(passive, context))[0]

    def forward(
        self, x: Tensor, context: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self._couple(x, context, state, inverse=False)

    def inverse(
        self, z: Tensor, context: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self._couple(z, context, state, inverse=True)

    def _couple(
        self, x: Tensor, context: Tensor | None, state: Tensor | None, inverse: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        halves = list(x.split(self.sizes, self.axis))
        (active,), (subnet,) = self.actives, self.subnets
        theta, state = subnet(_with_context(halves[1 - active], context), state)
        halves[active], log_det = self.transform(halves[active], theta, inverse)
        return torch.cat(halves, self.axis), log_det, state


def _with_context(x: Tensor, context: Tensor | None) -> Tensor:
    return x if context is None else torch.cat([x, context], -1)
