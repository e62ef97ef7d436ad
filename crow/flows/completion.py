"""Missing values drawn given what was measured: by particles, whose weights make the flow's density theirs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from crow.bijections.patterns import apply_each, only, patterns
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow, map_state
from crow.flows.ensemble import FlowEnsemble

# Draws are proposed from wider tails than the flow's: t with so many degrees of freedom, times a factor.
FREEDOM, WIDER = 5, 1.1
JITTER = 1e-6


class Completed(NamedTuple):
    """Draws of complete visits, ``[batch, draw, time, region]``, whose measured values are those of the data.

    ``filtered`` are given each visit and those before it, every visit by itself. ``smoothed`` are whole trajectories
    given all visits: draw k belongs together over the visits. ``effective [batch, time]`` is how many independent draws
    the filtered ones are worth.
    """

    filtered: Tensor
    smoothed: Tensor
    effective: Tensor


@torch.no_grad()
def complete(flow: FlowEnsemble, data: Sequences, n: int, generator: torch.Generator) -> Completed:
    """Fill the missing values of ``data`` by ``n`` particles per subject.

    A particle is a past without gaps. At each visit its missing values are drawn around the mixed model's prediction
    given those that were measured there, and it is weighted by the flow's density of the complete visit over that of
    the draw: the weighted particles follow the flow's density of complete sequences given the measured values, the
    better the more there are. Particles are resampled if the weights are worth fewer than half of them, after which
    early visits have fewer distinct smoothed draws. Source: Doucet, Godsill & Andrieu 2000, algorithm of section II.
    """
    values = data.values()
    batch, time, regions = data.x.shape
    states: list[Any] = [None] * len(flow.members)
    log_w = data.x.new_zeros(batch, n)
    path, filtered = (data.x.new_zeros(batch, n, time, regions) for _ in range(2))
    effective = data.x.new_full((batch, time), float(n))
    for t in range(time):
        there = values[:, t : t + 1].repeat_interleave(n, 0)
        visit = replace(data.visit(t).repeat(n), measured=None)
        x, log_q = _propose(flow, visit, there, states, batch, n, generator)
        log_p, states = flow.step(replace(visit, x=x), states)
        # Of a visit without a measured value the draws are exact, and a pad has no density.
        counts = (there.any(-1) & visit.mask).view(batch, n)
        log_w = log_w + torch.where(counts, (log_p - log_q).view(batch, n), 0.0)
        path[:, :, t] = x.view(batch, n, regions)
        w = torch.softmax(log_w, 1)
        effective[:, t] = 1 / w.square().sum(1)
        chosen = _systematic(w, generator)
        filtered[:, :, t] = _rows_of(path[:, :, t], chosen)
        poor = effective[:, t : t + 1] < n / 2
        chosen = torch.where(poor, chosen, torch.arange(n))
        log_w = torch.where(poor, 0.0, log_w)
        path = _rows_of(path, chosen)
        rows = (chosen + n * torch.arange(batch)[:, None]).flatten()
        states = [map_state(lambda s: s[rows], state) for state in states]  # noqa: B023
    smoothed = _rows_of(path, _systematic(torch.softmax(log_w, 1), generator))
    return Completed(filtered, smoothed, effective)


def _propose(
    flow: FlowEnsemble,
    visit: Sequences,
    there: Tensor,
    states: list[Any],
    batch: int,
    n: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Complete visits ``[batch * n, 1, region]`` and the log-density of what was drawn of them ``[batch * n]``.

    The mixed model predicts on the line of `crow.bijections.soft_bounds`, so the draws are made there.
    """
    member = cast(CRowFlow, flow.members[0])
    prediction = member.predict(visit, states[0])
    factor = member.mixed.correlation[0 if states[0] is None else 1].tril()
    each, which = patterns(there)
    onto, left = _conditional(factor @ factor.mT, each)
    y, _ = member.bounds.each(visit.x)
    e = only(there, (y - prediction.mean) / prediction.sd)
    noise, nats = _student(visit.x, generator)
    drawn = apply_each(onto, which, e) + WIDER * apply_each(left, which, noise)
    x = torch.where(there, visit.x, member.bounds.inverse(prediction.mean + prediction.sd * drawn)[0])
    _, log_slope = member.bounds.each(x)
    log_q = (
        only(~there, nats - math.log(WIDER) - prediction.sd.log() + log_slope).sum(-1)
        - left.diagonal(dim1=-2, dim2=-1).log().sum(-1)[which]
    )
    nothing = ~there.any(-1)
    if bool(nothing.any()):
        x = torch.where(nothing.unsqueeze(-1), flow.draw(visit, states, batch, n, generator), x)
    return x, log_q.squeeze(1)


def _student(like: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws of Student's t and their log-density, elementwise."""
    normal = torch.randn(*like.shape, 1 + FREEDOM, generator=generator, dtype=like.dtype)
    t = normal[..., 0] / (normal[..., 1:].square().mean(-1)).sqrt()
    half = (FREEDOM + 1) / 2
    constant = math.lgamma(half) - math.lgamma(FREEDOM / 2) - 0.5 * math.log(FREEDOM * math.pi)
    return t, constant - half * torch.log1p(t.square() / FREEDOM)


def _conditional(correlation: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
    """Of missing on measured regions: regression and Cholesky factor of the rest, ``[pattern, region, region]``.

    The factor is the identity in measured regions, the regression 0.
    """
    eye = torch.eye(len(correlation), dtype=correlation.dtype)
    block = measured.unsqueeze(-1) & measured.unsqueeze(-2)
    inverse = torch.linalg.inv(torch.where(block, correlation, eye)) * block
    onto = torch.where(measured.unsqueeze(-1), 0.0, correlation @ inverse)
    missing = ~measured.unsqueeze(-1) & ~measured.unsqueeze(-2)
    rest = torch.where(missing, correlation - onto @ correlation, eye)
    return onto, torch.linalg.cholesky(rest + JITTER * eye)


def _systematic(w: Tensor, generator: torch.Generator) -> Tensor:
    """Indices ``[batch, n]``, each as often as its weight in ``w [batch, n]`` asks for, within one."""
    n = w.shape[1]
    start = torch.rand(len(w), 1, generator=generator, dtype=w.dtype)
    edges = w.cumsum(1)
    points = (torch.arange(n, dtype=w.dtype) + start) / n * edges[:, -1:]
    return torch.searchsorted(edges, points).clamp_max(n - 1)


def _rows_of(values: Tensor, chosen: Tensor) -> Tensor:
    """``values [batch, n, ...]`` at ``chosen [batch, n]``."""
    index = chosen.view(*chosen.shape, *[1] * (values.ndim - 2)).expand_as(values)
    return values.gather(1, index)
