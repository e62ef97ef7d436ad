"""The mixed model that the likelihood flow starts at, fitted to a cohort."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from crow.bijections.innovation import KNOTS, MixedModelInnovation, effects, posterior
from crow.bijections.normal import LOG_2PI
from crow.bijections.patterns import only
from crow.bijections.shared_effects import Evidence, fit_loadings
from crow.bijections.shrinkage import shrunk_covariance

SUBJECTS_FOR_SLOPES = 5
VISITS_AN_EFFECT = 4
SUBJECTS_FOR_BENDS = 30
FEWEST_VALUES = 5  # of a channel that can be bent
MIN_VALUES = 5  # of a region that is fitted
POOLED = 0.5  # sd of log |l22| over regions
TINY = 1e-6
LEAST_VARIANCE = 1e-6  # of a visit, standardised: a region that hardly varies in these subjects may do so in others
ROUNDING = 1e-13  # of a sum
LARGE = 2**20  # sums
NEAR = 1e-5  # of a number, for differences of gradients
NEW = 1e-3  # of the variance of a first visit's channel, that time and the channel do not say


@torch.no_grad()
def fit_mixed_model(
    model: MixedModelInnovation,
    x: Tensor,
    context: Tensor,
    mask: Tensor,
    measured: Tensor | None = None,
    pool_slopes: bool = True,
) -> Tensor:
    """Sets the parameters of ``model`` to the most likely ones, region by region, and then ``L``.

    Beta and sigma are profiled out; the three numbers of g's factor are found by a damped Newton iteration, all regions
    at once. With ``pool_slopes`` a prior keeps the slopes' spread from 0 (`_likeliest_factor`). A region has no random
    slopes if fewer than five subjects have three values of it, since slopes and residuals cannot be separated: lines
    would fit two visits without any error. With fewer than four values per effect
    only the intercept and time have one. The effects of ``trends`` stay 0 unless they lower the Bayesian information
    criterion of all regions (on the slope all or none, on the level one by one), and so do bends, which need 30
    subjects. Random effects are shared between regions if that predicts visits of other subjects better
    (`fit_loadings`). With ``measured`` everything is the likelihood of the measured values.

    Returns each region's log-likelihood ``[region]``. Shapes as in ``Sequences``; computed in float64.
    """
    data = _Data.of(x, context, mask, measured)
    exact = MixedModelInnovation(x.shape[2], model.design, model.trends).double()
    slopes = ((data.there.sum(1) >= 3).sum(0) >= SUBJECTS_FOR_SLOPES).expand(x.shape[2])
    always, count = list(range(1 + len(model.design))), len(model.trends)
    slope = list(range(len(always), len(always) + count))
    # As many effects as values would leave no error at all.
    if int(data.there.sum((0, 1)).max()) < VISITS_AN_EFFECT * len(always):
        always, count = _fewest_effects(model), 0
    fits = []
    for rows in [always, always + slope] if count else [always]:
        factor = _likeliest_factor(_Sums.of(data, exact, rows), slopes, pool_slopes)
        if count and (levels := _levels(exact, data, rows, factor)):
            rows = [*rows, *levels]
            factor = _likeliest_factor(_Sums.of(data, exact, rows), slopes, pool_slopes)
        fits.append((_Sums.of(data, exact, rows).criterion(factor), rows, factor))
    _, rows, factor = max(fits, key=lambda fit: fit[0])
    log_lik = _set(exact, _Sums.of(data, exact, rows), rows, factor)
    _correlate(exact, data)
    if len(x) >= SUBJECTS_FOR_BENDS and _bend(exact, data, rows):
        sums = _Sums.of(data, exact, rows)
        log_lik = _set(exact, sums, rows, _likeliest_factor(sums, slopes, pool_slopes))
        _correlate(exact, data)
    if _share(exact, data):
        _correlate(exact, data)
    model.load_state_dict(exact.state_dict())
    return log_lik


@torch.no_grad()
def plain_log_likelihood(
    model: MixedModelInnovation, x: Tensor, context: Tensor, mask: Tensor, measured: Tensor | None = None
) -> Tensor:
    """``[region]`` of the most likely mixed model with a fixed effect of every channel of the design and no others.

    It compares scales of a region, and leaves ``model`` as it is.
    """
    data = _Data.of(x, context, mask, measured)
    plain = MixedModelInnovation(x.shape[2], model.design).double()
    enough = int(data.there.sum((0, 1)).max()) >= VISITS_AN_EFFECT * (1 + len(model.design))
    rows = list(range(1 + len(model.design))) if enough else _fewest_effects(model)
    slopes = ((data.there.sum(1) >= 3).sum(0) >= SUBJECTS_FOR_SLOPES).expand(x.shape[2])
    sums = _Sums.of(data, plain, rows)
    return sums.profile(_likeliest_factor(sums, slopes, False))[2]


class _Data(NamedTuple):
    """Visits in float64: x and context are 0 at pads, x also where it was not ``measured [batch, time, region]``.

    ``there`` is 1 for a value that was measured, else 0: ``[batch, time, region]``, or ``[batch, time, 1]`` if no visit
    lacks a region.
    """

    x: Tensor
    context: Tensor
    mask: Tensor
    measured: Tensor | None
    there: Tensor

    @classmethod
    def of(cls, x: Tensor, context: Tensor, mask: Tensor, measured: Tensor | None) -> _Data:
        visits = mask.unsqueeze(-1)
        measured = None if measured is None else measured & visits
        x = torch.where(visits if measured is None else measured, x.double(), 0.0)
        there = visits if measured is None else measured
        return cls(x, torch.where(visits, context.double(), 0.0), mask, measured, there.double())


def _fewest_effects(model: MixedModelInnovation) -> list[int]:
    """Rows of beta that every region has: the intercept and time."""
    return [0, *(1 + k for k, channel in enumerate(model.design) if channel == 0)]


def _levels(model: MixedModelInnovation, data: _Data, rows: list[int], factor: Tensor) -> list[int]:
    """Rows of beta whose effects of the first visit on the level lower the criterion, one after the other.

    With g as it is. What never changes, or only with time, says nothing there that it does not say anyway.
    """
    start = 1 + len(model.design) + len(model.trends)
    t, first = data.context[..., 0][data.mask], data.context[:, :1].expand_as(data.context)
    left = []
    for k, channel in enumerate(model.trends):
        now, then = data.context[..., channel][data.mask], first[..., channel][data.mask]
        design = torch.stack([torch.ones_like(t), t, now], 1)
        rest = then - design @ torch.linalg.lstsq(design, then[:, None], driver="gelsd").solution[:, 0]
        if rest.square().mean() > NEW * then.var():
            left.append(start + k)
    chosen: list[int] = []
    best = _Sums.of(data, model, rows).criterion(factor)
    while left:
        tried = {row: _Sums.of(data, model, [*rows, *chosen, row]).criterion(factor) for row in left}
        row = max(tried, key=lambda each: tried[each])
        if tried[row] <= best:
            break
        best = tried[row]
        chosen.append(row)
        left.remove(row)
    return chosen


def _set(model: MixedModelInnovation, sums: _Sums, rows: list[int], factor: Tensor) -> Tensor:
    beta, sigma, log_lik = sums.profile(factor)
    # A region with next to no value stays at N(0, 1).
    few = (sums.visits < MIN_VALUES).expand(len(sigma))
    model.beta.zero_()
    model.beta[rows] = torch.where(few, 0.0, beta)
    model.log_sigma.copy_(torch.where(few, 0.0, sigma.log()))
    model.factor.copy_(torch.where(few, 0.0, factor))
    return torch.where(few, 0.0, log_lik)


def _share(model: MixedModelInnovation, data: _Data) -> bool:
    """Sets the loadings; False if regions share nothing."""
    sigma, (l11, l21, l22), t = model.log_sigma.exp(), model.factor, data.context[..., :1]
    e = only(data.measured, data.x - effects(model, data.context, data.context[:, 0, model.trends]) @ model.beta)
    e = e * data.mask.unsqueeze(-1)
    terms = [data.there, data.there * t, data.there * t * t, e, t * e]
    model.loadings.copy_(
        fit_loadings(
            Evidence.of(model.factor, sigma, *(v.sum(1) for v in terms)),
            Evidence.of(model.factor, sigma, *(v.cumsum(1) - v for v in terms)),
            ((l11 + l21 * t), (l22 * t)),
            e / sigma,
            data.there.bool().expand_as(e),
        )
    )
    return bool(model.loadings.any())


def _correlate(model: MixedModelInnovation, data: _Data) -> None:
    model.correlation.copy_(torch.eye(data.x.shape[2], dtype=data.x.dtype).repeat(2, 1, 1))
    prediction, _ = model.predict(data.x, data.context, None, data.measured)
    e, _ = model.whiten(data.x, prediction, data.measured)
    subject = torch.arange(len(e))[:, None].expand(data.mask.shape)
    measured = data.there.bool().expand_as(e)
    parts = []
    for there in (measured & prediction.new, measured & ~prediction.new):
        visits = there.any(-1)
        parts.append(_factor(only(there[visits], e[visits]), subject[visits], there[visits]))
    model.correlation.copy_(torch.stack(parts))


def _bend(model: MixedModelInnovation, data: _Data, rows: list[int]) -> bool:
    """Bends the channels whose bend lowers the Bayesian information criterion; whether there are any.

    A bend is the likeliest with g and the correlations as they are: all regions repeat what one subject's covariate
    says, and taken for independent they would bend it to what they share by chance.
    """
    visits = float(data.mask.sum())
    best = _density(model, data)
    bent = False
    for row, channel in enumerate(model.design):
        values = data.context[..., channel][data.mask].unique()
        if channel == 0 or len(values) < FEWEST_VALUES:
            continue
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        quantiles = torch.arange(1, KNOTS + 1, dtype=values.dtype) / (KNOTS + 1)
        model.knots[row] = torch.quantile(values, quantiles)
        model.bend[row] = _likeliest_bend(model, row, data, rows)
        _set(model, _Sums.of(data, model, rows), rows, model.factor.clone())
        found = _density(model, data)
        if found - best > 0.5 * KNOTS * math.log(visits):
            best, bent = found, True
        else:
            model.load_state_dict(before)
    return bent


def _likeliest_bend(model: MixedModelInnovation, row: int, data: _Data, rows: list[int]) -> Tensor:
    bend, factor = model.bend.clone(), model.factor.detach()
    beta = torch.zeros_like(model.beta)
    with torch.enable_grad():
        own = torch.zeros(KNOTS, dtype=bend.dtype, requires_grad=True)
        search = torch.optim.LBFGS([own], max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            model.bend = torch.stack([own if k == row else each for k, each in enumerate(bend)])
            found, sigma, _ = _Sums.of(data, model, rows).profile(factor)
            parts = {"beta": beta.index_copy(0, torch.tensor(rows), found), "log_sigma": sigma.log()}
            z, log_det, _ = functional_call(model, parts, (data.x, data.context, None, data.measured))
            value = 0.5 * own.square().sum() - (log_det - 0.5 * z.square().sum(-1))[data.mask].sum()
            value.backward()
            return value

        search.step(loss)
    model.bend = bend
    return own.detach()


def _density(model: MixedModelInnovation, data: _Data) -> float:
    z, log_det, _ = model(data.x, data.context, None, data.measured)
    return float((log_det - 0.5 * z.square().sum(-1))[data.mask].sum())


class _Sums(NamedTuple):
    """Sufficient statistics of the mixed model: per subject with Z = (1, t), and over all measured values.

    What only depends on which values were measured has 1 in place of ``region`` if no visit lacks a region.
    """

    n: Tensor  # [batch, region], as t and tt
    t: Tensor
    tt: Tensor
    zf: Tensor  # [batch, region, 2, effect]
    zx: Tensor  # [batch, 2, region]
    ff: Tensor  # [region, effect, effect]
    fx: Tensor  # [effect, region]
    xx: Tensor  # [region]
    visits: Tensor  # [region]
    kept: Tensor  # [region, effect]: 1 for an effect that the region has, else 0

    @classmethod
    def of(cls, data: _Data, model: MixedModelInnovation, rows: list[int]) -> _Sums:
        """With the effects of ``model`` that are ``rows`` of its beta."""
        x, there, m = data.x, data.there, data.mask.unsqueeze(-1).to(data.x.dtype)
        t = data.context[..., :1]
        z = torch.cat([m, t * m], -1)
        f = effects(model, data.context, data.context[:, 0, model.trends])[..., rows] * m
        visits = there.sum((0, 1))
        every = torch.tensor([row in _fewest_effects(model) for row in rows])
        few = visits < VISITS_AN_EFFECT * (1 + len(model.design))
        pairs = (f.unsqueeze(-1) * f.unsqueeze(-2)).flatten(0, 1).flatten(1)
        return cls(
            there.sum(1), (there * t).sum(1), (there * t * t).sum(1),
            torch.einsum("btd,bti,btp->bdip", there, z, f), torch.einsum("bti,btd->bid", z, x),
            (there.flatten(0, 1).T @ pairs).unflatten(1, (len(rows), len(rows))), torch.einsum("btp,btd->pd", f, x),
            (x * x).sum((0, 1)), visits, (every | ~few.unsqueeze(-1)).to(x.dtype),
        )  # fmt: skip

    def profile(self, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Best beta ``[effect, region]``, sigma and log-likelihood ``[region]`` for a factor of g ``[3, region]``.

        The factor may have other axes first; then all have them.
        """
        beta, variance, log_lik, *_ = self._profile(factor)
        return beta, variance.sqrt(), log_lik

    def slope(self, factor: Tensor) -> tuple[Tensor, Tensor]:
        """The log-likelihood ``[*, region]`` and its gradient ``[*, 3, region]`` by the factor of g.

        Beta and sigma are at their best, so only what depends on g itself changes to first order. With the residuals r
        of beta, ``u = Z' r``, ``v = u - S C u`` and S and C as in `MixedModelInnovation`,

            dl = sum over subjects of tr((v v' / sigma^2 - (S - S C S)) dg) / 2.
        """
        beta, variance, log_lik, (c00, c01, c11) = self._profile(factor)
        n, t, tt = self.n, self.t, self.tt
        effect = "bip,...pd->...bid" if self.zf.shape[1] == 1 else "bdip,...pd->...bid"
        u0, u1 = (self.zx - torch.einsum(effect, self.zf[:, 0] if self.zf.shape[1] == 1 else self.zf, beta)).unbind(-2)
        w0, w1 = c00 * u0 + c01 * u1, c01 * u0 + c11 * u1
        v0, v1 = u0 - n * w0 - t * w1, u1 - t * w0 - tt * w1
        precision = torch.where(variance > LEAST_VARIANCE, 1 / variance, 0.0)
        w00, w01, w11 = ((a * b).sum(-2) * precision for a, b in ((v0, v0), (v0, v1), (v1, v1)))
        s00 = n - n * n * c00 - 2 * n * t * c01 - t * t * c11
        s01 = t - n * t * c00 - (n * tt + t * t) * c01 - t * tt * c11
        s11 = tt - t * t * c00 - 2 * t * tt * c01 - tt * tt * c11
        by_g00, by_g01, by_g11 = w00 - s00.sum(-2), 2 * (w01 - s01.sum(-2)), w11 - s11.sum(-2)
        l11, l21, l22 = factor.unbind(-2)
        by_factor = (l11 * by_g00 + 0.5 * l21 * by_g01, 0.5 * l11 * by_g01 + l21 * by_g11, l22 * by_g11)
        return log_lik, torch.stack(by_factor, -2)

    def _profile(self, factor: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Beta, variance and log-likelihood, and the entries of C ``[*, batch, region]``."""
        c00, c01, c11, det = posterior(factor.movedim(-2, 0).unsqueeze(-2), self.n, self.t, self.tt)
        x0, x1 = self.zx.unbind(-2)
        c_zx = torch.stack([c00 * x0 + c01 * x1, c01 * x0 + c11 * x1], -2)  # [*, batch, 2, region]
        c = torch.stack([c00, c01, c01, c11], -1).unflatten(-1, (2, 2))
        if self.zf.shape[1] == 1:
            shared = self.zf[:, 0]
            pairs = (shared.unsqueeze(2).unsqueeze(-1) * shared.unsqueeze(1).unsqueeze(-2)).flatten(3)
            explained = torch.einsum("...bdij,bijk->...dk", c, pairs).unflatten(-1, shared.shape[-1:] * 2)
            b = self.fx - torch.einsum("bip,...bid->...pd", shared, c_zx)
        else:
            explained = torch.einsum("...bdij,bdiq,bdjp->...dpq", c, self.zf, self.zf)
            b = self.fx - torch.einsum("bdip,...bid->...pd", self.zf, c_zx)
        a = (self.ff - explained) * self.kept.unsqueeze(-1) * self.kept.unsqueeze(-2) + torch.diag_embed(1 - self.kept)
        b = b * self.kept.T
        y = self.xx - (self.zx * c_zx).sum((-3, -2))
        # Constant or collinear covariates leave directions without information: those get no effect.
        ridge = 1e-9 * a.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * torch.eye(a.shape[-1], dtype=a.dtype)
        beta = torch.linalg.solve(a + ridge, b.mT.unsqueeze(-1)).squeeze(-1).mT
        variance = ((y - (b * beta).sum(-2)) / self.visits).clamp_min(LEAST_VARIANCE)
        log_lik = -0.5 * (self.visits * (variance.log() + 1 + LOG_2PI) + det.log().sum(-2))
        return beta, variance, log_lik, (c00, c01, c11)

    def criterion(self, factor: Tensor) -> float:
        """Log-likelihood of all regions less the penalty of the Bayesian information criterion."""
        beta, _, log_lik = self.profile(factor)
        penalty = self.kept.sum(-1) * self.visits.clamp_min(1).log()
        return float(log_lik.sum()) - 0.5 * float(penalty.expand(beta.shape[1]).sum())


def _likeliest_factor(sums: _Sums, slopes: Tensor, pool_slopes: bool) -> Tensor:
    """Factor of g, ``[3, region]``: the mode of the profile likelihood and, to pool, a prior of the slopes' spread.

    Maximum likelihood finds no spread of slopes at all in a third of regions that have it, and forecasts beyond the
    follow-up are then far too sure. First with the prior log |l22|, which keeps away from 0 (Chung et al. 2013), then
    with log |l22| normal around its median over regions: those that say little borrow from the others.
    """
    if not pool_slopes or not bool(slopes.any()):
        return _newton(sums, slopes, lambda size: (torch.zeros_like(size), torch.zeros_like(size)))
    theta = _newton(sums, slopes, lambda size: (size, torch.ones_like(size)))
    middle = theta[2][slopes].abs().log().median()

    def near(size: Tensor) -> tuple[Tensor, Tensor]:
        z = (size - middle) / POOLED
        return -0.5 * z.square(), -z / POOLED

    return _newton(sums, slopes, near)


def _newton(
    sums: _Sums, slopes: Tensor, log_prior: Callable[[Tensor], tuple[Tensor, Tensor]], iterations: int = 100
) -> Tensor:
    """Maximises the profile likelihood and the prior of log |l22| over g's factor ``[3, region]``.

    From the best of a few starts. A region without ``slopes [region]`` only over its first row: a random intercept.
    ``log_prior`` returns the prior and its derivative. The Hessian is made of differences of gradients: regions are
    independent, so three steps give it all.
    """

    def objective(theta: Tensor) -> tuple[Tensor, Tensor]:
        if theta.ndim > 2 and sums.zx.numel() > LARGE:  # as many copies would fill the memory
            each = [objective(own) for own in theta]
            return torch.stack([value for value, _ in each]), torch.stack([gradient for _, gradient in each])
        log_lik, gradient = sums.slope(theta)
        l22 = torch.where(slopes, theta[..., 2, :], 1.0)
        prior, by_size = log_prior(l22.abs().clamp_min(TINY).log())
        by_l22 = torch.where(slopes & (l22.abs() > TINY), by_size / l22, 0.0)
        gradient = torch.cat([gradient[..., :2, :], (gradient[..., 2, :] + by_l22).unsqueeze(-2)], -2)
        return log_lik + torch.where(slopes, prior, 0.0), gradient * free

    free = torch.stack([torch.ones_like(slopes), slopes, slopes]).to(sums.xx.dtype)
    scale = (sums.tt.sum() / sums.n.sum()).sqrt().clamp_min(1e-3)
    starts = [free * torch.tensor([[a], [0.0], [b / scale]]) for a in (0.3, 1.0, 3.0) for b in (0.05, 0.5)]
    values = objective(torch.stack(starts))[0]
    theta = torch.stack(starts).gather(0, values.argmax(0).expand(1, 3, -1))[0]  # [3, region]
    value, damping = values.max(0).values, torch.ones(len(slopes), dtype=theta.dtype)
    for _ in range(iterations):
        gradient, hessian = _derivatives(objective, theta)
        hessian = hessian * free.T.unsqueeze(-1) * free.T.unsqueeze(-2)
        size, basis = torch.linalg.eigh(-hessian)  # [region, 3]
        step = (
            (basis @ ((basis.mT @ gradient.T.unsqueeze(-1)) / (size.abs() + damping[:, None]).unsqueeze(-1)))
            .squeeze(-1)
            .T
        )
        trial = theta + step
        value_there = objective(trial)[0]
        better = value_there > value - ROUNDING * value.abs()  # a last step is too short for the value to show it
        theta, value = torch.where(better, trial, theta), torch.where(better, value_there, value)
        damping = torch.where(better, damping / 5, damping * 5).clamp(1e-8, 1e12)
        if bool(((gradient * step).sum(0).abs() < 1e-12).all()):
            break
    return theta


def _derivatives(objective: Callable[[Tensor], tuple[Tensor, Tensor]], theta: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient ``[3, region]`` and Hessian ``[region, 3, 3]``."""
    steps = NEAR * theta.abs() + NEAR**2
    gradient, *moved = objective(torch.stack([theta, *(theta + steps * row[:, None] for row in torch.eye(3))]))[1]
    hessian = torch.stack([(there - gradient) / step for there, step in zip(moved, steps, strict=True)])
    hessian = hessian.permute(2, 0, 1)
    return gradient, (hessian + hessian.mT) / 2


def _factor(e: Tensor, subject: Tensor, measured: Tensor) -> Tensor:
    """Cholesky factor of the covariance of innovations ``[visit, region]``, shrunk."""
    if len(e) < 3 or e.shape[1] == 1:
        return torch.eye(e.shape[1], dtype=e.dtype)
    return torch.linalg.cholesky(shrunk_covariance(e, subject, measured))
