"""The conditional recurrent flow: the exact density of a sequence of visits, and its future visits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from crow.bijections.base import Bijection, RecurrentBijection
from crow.bijections.innovation import MixedModelInnovation, Moments
from crow.bijections.innovation_fit import fit_mixed_model
from crow.bijections.mixing import Rotation
from crow.bijections.ode import ODE
from crow.bijections.priors import ConditionalPrior, Prior, StandardPrior
from crow.bijections.recurrent import RecurrentCoupling, TemporalContextGate, running_past
from crow.data.sequences import Sequences
from crow.networks.dynamics import HiddenUnits
from crow.networks.mlp import MLP

BASE_STEPS = 8  # of the solver of a continuous base: fixed, so that no visit's step depends on another visit
TIMES = 3  # channels that the flow puts before the context: time since first visit, since last visit, is it the first


class FlowState(NamedTuple):
    """What the next visit needs of a subject's past."""

    time: Tensor  # [batch, 1], of the last visit
    last: Tensor  # [batch, region]
    total: Tensor  # [batch, region], sum of the visits
    visits: Tensor  # [batch, 1]
    moments: Moments
    layers: tuple[Any, ...]


class CRowFlow(nn.Module):
    """``p(x_1..x_T | c_1..c_T)`` of visits at irregular times, exact, visit by visit.

    A gate that shifts and scales by the past, then (``initialisation="mixed_model"``) the innovations of a linear mixed model, then
    ``blocks`` times two recurrent couplings and a rotation, with a gate between blocks. Everything is zero-initialised,
    so the flow starts as the mixed model itself; with ``initialisation="standard"`` it starts at N(0, I) and only sees what the
    mixed model predicts. Every subnet gets the context, the times, and a summary of the raw past: last visit, mean, and
    the mixed model's prediction with its log-sd. Source: Hwang et al., ICCV 2019; the starting point and the shift are
    this project's.

    Args:
        features: regions.
        context: channels of the context (covariates, age).
        blocks, hidden, dropout: size and regularisation of the subnets.
        summary: the raw past is projected to at most so many numbers.
        base: of the latent variables, N(0, I), a normal given context and past, or what a continuous flow given these
            makes of N(0, I), visit by visit.
    """

    time_scale: Tensor

    def __init__(
        self,
        features: int,
        context: int,
        initialisation: Literal["mixed_model", "standard"] = "mixed_model",
        blocks: int = 2,
        hidden: int = 24,
        dropout: float = 0.0,
        summary: int = 32,
        base: Literal["standard", "conditional", "continuous"] = "standard",
    ) -> None:
        super().__init__()
        self.features, self.initialisation = features, initialisation
        self.register_buffer("time_scale", torch.ones(()))
        self.mixed = MixedModelInnovation(
            features, [0, *range(TIMES, TIMES + context)], trends=[*range(TIMES, TIMES + context)]
        )
        self.mixed.requires_grad_(False)
        self.mixed.correlation.requires_grad_(initialisation == "mixed_model")
        raw = 4 * features
        self.summary = nn.Linear(raw, summary) if raw > summary else nn.Identity()
        channels = TIMES + context + min(raw, summary)
        gate = partial(TemporalContextGate, features, channels, hidden, dropout=dropout)
        self.layers = nn.ModuleList([gate()])
        for block in range(blocks):
            if block:
                self.layers.append(gate())
            if features > 1:
                couplings = (
                    RecurrentCoupling(features, channels, hidden, swap, dropout=dropout) for swap in (False, True)
                )
                self.layers.extend([*couplings, _Timeless(Rotation(features))])
        if base == "continuous":
            dynamics = HiddenUnits(features, channels, hidden=hidden)
            self.layers.append(_Timeless(ODE(features, dynamics, steps=BASE_STEPS)))
        self.prior: Prior = StandardPrior((features,))
        if base == "conditional":
            self.prior = ConditionalPrior(features, channels, partial(MLP, hidden=hidden, depth=1))

    def initialise(self, data: Sequences) -> Tensor:
        """Fits the mixed model to the training subjects; returns its log-likelihood ``[region]``."""
        self.time_scale.fill_(_scale(data))
        return fit_mixed_model(self.mixed, data.x, self._times(data, None)[0], data.mask)

    def log_prob(self, data: Sequences) -> Tensor:
        """Log-density of every visit given those before it, ``[batch, time]`` in nats; 0 at pads."""
        z, log_det, context, _ = self._transform(data, None)
        return torch.where(data.mask, self.prior.log_prob(z, context) + log_det, 0.0)

    def initial_log_prob(self, data: Sequences) -> Tensor:
        """The same under the mixed model alone."""
        z, log_det, _ = self.mixed(data.x, self._times(data, None)[0])
        return torch.where(data.mask, StandardPrior((self.features,)).log_prob(z) + log_det, 0.0)

    def loss(self, data: Sequences) -> Tensor:
        """Mean negative log-likelihood a visit."""
        return -self.log_prob(data).sum() / data.mask.sum()

    def transform(self, data: Sequences, state: FlowState | None = None) -> tuple[Tensor, Tensor, FlowState]:
        """Latent ``[batch, time, region]``, log-determinant ``[batch, time]``, and the state after the last column."""
        z, log_det, _, state = self._transform(data, state)
        return z, log_det, state

    def inverse(self, z: Tensor, data: Sequences, state: FlowState | None = None) -> tuple[Tensor, Tensor, FlowState]:
        """The visits whose latent is z, at the times and contexts of ``data`` (its x is not used)."""
        xs, log_dets = [], []
        for t in range(z.shape[1]):
            visit = replace(data.visit(t), x=z[:, t : t + 1])
            x, log_det = self._invert(visit, state)
            state = self._transform(replace(visit, x=x), state)[3]
            xs.append(x)
            log_dets.append(log_det)
        assert state is not None
        return torch.cat(xs, 1), torch.cat(log_dets, 1), state

    def condition(self, history: Sequences) -> FlowState:
        """The state after each subject's own last visit."""
        state: FlowState | None = None
        for t in range(history.x.shape[1]):
            after = self._transform(history.visit(t), state)[3]
            state = after if state is None else map_state(partial(_where, history.mask[:, t]), after, state)
        assert state is not None
        return state

    def sample(self, data: Sequences, state: FlowState | None, noise: Tensor) -> Tensor:
        """The visit at the time and context of ``data`` that ``noise [batch, 1, region]`` ~ N(0, I) stands for."""
        if isinstance(self.prior, ConditionalPrior):
            mean, log_sd = self.prior.moments(self._context(replace(data, x=torch.zeros_like(noise)), state)[0])
            noise = mean + log_sd.exp() * noise
        return self._invert(replace(data, x=noise), state)[0]

    def _transform(self, data: Sequences, state: FlowState | None) -> tuple[Tensor, Tensor, Tensor, FlowState]:
        context, prediction, first, after = self._context(data, state)
        x, log_dets, states = data.x, [], []
        for i, layer in enumerate(self.layers):
            x, log_det, layer_state = layer(x, context, state and state.layers[i])
            log_dets.append(log_det)
            states.append(layer_state)
            if i == 0 and self.initialisation == "mixed_model":
                x, log_det = self.mixed.whiten(x, *prediction, first)
                log_dets.append(log_det)
        return x, sum(log_dets[1:], log_dets[0]), context, after._replace(layers=tuple(states))

    def _invert(self, visit: Sequences, state: FlowState | None) -> tuple[Tensor, Tensor]:
        context, prediction, first, _ = self._context(visit, state)
        x, log_dets = visit.x, []
        for i in reversed(range(len(self.layers))):
            if i == 0 and self.initialisation == "mixed_model":
                x, log_det = self.mixed.colour(x, *prediction, first)
                log_dets.append(log_det)
            layer = cast(RecurrentBijection, self.layers[i])
            x, log_det, _ = layer.inverse(x, context, state and state.layers[i])
            log_dets.append(log_det)
        return x, sum(log_dets[1:], log_dets[0])

    def _times(self, data: Sequences, state: FlowState | None) -> tuple[Tensor, Tensor]:
        """The flow's whole context of times and covariates, and which visits are first ``[batch, time, 1]``."""
        before = data.time[:, :1] if state is None else state.time
        since_last = data.time - torch.cat([before, data.time[:, :-1]], 1)
        first = torch.zeros_like(data.mask)
        if state is None:
            first[:, 0] = True
        times = torch.stack([data.time / self.time_scale, since_last / self.time_scale, first.to(data.time)], -1)
        return torch.cat([times, data.context], -1), first.unsqueeze(-1)

    def _context(
        self, data: Sequences, state: FlowState | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor, FlowState]:
        """Context of every subnet, the mixed model's mean and sd, first visits, and the state without its layers."""
        x = data.x
        context, first = self._times(data, state)
        mean, sd, moments = self.mixed.predict(x, context, state and state.moments)
        zero = x.new_zeros(x.shape[0], x.shape[2])
        last, total, visits = (zero, zero, zero[:, :1]) if state is None else (state.last, state.total, state.visits)
        lasts, means, seen = running_past(x, last, total, visits)
        past = torch.cat([lasts, means, mean, sd.log()], -1)
        after = FlowState(data.time[:, -1:], *seen, moments, ())
        return torch.cat([context, self.summary(past)], -1), (mean, sd), first, after


def map_state(f: Callable[..., Tensor], *states: Any) -> Any:
    """``f`` of every tensor ``[batch, ...]`` of states of the same form."""
    if isinstance(states[0], Tensor):
        return f(*states)
    if states[0] is None:
        return None
    parts = [map_state(f, *parts) for parts in zip(*states, strict=True)]
    return type(states[0])(*parts) if hasattr(states[0], "_fields") else tuple(parts)


class _Timeless(RecurrentBijection):
    """A bijection of single visits among those of sequences."""

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection

    def forward(self, x: Tensor, context: Tensor | None = None, state: None = None) -> tuple[Tensor, Tensor, None]:
        return *self.bijection(x, context), None

    def inverse(self, z: Tensor, context: Tensor | None = None, state: None = None) -> tuple[Tensor, Tensor, None]:
        return *self.bijection.inverse(z, context), None


def _where(rows: Tensor, after: Tensor, before: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (after.ndim - 1)), after, before)


def _scale(data: Sequences) -> Tensor:
    """A typical time since the first visit, in years."""
    later = data.time[data.mask & (data.time > 0)]
    return later.square().mean().sqrt().clamp_min(0.1) if len(later) else torch.ones(())
