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
from crow.bijections.patterns import only
from crow.networks.linear import Linear
from crow.networks.packing import Packing
from crow.networks.recurrent import RecurrentSubnet


class Past(NamedTuple):
    """State of a gate: its network's hidden state; of each value the last, the sum, and how many were measured."""

    hidden: Tensor
    last: Tensor
    total: Tensor
    visits: Tensor


def running_past(
    x: Tensor, last: Tensor, total: Tensor, visits: Tensor, measured: Tensor | None = None
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """The last value before each visit and the mean of all before it, ``[batch, time, features]``, 0 if there is none.

    ``last`` and ``total [batch, features]`` and ``visits [batch, 1]`` (or ``[batch, features]`` with ``measured``) are
    the last value, the sum and the number of those before ``x``; the same three after ``x`` are returned, too. ``x`` is
    0 where it was not measured.
    """
    known = torch.cat([last.unsqueeze(1), x], 1)
    if measured is None:
        one = torch.ones_like(x[..., :1])
    else:
        known, one = _carried(known, measured), measured.to(x.dtype)
    totals = torch.cat([total.unsqueeze(1), total.unsqueeze(1) + x.cumsum(1)], 1)
    counts = visits.unsqueeze(1) + torch.cat([torch.zeros_like(one[:, :1]), one.cumsum(1)], 1)
    return known[:, :-1], totals[:, :-1] / counts[:, :-1].clamp_min(1), (known[:, -1], totals[:, -1], counts[:, -1])


def _carried(values: Tensor, measured: Tensor) -> Tensor:
    """``values [batch, 1 + time, features]``, the first of them known, and after it the last that was measured."""
    steps = torch.arange(1, values.shape[1], device=values.device).view(1, -1, 1)
    at = torch.where(measured, steps, 0).cummax(1).values
    return values.gather(1, torch.cat([torch.zeros_like(at[:, :1]), at], 1))


class TemporalContextGate(RecurrentBijection):
    """Shifts and scales a visit by those before it: ``z_t = (x_t - m_t) exp(-g_t)``.

    ``m_t`` and ``g_t`` come from a recurrent network of the visits before t and of the context at t; ``m_t`` also has a
    direct linear path from the last value, the mean of the past and the context. The identity at initialisation.
    Elementwise at each visit, so a missing value, which is 0 in x and z, has no part in the log-determinant.

    Parameters
    ----------
    features : int
        Values per visit.
    context : int
        Channels of the context (0 for none).
    hidden : int
        Width of the recurrent network.
    clamp : float
        Bound of ``|g_t|``.
    dropout : float
        Of the network's hidden layer.

    References
    ----------
    Hwang et al., ICCV 2019, section 3.3. The shift and the direct path were added in this project.

    Examples
    --------
    >>> import torch
    >>> gate, x, context = TemporalContextGate(3, context=2, hidden=8), torch.randn(4, 5, 3), torch.randn(4, 5, 2)
    >>> z, log_det, past = gate(x, context)
    >>> torch.allclose(gate.inverse(z, context)[0], x, atol=1e-5), log_det.shape
    (True, torch.Size([4, 5]))
    """

    def __init__(self, features: int, context: int, hidden: int, clamp: float = 2.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.clamp = clamp
        self.memory = nn.GRU(features + context, hidden, batch_first=True)
        self.inner = Linear(hidden + context, hidden)
        self.dropout = nn.Dropout(dropout)
        self.outer = Linear(hidden, 2 * features)
        self.direct = Linear(2 * features + context, features, bias=False)
        for layer in (self.outer, self.direct):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        state: Past | None = None,
        measured: Tensor | None = None,
        packing: Packing | None = None,
    ) -> tuple[Tensor, Tensor, Past | None]:
        if packing is None:
            past, state = self._remember(x, context, state or self._start(x), measured)
        else:
            past = self._recall(x, context, measured, packing)
        m, g = self._shift_and_scale(past, context, packing)
        return only(measured, (x - m) * torch.exp(-g)), -only(measured, g).sum(-1), state

    def inverse(
        self, z: Tensor, context: Tensor | None = None, state: Past | None = None, measured: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Past]:
        state = state or self._start(z)
        xs, log_dets = [], []
        for t in range(z.shape[1]):
            c, there = (None if v is None else v[:, t : t + 1] for v in (context, measured))
            mean = state.total / state.visits.clamp_min(1)
            m, g = self._shift_and_scale((state.hidden[:, None], state.last[:, None], mean[:, None]), c)
            x = only(there, z[:, t : t + 1] * torch.exp(g) + m)
            _, state = self._remember(x, c, state, there)
            xs.append(x)
            log_dets.append(only(there, g).sum(-1))
        return torch.cat(xs, 1), torch.cat(log_dets, 1), state

    def _remember(
        self, x: Tensor, context: Tensor | None, state: Past, measured: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Past]:
        h, _ = self.memory(x if context is None else torch.cat([x, context], -1), state.hidden.unsqueeze(0))
        before = torch.cat([state.hidden.unsqueeze(1), h[:, :-1]], 1)
        last, mean, seen = running_past(x, state.last, state.total, state.visits, measured)
        return (before, last, mean), Past(h[:, -1], *seen)

    def _recall(
        self, x: Tensor, context: Tensor | None, measured: Tensor | None, packing: Packing
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`_remember` of packed sequences."""
        before, _ = packing.remember(self.memory, x if context is None else torch.cat([x, context], -1))
        padded = packing.unpack(x)
        zero = x.new_zeros(len(padded), x.shape[2])
        there = None if measured is None else packing.unpack(measured)
        last, mean, _ = running_past(padded, zero, zero, zero[:, :1], there)
        last, mean = packing.take(torch.cat([last, mean], -1)).chunk(2, -1)
        return before, last, mean

    def _shift_and_scale(
        self, past: tuple[Tensor, Tensor, Tensor], context: Tensor | None, packing: Packing | None = None
    ) -> tuple[Tensor, Tensor]:
        before, last, mean = past
        extra = [] if context is None else [context]
        h = nn.functional.silu(self.inner(torch.cat([before, *extra], -1)))
        h = self.dropout(h) if packing is None else packing.drop(h)
        m, g = self.outer(h).chunk(2, -1)
        return m + self.direct(torch.cat([last, mean, *extra], -1)), soft_clamp(g, self.clamp)

    def _start(self, x: Tensor) -> Past:
        zero = x.new_zeros(x.shape[0], x.shape[2])
        return Past(x.new_zeros(x.shape[0], self.memory.hidden_size), zero, zero, x.new_zeros(x.shape[0], 1))


class RecurrentCoupling(RecurrentBijection):
    """Moves one part of a visit given the whole history of the other: ``z_a = x_a exp(s) + t``, ``z_p = x_p``.

    ``(s_t, t_t)`` come from a recurrent network over the passive part up to and including visit t, so both directions
    run on whole sequences. The identity at initialisation. A missing value, which is 0 in x and z, stays and has no
    part in the log-determinant.

    Parameters
    ----------
    features : int
        Values per visit, at least 2.
    context : int
        Channels of the context (0 for none).
    hidden : int
        Width of the recurrent network.
    swap : bool
        Whether the second part is passive; else the first.
    clamp : float
        Bound of ``|s|``.
    dropout : float
        Of the network's hidden layer.

    Raises
    ------
    ValueError
        If there are fewer than 2 features.

    References
    ----------
    Hwang et al., ICCV 2019, section 3.2.

    Examples
    --------
    >>> import torch
    >>> coupling, x = RecurrentCoupling(4, context=0, hidden=8), torch.randn(4, 5, 4)
    >>> first, _, state = coupling(x[:, :3])  # a sequence may be cut anywhere
    >>> rest, log_det, _ = coupling(x[:, 3:], state=state)
    >>> torch.allclose(torch.cat([first, rest], 1), coupling(x)[0], atol=1e-5), log_det.shape
    (True, torch.Size([4, 2]))
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
        self,
        x: Tensor,
        context: Tensor | None = None,
        state: Tensor | None = None,
        measured: Tensor | None = None,
        packing: Packing | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        return self._couple(x, context, state, measured, packing, inverse=False)

    def inverse(
        self, z: Tensor, context: Tensor | None = None, state: Tensor | None = None, measured: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        return self._couple(z, context, state, measured, None, inverse=True)

    def _couple(
        self,
        x: Tensor,
        context: Tensor | None,
        state: Tensor | None,
        measured: Tensor | None,
        packing: Packing | None,
        inverse: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        halves = list(x.split(self.sizes, self.axis))
        (active,), (subnet,) = self.actives, self.subnets
        theta, state = subnet(_with_context(halves[1 - active], context), state, packing)
        if measured is None:
            halves[active], log_det = self.transform(halves[active], theta, inverse)
        else:
            there = measured.split(self.sizes, self.axis)[active]
            # Scale 1 and shift 0 leave a missing value where it is.
            halves[active], log_det = self.transform(halves[active], only(there.repeat(1, 1, 2), theta), inverse)
        return torch.cat(halves, self.axis), log_det, state


def _with_context(x: Tensor, context: Tensor | None) -> Tensor:
    return x if context is None else torch.cat([x, context], -1)
