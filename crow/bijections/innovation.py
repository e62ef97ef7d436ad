"""The innovations of a linear mixed model: where the likelihood flow starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from crow.bijections.base import RecurrentBijection

SUBJECTS_FOR_SLOPES = 5


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
    ``f`` holds an intercept, the channels ``design``, and the products of time with what the channels ``trends`` were
    at the first visit (with what they are now, a covariate that changes would move all the years before it, too).

    Args:
        features: number of regions.
        design: context channels with a fixed effect.
        trends: context channels whose value at the first visit has a fixed effect on the slope.
    """

    def __init__(self, features: int, design: Sequence[int], trends: Sequence[int] = ()) -> None:
        super().__init__()
        self.design, self.trends = list(design), list(trends)
        self.beta = nn.Parameter(torch.zeros(1 + len(self.design) + len(self.trends), features))
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
        fixed = _effects(context, self.design, state.baseline) @ self.beta
        r = x - fixed
        n, s, ss = (
            before.unsqueeze(1) + _sum_before(v)
            for before, v in zip(state[:3], (torch.ones_like(t), t, t * t), strict=True)
        )
        u0, u1 = (before.unsqueeze(1) + _sum_before(v) for before, v in zip(state[3:5], (r, t * r), strict=True))
        c00, c01, c11, _ = _posterior(self.factor, n, s, ss)
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


@torch.no_grad()
def fit_mixed_model(model: MixedModelInnovation, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
    """Sets the parameters of ``model`` to their maximum likelihood, region by region, and then ``L``.

    Beta and sigma are profiled out; the three numbers of g's factor are found by a damped Newton iteration, all regions
    at once. Where fewer than five subjects have three visits, slopes cannot be told from residuals and are left out of
    the random effects: two visits alone would be fitted by lines without any error. The effects of ``trends`` stay 0
    unless they lower the Bayesian information criterion of all regions.

    Returns each region's maximum log-likelihood ``[region]``. Shapes as in ``Sequences``; computed in float64.
    """
    x, context = (torch.where(mask.unsqueeze(-1), v.double(), 0.0) for v in (x, context))
    slopes = int((mask.sum(1) >= 3).sum()) >= SUBJECTS_FOR_SLOPES
    fits = []
    for trends in [[], model.trends] if model.trends else [[]]:
        sums = _Sums.of(x, context, model.design, trends, mask)
        factor = _newton(sums, slopes)
        beta, sigma, log_lik = sums.profile(factor)
        penalty = 0.5 * beta.shape[0] * x.shape[2] * math.log(sums.visits)
        fits.append((log_lik.sum() - penalty, beta, sigma, factor, log_lik))
    _, beta, sigma, factor, log_lik = max(fits, key=lambda fit: fit[0])
    exact = MixedModelInnovation(x.shape[2], model.design, model.trends).double()
    exact.beta[: beta.shape[0]] = beta
    exact.log_sigma.copy_(sigma.log())
    exact.factor.copy_(factor)
    e = exact(x, context)[0]
    first = torch.zeros_like(mask)
    first[:, 0] = mask[:, 0]
    exact.correlation.copy_(torch.stack([_shrunk_factor(e[first]), _shrunk_factor(e[mask & ~first])]))
    model.load_state_dict(exact.state_dict())
    return log_lik


class _Sums(NamedTuple):
    """Sufficient statistics of the mixed model: per subject with Z = (1, t), and over all visits."""

    n: Tensor  # [batch, 1], as t and tt
    t: Tensor
    tt: Tensor
    zf: Tensor  # [batch, 2, effect]
    zx: Tensor  # [batch, 2, region]
    ff: Tensor  # [effect, effect]
    fx: Tensor  # [effect, region]
    xx: Tensor  # [region]
    visits: float

    @classmethod
    def of(cls, x: Tensor, context: Tensor, design: list[int], trends: list[int], mask: Tensor) -> _Sums:
        m = mask.unsqueeze(-1).to(x.dtype)
        t = context[..., :1] * m
        z = torch.cat([m, t], -1)
        f = _effects(context, design, context[:, 0, trends]) * m
        return cls(
            m.sum(1), t.sum(1), (t * t).sum(1),
            torch.einsum("bti,btp->bip", z, f), torch.einsum("bti,btd->bid", z, x),
            torch.einsum("btp,btq->pq", f, f), torch.einsum("btp,btd->pd", f, x), (x * x).sum((0, 1)), float(m.sum()),
        )  # fmt: skip

    def profile(self, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Best beta ``[effect, region]``, sigma and log-likelihood ``[region]`` for a factor of g ``[3, region]``."""
        c00, c01, c11, det = _posterior(factor, self.n, self.t, self.tt)  # [batch, region]
        c = torch.stack([torch.stack([c00, c01], -1), torch.stack([c01, c11], -1)], -1)  # [batch, region, 2, 2]
        c_zx = torch.einsum("bdij,bjd->bid", c, self.zx)
        a = self.ff - torch.einsum("bdij,biq,bjp->dpq", c, self.zf, self.zf)
        b = self.fx - torch.einsum("bip,bid->pd", self.zf, c_zx)
        y = self.xx - (self.zx * c_zx).sum((0, 1))
        # Constant or collinear covariates leave directions without information: those get no effect.
        ridge = 1e-9 * a.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * torch.eye(a.shape[-1], dtype=a.dtype)
        beta = torch.linalg.solve(a + ridge, b.T.unsqueeze(-1)).squeeze(-1).T
        variance = (y - (b * beta).sum(0)).clamp_min(1e-12 * self.xx) / self.visits
        log_lik = -0.5 * (self.visits * (variance.log() + 1 + math.log(2 * math.pi)) + det.log().sum(0))
        return beta, variance.sqrt(), log_lik


def _newton(sums: _Sums, slopes: bool, iterations: int = 100) -> Tensor:
    """Maximises the profile likelihood over g's factor ``[3, region]`` from the best of a few starts.

    Without ``slopes`` only over its first row: a random intercept.
    """
    free = torch.tensor([1.0, slopes, slopes], dtype=sums.xx.dtype)
    regions = sums.xx.shape[0]
    scale = (sums.tt.sum() / sums.n.sum()).sqrt().clamp_min(1e-3)
    starts = [free * torch.tensor([a, 0.0, b / scale]) for a in (0.3, 1.0, 3.0) for b in (0.05, 0.5)]
    values = torch.stack([sums.profile(s[:, None].expand(3, regions))[2] for s in starts])
    theta = torch.stack(starts)[values.argmax(0)].T.contiguous()  # [3, region]
    value, damping = values.max(0).values, torch.ones(regions, dtype=theta.dtype)
    for _ in range(iterations):
        gradient, hessian = _derivatives(sums, theta)
        gradient, hessian = gradient * free[:, None], hessian * free * free[:, None]
        size, basis = torch.linalg.eigh(-hessian)  # [region, 3]
        step = (
            (basis @ ((basis.mT @ gradient.T.unsqueeze(-1)) / (size.abs() + damping[:, None]).unsqueeze(-1)))
            .squeeze(-1)
            .T
        )
        trial = theta + step
        value_there = sums.profile(trial)[2]
        better = value_there > value
        theta, value = torch.where(better, trial, theta), torch.where(better, value_there, value)
        damping = torch.where(better, damping / 5, damping * 5).clamp(1e-8, 1e12)
        if bool(((gradient * step).sum(0).abs() < 1e-9).all()):
            break
    return theta


def _derivatives(sums: _Sums, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient ``[3, region]`` and Hessian ``[region, 3, 3]``: regions are independent, so three passes give it all."""
    with torch.enable_grad():
        theta = theta.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(sums.profile(theta)[2].sum(), theta, create_graph=True)
        rows = [torch.autograd.grad(g.sum(), theta, retain_graph=True)[0] for g in gradient]
    return gradient.detach(), torch.stack(rows).permute(2, 0, 1)


def _posterior(factor: Tensor, n: Tensor, t: Tensor, tt: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Entries of ``C = (I + g S)^-1 g`` and ``det(I + g S)``, with ``S = [[n, t], [t, tt]]``."""
    l11, l21, l22 = factor
    g00, g01, g11 = l11 * l11, l11 * l21, l21 * l21 + l22 * l22
    m00, m01 = 1 + g00 * n + g01 * t, g00 * t + g01 * tt
    m10, m11 = g01 * n + g11 * t, 1 + g01 * t + g11 * tt
    det = m00 * m11 - m01 * m10
    return (m11 * g00 - m01 * g01) / det, (m11 * g01 - m01 * g11) / det, (m00 * g11 - m10 * g01) / det, det


def _shrunk_factor(e: Tensor) -> Tensor:
    """Cholesky factor of the covariance of innovations ``[visit, region]``, shrunk (Ledoit & Wolf 2004)."""
    from sklearn.covariance import LedoitWolf  # takes seconds to import, and only fitting needs it

    eye = torch.eye(e.shape[1], dtype=e.dtype)
    if len(e) < 3 or e.shape[1] == 1:
        return eye
    shrunk = torch.as_tensor(LedoitWolf(assume_centered=True).fit(e.numpy()).covariance_)
    return torch.linalg.cholesky(shrunk)


def _effects(context: Tensor, design: list[int], baseline: Tensor) -> Tensor:
    t = context[..., :1]
    return torch.cat([torch.ones_like(t), context[..., design], t * baseline.unsqueeze(1)], -1)


def _sum_before(v: Tensor) -> Tensor:
    """Sums over the visits before each visit (``v: [batch, time, *]``)."""
    return v.cumsum(1) - v


def _channels(context: Tensor | None) -> Tensor:
    if context is None:
        raise ValueError("MixedModelInnovation needs a context whose channel 0 is time since the first visit")
    return context
