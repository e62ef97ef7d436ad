"""The innovations of a linear mixed model: where the likelihood flow starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from crow.bijections.base import RecurrentBijection

KNOTS = 3


class Moments(NamedTuple):
    """What a subject's past leaves: sums over visits of 1, t, t^2 ``[batch, 1]`` and of r, t r ``[batch, region]``.

    ``baseline [batch, trend]`` is the context of the first visit, where it has a fixed effect on the slope.
    """

    n: Tensor
    t: Tensor
    tt: Tensor
    r: Tensor
    tr: Tensor
    baseline: Tensor


class MixedModelInnovation(RecurrentBijection):
    """Maps each visit to its innovation under a linear mixed model, ``z_t = L^-1 (x_t - mu_t) / sd_t``.

    Per region, ``x_t = f_t' beta + b0 + b1 t + eps`` with ``b ~ N(0, G)`` and ``eps ~ N(0, sigma^2)``; ``mu_t`` and
    ``sd_t`` are the exact prediction of visit t from the visits before it. With ``Z_t = (1, t)``, ``g = G / sigma^2``
    and the past's ``S = sum Z Z'`` and ``u = sum Z r`` the Kalman recursion has a closed form (Laird & Ware 1982, 3.2)

        C = (I + g S)^-1 g,   mu_t = f_t' beta + Z_t' C u,   sd_t^2 = sigma^2 (1 + Z_t' C Z_t),

    so cumulative sums replace the loop over time. ``L`` is the Cholesky factor of the correlation of the standardised
    innovations across regions: one for first visits, whose spread is that between subjects, one for later visits.

    The context's channel 0 is time since the first visit (in units of ``time_scale`` years, as the caller chose);
    ``f`` holds an intercept, the channels ``design``, the products of time with what the channels ``trends`` were at
    the first visit (with what they are now, a covariate that changes would move all the years before it, too), and
    what they were then: where a person changes as two people differ, regions need not (Mundlak 1978).
    A channel c of ``design`` counts as ``c + sum_k bend_k max(c - knot_k, 0)``, the same for all regions: a clinical
    score that says less and less of the brain the higher it gets (or more and more) is bent before it has its effects.

    Args:
        features: number of regions.
        design: context channels with a fixed effect.
        trends: channels of ``design`` whose value at the first visit has a fixed effect on the slope, and one on the
            level.
    """

    knots: Tensor
    bend: Tensor

    def __init__(self, features: int, design: Sequence[int], trends: Sequence[int] = ()) -> None:
        super().__init__()
        self.design, self.trends = list(design), list(trends)
        if extra := set(self.trends) - set(self.design):
            raise ValueError(f"MixedModelInnovation: trends {sorted(extra)} are not in the design {self.design}")
        self.register_buffer("knots", torch.zeros(len(self.design), KNOTS))
        self.register_buffer("bend", torch.zeros(len(self.design), KNOTS))
        self.beta = nn.Parameter(torch.zeros(1 + len(self.design) + 2 * len(self.trends), features))
        self.log_sigma = nn.Parameter(torch.zeros(features))
        self.factor = nn.Parameter(torch.zeros(3, features))  # rows l11, l21, l22 of the Cholesky factor of g
        self.correlation = nn.Parameter(torch.eye(features).repeat(2, 1, 1))  # Cholesky: first visits, later visits

    def forward(
        self, x: Tensor, context: Tensor | None = None, state: Moments | None = None
    ) -> tuple[Tensor, Tensor, Moments]:
        mean, sd, state = self.predict(x, context, state)
        first = (state.n - torch.arange(x.shape[1] - 1, -1, -1, device=x.device) <= 1).unsqueeze(-1)
        return *self.whiten(x, mean, sd, first), state

    def inverse(
        self, z: Tensor, context: Tensor | None = None, state: Moments | None = None
    ) -> tuple[Tensor, Tensor, Moments]:
        xs, log_dets = [], []
        for t in range(z.shape[1]):
            x, log_det, state = self._step_back(z[:, t : t + 1], _channels(context)[:, t : t + 1], state)
            xs.append(x)
            log_dets.append(log_det)
        assert state is not None
        return torch.cat(xs, 1), torch.cat(log_dets, 1), state

    def predict(
        self, x: Tensor, context: Tensor | None, state: Moments | None = None
    ) -> tuple[Tensor, Tensor, Moments]:
        """Mean and standard deviation ``[batch, time, region]`` of every visit given those before it."""
        context = _channels(context)
        t = context[..., :1]
        state = state or self._start(x, context)
        fixed = effects(self, context, state.baseline) @ self.beta
        r = x - fixed
        n, s, ss = (
            before.unsqueeze(1) + _sum_before(v)
            for before, v in zip(state[:3], (torch.ones_like(t), t, t * t), strict=True)
        )
        u0, u1 = (before.unsqueeze(1) + _sum_before(v) for before, v in zip(state[3:5], (r, t * r), strict=True))
        c00, c01, c11, _ = posterior(self.factor, n, s, ss)
        mean = fixed + c00 * u0 + c01 * (u1 + t * u0) + c11 * t * u1
        sd = self.log_sigma.exp() * (1 + c00 + 2 * c01 * t + c11 * t * t).sqrt()
        totals = (torch.ones_like(t), t, t * t, r, t * r)
        sums = [before + v.sum(1) for before, v in zip(state[:5], totals, strict=True)]
        return mean, sd, Moments._make([*sums, state.baseline])

    def whiten(self, x: Tensor, mean: Tensor, sd: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """``z = L^-1 (x - mean) / sd`` and its log-determinant; ``first: [batch, time, 1]`` marks first visits."""
        e = (x - mean) / sd
        eye = torch.eye(x.shape[2], dtype=x.dtype, device=x.device).expand(2, -1, -1)
        inverse = torch.linalg.solve_triangular(self.correlation.tril(), eye, upper=False)
        return torch.where(first, e @ inverse[0].mT, e @ inverse[1].mT), self._log_det(sd, first)

    def colour(self, z: Tensor, mean: Tensor, sd: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `whiten`: ``x = mean + sd L z``."""
        factor = self.correlation.tril()
        e = torch.where(first, z @ factor[0].mT, z @ factor[1].mT)
        return mean + sd * e, -self._log_det(sd, first)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Runs of before channels could bend, or those of the first visit had effects, have none that does."""
        for name in ("knots", "bend"):
            state_dict.setdefault(prefix + name, torch.zeros_like(getattr(self, name)))
        beta = state_dict[prefix + "beta"]
        if (missing := len(self.beta) - len(beta)) == len(self.trends):
            state_dict[prefix + "beta"] = torch.cat([beta, beta.new_zeros(missing, beta.shape[1])])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _step_back(self, z: Tensor, context: Tensor, state: Moments | None) -> tuple[Tensor, Tensor, Moments]:
        before = state or self._start(z, context)
        mean, sd, _ = self.predict(torch.zeros_like(z), context, before)
        x, log_det = self.colour(z, mean, sd, (before.n < 1).unsqueeze(-1))
        return x, log_det, self.predict(x, context, before)[2]

    def _log_det(self, sd: Tensor, first: Tensor) -> Tensor:
        of_first, of_later = self.correlation.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        return -sd.log().sum(-1) - torch.where(first.squeeze(-1), of_first, of_later)

    def _start(self, x: Tensor, context: Tensor) -> Moments:
        one, many = x.new_zeros(x.shape[0], 1), x.new_zeros(x.shape[0], x.shape[2])
        return Moments(one, one, one, many, many, context[:, 0, self.trends])


def posterior(factor: Tensor, n: Tensor, t: Tensor, tt: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Entries of ``C = (I + g S)^-1 g`` and ``det(I + g S)``, with ``S = [[n, t], [t, tt]]``."""
    l11, l21, l22 = factor
    g00, g01, g11 = l11 * l11, l11 * l21, l21 * l21 + l22 * l22
    m00, m01 = 1 + g00 * n + g01 * t, g00 * t + g01 * tt
    m10, m11 = g01 * n + g11 * t, 1 + g01 * t + g11 * tt
    det = m00 * m11 - m01 * m10
    return (m11 * g00 - m01 * g01) / det, (m11 * g01 - m01 * g11) / det, (m00 * g11 - m10 * g01) / det, det


def effects(model: MixedModelInnovation, context: Tensor, baseline: Tensor) -> Tensor:
    """f ``[batch, time, effect]`` of the context and of ``baseline [batch, trend]``, that of the first visit."""
    t, c = context[..., :1], context[..., model.design]
    bent = c + ((c.unsqueeze(-1) - model.knots).clamp_min(0) * model.bend).sum(-1)
    rows = [model.design.index(channel) for channel in model.trends]
    b = baseline.unsqueeze(1)
    bent_b = b + ((b.unsqueeze(-1) - model.knots[rows]).clamp_min(0) * model.bend[rows]).sum(-1)
    return torch.cat([torch.ones_like(t), bent, t * b, bent_b.expand(-1, t.shape[1], -1)], -1)


def _sum_before(v: Tensor) -> Tensor:
    """Sums over the visits before each visit (``v: [batch, time, *]``)."""
    return v.cumsum(1) - v


def _channels(context: Tensor | None) -> Tensor:
    if context is None:
        raise ValueError("MixedModelInnovation needs a context whose channel 0 is time since the first visit")
    return context
