"""The mixed model that the likelihood flow starts at, fitted to a cohort."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from crow.bijections.innovation import KNOTS, MixedModelInnovation, effects, posterior
from crow.bijections.shrinkage import shrunk_covariance

SUBJECTS_FOR_SLOPES = 5
VISITS_AN_EFFECT = 4
SUBJECTS_FOR_BENDS = 30
FEWEST_VALUES = 5  # of a channel that can be bent
NEW = 1e-3  # of the variance of a first visit's channel, that time and the channel do not say


@torch.no_grad()
def fit_mixed_model(model: MixedModelInnovation, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
    """Sets the parameters of ``model`` to their maximum likelihood, region by region, and then ``L``.

    Beta and sigma are profiled out; the three numbers of g's factor are found by a damped Newton iteration, all regions
    at once. Where fewer than five subjects have three visits, slopes cannot be told from residuals and are left out of
    the random effects: two visits alone would be fitted by lines without any error. With fewer than four visits an
    effect only the intercept and time have one. The effects of ``trends`` stay 0 unless they lower the Bayesian
    information criterion of all regions (on the slope all or none, on the level one by one), and so do bends, which
    need 30 subjects.

    Returns each region's maximum log-likelihood ``[region]``. Shapes as in ``Sequences``; computed in float64.
    """
    x, context = (torch.where(mask.unsqueeze(-1), v.double(), 0.0) for v in (x, context))
    slopes = int((mask.sum(1) >= 3).sum()) >= SUBJECTS_FOR_SLOPES
    exact = MixedModelInnovation(x.shape[2], model.design, model.trends).double()
    always, count = list(range(1 + len(model.design))), len(model.trends)
    slope = list(range(len(always), len(always) + count))
    if int(mask.sum()) < VISITS_AN_EFFECT * len(always):  # as many effects as visits would leave no error at all
        always, count = [0, *(1 + k for k, channel in enumerate(model.design) if channel == 0)], 0
    fits = []
    for rows in [always, always + slope] if count else [always]:
        factor = _newton(_Sums.of(x, context, mask, exact, rows), slopes)
        if count and (levels := _levels(exact, x, context, mask, rows, factor)):
            rows = [*rows, *levels]
            factor = _newton(_Sums.of(x, context, mask, exact, rows), slopes)
        fits.append((_Sums.of(x, context, mask, exact, rows).criterion(factor), rows, factor))
    _, rows, factor = max(fits, key=lambda fit: fit[0])
    log_lik = _set(exact, _Sums.of(x, context, mask, exact, rows), rows, factor)
    _correlate(exact, x, context, mask)
    if len(x) >= SUBJECTS_FOR_BENDS and _bend(exact, x, context, mask, rows):
        sums = _Sums.of(x, context, mask, exact, rows)
        log_lik = _set(exact, sums, rows, _newton(sums, slopes))
        _correlate(exact, x, context, mask)
    model.load_state_dict(exact.state_dict())
    return log_lik


def _levels(
    model: MixedModelInnovation, x: Tensor, context: Tensor, mask: Tensor, rows: list[int], factor: Tensor
) -> list[int]:
    """Rows of beta whose effects of the first visit on the level lower the criterion, one after the other, with g as it
    is. What never changes, or only with time, says nothing there that it does not say anyway."""
    start = 1 + len(model.design) + len(model.trends)
    t, first = context[..., 0][mask], context[:, :1].expand_as(context)
    left = []
    for k, channel in enumerate(model.trends):
        now, then = context[..., channel][mask], first[..., channel][mask]
        design = torch.stack([torch.ones_like(t), t, now], 1)
        rest = then - design @ torch.linalg.lstsq(design, then[:, None], driver="gelsd").solution[:, 0]
        if rest.square().mean() > NEW * then.var():
            left.append(start + k)
    chosen: list[int] = []
    best = _Sums.of(x, context, mask, model, rows).criterion(factor)
    while left:
        tried = {row: _Sums.of(x, context, mask, model, [*rows, *chosen, row]).criterion(factor) for row in left}
        row = max(tried, key=lambda each: tried[each])
        if tried[row] <= best:
            break
        best = tried[row]
        chosen.append(row)
        left.remove(row)
    return chosen


def _set(model: MixedModelInnovation, sums: _Sums, rows: list[int], factor: Tensor) -> Tensor:
    beta, sigma, log_lik = sums.profile(factor)
    model.beta.zero_()
    model.beta[rows] = beta
    model.log_sigma.copy_(sigma.log())
    model.factor.copy_(factor)
    return log_lik


def _correlate(model: MixedModelInnovation, x: Tensor, context: Tensor, mask: Tensor) -> None:
    model.correlation.copy_(torch.eye(x.shape[2], dtype=x.dtype).repeat(2, 1, 1))
    e, subject = model(x, context)[0], torch.arange(len(x))[:, None].expand(mask.shape)
    first = torch.zeros_like(mask)
    first[:, 0] = mask[:, 0]
    parts = [_factor(e[visits], subject[visits]) for visits in (first, mask & ~first)]
    model.correlation.copy_(torch.stack(parts))


def _bend(model: MixedModelInnovation, x: Tensor, context: Tensor, mask: Tensor, rows: list[int]) -> bool:
    """Bends the channels whose bend lowers the Bayesian information criterion; whether there are any.

    A bend is the likeliest with g and the correlations as they are: all regions repeat what one subject's covariate
    says, and taken for independent they would bend it to what they share by chance.
    """
    visits = float(mask.sum())
    best = _density(model, x, context, mask)
    bent = False
    for row, channel in enumerate(model.design):
        values = context[..., channel][mask].unique()
        if channel == 0 or len(values) < FEWEST_VALUES:
            continue
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        quantiles = torch.arange(1, KNOTS + 1, dtype=x.dtype) / (KNOTS + 1)
        model.knots[row] = torch.quantile(values, quantiles)
        model.bend[row] = _likeliest_bend(model, row, x, context, mask, rows)
        _set(model, _Sums.of(x, context, mask, model, rows), rows, model.factor.clone())
        found = _density(model, x, context, mask)
        if found - best > 0.5 * KNOTS * math.log(visits):
            best, bent = found, True
        else:
            model.load_state_dict(before)
    return bent


def _likeliest_bend(
    model: MixedModelInnovation, row: int, x: Tensor, context: Tensor, mask: Tensor, rows: list[int]
) -> Tensor:
    bend, factor = model.bend.clone(), model.factor.detach()
    beta = torch.zeros_like(model.beta)
    with torch.enable_grad():
        own = torch.zeros(KNOTS, dtype=x.dtype, requires_grad=True)
        search = torch.optim.LBFGS([own], max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            model.bend = torch.stack([own if k == row else each for k, each in enumerate(bend)])
            found, sigma, _ = _Sums.of(x, context, mask, model, rows).profile(factor)
            parts = {"beta": beta.index_copy(0, torch.tensor(rows), found), "log_sigma": sigma.log()}
            z, log_det, _ = functional_call(model, parts, (x, context))
            value = 0.5 * own.square().sum() - (log_det - 0.5 * z.square().sum(-1))[mask].sum()
            value.backward()
            return value

        search.step(loss)
    model.bend = bend
    return own.detach()


def _density(model: MixedModelInnovation, x: Tensor, context: Tensor, mask: Tensor) -> float:
    z, log_det, _ = model(x, context)
    return float((log_det - 0.5 * z.square().sum(-1))[mask].sum())


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
    def of(cls, x: Tensor, context: Tensor, mask: Tensor, model: MixedModelInnovation, rows: list[int]) -> _Sums:
        """With the effects of ``model`` that are ``rows`` of its beta."""
        m = mask.unsqueeze(-1).to(x.dtype)
        t = context[..., :1] * m
        z = torch.cat([m, t], -1)
        f = effects(model, context, context[:, 0, model.trends])[..., rows] * m
        return cls(
            m.sum(1), t.sum(1), (t * t).sum(1),
            torch.einsum("bti,btp->bip", z, f), torch.einsum("bti,btd->bid", z, x),
            torch.einsum("btp,btq->pq", f, f), torch.einsum("btp,btd->pd", f, x), (x * x).sum((0, 1)), float(m.sum()),
        )  # fmt: skip

    def profile(self, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Best beta ``[effect, region]``, sigma and log-likelihood ``[region]`` for a factor of g ``[3, region]``."""
        c00, c01, c11, det = posterior(factor, self.n, self.t, self.tt)  # [batch, region]
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

    def criterion(self, factor: Tensor) -> float:
        """Log-likelihood of all regions less the penalty of the Bayesian information criterion."""
        beta, _, log_lik = self.profile(factor)
        return float(log_lik.sum()) - 0.5 * beta.numel() * math.log(self.visits)


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


def _factor(e: Tensor, subject: Tensor) -> Tensor:
    """Cholesky factor of the covariance of innovations ``[visit, region]``, shrunk."""
    if len(e) < 3 or e.shape[1] == 1:
        return torch.eye(e.shape[1], dtype=e.dtype)
    return torch.linalg.cholesky(shrunk_covariance(e, subject))
