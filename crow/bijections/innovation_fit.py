"""The mixed model that the likelihood flow starts at, fitted to a cohort."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from crow.bijections.bend_fit import likeliest_bend
from crow.bijections.innovation import KNOTS, MixedModelInnovation, effects
from crow.bijections.innovation_sums import VISITS_AN_EFFECT, Sums, VisitValues, fewest_effects
from crow.bijections.patterns import only
from crow.bijections.shared_effects import Evidence, fit_loadings
from crow.bijections.shrinkage import shrunk_covariance

SUBJECTS_FOR_SLOPES = 5
SUBJECTS_FOR_BENDS = 30
FEWEST_VALUES = 5  # of a channel that can be bent
MIN_VALUES = 5  # of a region that is fitted
POOLED = 0.5  # sd of log |l22| over regions
TINY = 1e-6
ROUNDING = 1e-13  # of a sum
LARGE = 2**20  # sums
NEAR = 1e-5  # of a number, for differences of gradients
LEAST_START = 0.05  # sd of levels and of slopes over the follow-up, in units of sigma, where a search begins
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
    data = VisitValues.of(x, context, mask, measured)
    exact = MixedModelInnovation(x.shape[2], model.design, model.trends).double()
    exact.loadings = exact.loadings[..., :0]  # until they are fitted: those that are 0 would take most of the time
    slopes = ((data.there.sum(1) >= 3).sum(0) >= SUBJECTS_FOR_SLOPES).expand(x.shape[2])
    always, count = list(range(1 + len(model.design))), len(model.trends)
    slope = list(range(len(always), len(always) + count))
    # As many effects as values would leave no error at all.
    if int(data.there.sum((0, 1)).max()) < VISITS_AN_EFFECT * len(always):
        always, count = fewest_effects(model), 0
    fits: list[tuple[float, list[int], Tensor]] = []
    factor = None
    for rows in [always, always + slope] if count else [always]:
        factor = _likeliest_factor(Sums.of(data, exact, rows), slopes, pool_slopes, factor)
        if count and (levels := _levels(exact, data, rows, factor)):
            rows = [*rows, *levels]
            factor = _likeliest_factor(Sums.of(data, exact, rows), slopes, pool_slopes, factor)
        fits.append((Sums.of(data, exact, rows).criterion(factor), rows, factor))
    _, rows, factor = max(fits, key=lambda fit: fit[0])
    log_lik = _set(exact, Sums.of(data, exact, rows), rows, factor)
    correlate(exact, data)
    if len(x) >= SUBJECTS_FOR_BENDS and _bend(exact, data, rows):
        sums = Sums.of(data, exact, rows)
        log_lik = _set(exact, sums, rows, _likeliest_factor(sums, slopes, pool_slopes, factor))
        correlate(exact, data)
    if share_effects(exact, data):
        correlate(exact, data)
    model.load_state_dict(exact.state_dict())
    return log_lik


@torch.no_grad()
def plain_log_likelihood(
    model: MixedModelInnovation,
    x: Tensor,
    context: Tensor,
    mask: Tensor,
    measured: Tensor | None = None,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``[region]`` of the most likely mixed model with a fixed effect of every channel of the design and no others.

    It compares scales of a region, and leaves ``model`` as it is. Also returns the factor of g, which may be the
    ``start`` of the search on another scale.
    """
    data = VisitValues.of(x, context, mask, measured)
    plain = MixedModelInnovation(x.shape[2], model.design).double()
    enough = int(data.there.sum((0, 1)).max()) >= VISITS_AN_EFFECT * (1 + len(model.design))
    rows = list(range(1 + len(model.design))) if enough else fewest_effects(model)
    slopes = ((data.there.sum(1) >= 3).sum(0) >= SUBJECTS_FOR_SLOPES).expand(x.shape[2])
    sums = Sums.of(data, plain, rows)
    factor = _likeliest_factor(sums, slopes, False, start)
    return sums.profile(factor)[2], factor


def _levels(model: MixedModelInnovation, data: VisitValues, rows: list[int], factor: Tensor) -> list[int]:
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
    best = Sums.of(data, model, rows).criterion(factor)
    while left:
        tried = {row: Sums.of(data, model, [*rows, *chosen, row]).criterion(factor) for row in left}
        row = max(tried, key=lambda each: tried[each])
        if tried[row] <= best:
            break
        best = tried[row]
        chosen.append(row)
        left.remove(row)
    return chosen


def _set(model: MixedModelInnovation, sums: Sums, rows: list[int], factor: Tensor) -> Tensor:
    beta, sigma, log_lik = sums.profile(factor)
    # A region with next to no value stays at N(0, 1).
    few = (sums.visits < MIN_VALUES).expand(len(sigma))
    model.beta.zero_()
    model.beta[rows] = torch.where(few, 0.0, beta)
    model.log_sigma.copy_(torch.where(few, 0.0, sigma.log()))
    model.factor.copy_(torch.where(few, 0.0, factor))
    return torch.where(few, 0.0, log_lik)


def share_effects(model: MixedModelInnovation, data: VisitValues) -> bool:
    """Sets the loadings; False if regions share nothing."""
    sigma, (l11, l21, l22), t = model.log_sigma.exp(), model.factor, data.context[..., :1]
    e = only(data.measured, data.x - effects(model, data.context, data.context[:, 0, model.trends]) @ model.beta)
    e = e * data.mask.unsqueeze(-1)
    terms = [data.there, data.there * t, data.there * t * t, e, t * e]
    model.loadings = fit_loadings(
        Evidence.of(model.factor, sigma, *(v.sum(1) for v in terms)),
        Evidence.of(model.factor, sigma, *(v.cumsum(1) - v for v in terms)),
        ((l11 + l21 * t), (l22 * t)),
        e / sigma,
        data.there.bool().expand_as(e),
    )
    return bool(model.loadings.any())


def correlate(model: MixedModelInnovation, data: VisitValues) -> None:
    """Sets the correlations of the standardised innovations, with all else of the model as it is."""
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


def _bend(model: MixedModelInnovation, data: VisitValues, rows: list[int]) -> bool:
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
        model.bend[row] = likeliest_bend(model, row, data, rows)
        _set(model, Sums.of(data, model, rows), rows, model.factor.clone())
        found = _density(model, data)
        if found - best > 0.5 * KNOTS * math.log(visits):
            best, bent = found, True
        else:
            model.load_state_dict(before)
    return bent


def _density(model: MixedModelInnovation, data: VisitValues) -> float:
    z, log_det, _ = model(data.x, data.context, None, data.measured)
    return float((log_det - 0.5 * z.square().sum(-1))[data.mask].sum())


LogPrior = Callable[[Tensor], tuple[Tensor, Tensor]]


def _likeliest_factor(sums: Sums, slopes: Tensor, pool_slopes: bool, start: Tensor | None = None) -> Tensor:
    """Factor of g, ``[3, region]``: the mode of the profile likelihood and, to pool, a prior of the slopes' spread.

    Maximum likelihood finds no spread of slopes at all in a third of regions that have it, and forecasts beyond the
    follow-up are then far too sure. First with the prior log |l22|, which keeps away from 0 (Chung et al. 2013), then
    with log |l22| normal around its median over regions: those that say little borrow from the others.
    """
    if not pool_slopes or not bool(slopes.any()):
        return _newton(sums, slopes, lambda size: (torch.zeros_like(size), torch.zeros_like(size)), start)
    theta = _newton(sums, slopes, lambda size: (size, torch.ones_like(size)), start)
    middle = theta[2][slopes].abs().log().median()

    def near(size: Tensor) -> tuple[Tensor, Tensor]:
        z = (size - middle) / POOLED
        return -0.5 * z.square(), -z / POOLED

    return _newton(sums, slopes, near, theta)


def _newton(
    sums: Sums,
    slopes: Tensor,
    log_prior: LogPrior,
    start: Tensor | None = None,
    iterations: int = 100,
) -> Tensor:
    """Maximises the profile likelihood and the prior of log |l22| over g's factor ``[3, region]``.

    From ``start``, or from the best of a few. A region without ``slopes [region]`` only over its first row:
    a random intercept. ``log_prior`` returns the prior and its derivative. The Hessian is made of differences of
    gradients: regions are independent, so three steps give it all. Iterations go on for those that have not converged.
    """
    free = torch.stack([torch.ones_like(slopes), slopes, slopes]).to(sums.xx.dtype)
    scale = (sums.tt.sum() / sums.n.sum()).sqrt().clamp_min(1e-3)
    objective = _objective(sums, slopes, free, log_prior)
    if start is None:
        starts = [free * torch.tensor([[a], [0.0], [b / scale]]) for a in (0.3, 1.0, 3.0) for b in (0.05, 0.5)]
        best = objective(torch.stack(starts))[0].argmax(0)
        start = torch.stack(starts).gather(0, best.expand(1, 3, -1))[0]
    else:  # where a spread is 0, its gradient is 0 as well
        least = torch.stack([torch.tensor(LEAST_START), torch.zeros(()), LEAST_START / scale])[:, None]
        start = torch.where(start.abs() < least, least, start)
    found = free * start  # [3, region]
    left, theta = torch.arange(len(slopes)), found.clone()  # the regions that have not converged, and their factors
    value, gradient, hessian = _derivatives(objective, theta)
    damping = torch.ones(len(slopes), dtype=theta.dtype)
    for _ in range(iterations):
        kept = hessian * free.T.unsqueeze(-1) * free.T.unsqueeze(-2)
        size, basis = torch.linalg.eigh(-kept)  # [region, 3]
        along = (basis.mT @ gradient.T.unsqueeze(-1)) / (size.abs() + damping[:, None]).unsqueeze(-1)
        step = (basis @ along).squeeze(-1).T
        going = (gradient * step).sum(0).abs() >= 1e-12
        # The derivatives there as well, which the next step needs if this one is better, as it mostly is.
        value_there, gradient_there, hessian_there = _derivatives(objective, theta + step)
        better = value_there > value - ROUNDING * value.abs()  # a last step is too short for the value to show it
        theta, value = torch.where(better, theta + step, theta), torch.where(better, value_there, value)
        gradient = torch.where(better, gradient_there, gradient)
        hessian = torch.where(better[:, None, None], hessian_there, hessian)
        damping = torch.where(better, damping / 5, damping * 5).clamp(1e-8, 1e12)
        if not bool(going.all()):
            found[:, left] = theta
            if not bool(going.any()):
                break
            some = going.nonzero()[:, 0]
            left, sums, slopes, free = left[some], sums.of_regions(some), slopes[some], free[:, some]
            theta, gradient = theta[:, some], gradient[:, some]
            value, hessian, damping = value[some], hessian[some], damping[some]
            objective = _objective(sums, slopes, free, log_prior)
    found[:, left] = theta
    return found


def _objective(
    sums: Sums, slopes: Tensor, free: Tensor, log_prior: LogPrior
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The profile likelihood with the prior, and its gradient, of factors ``[*, 3, region]``."""

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

    return objective


def _derivatives(
    objective: Callable[[Tensor], tuple[Tensor, Tensor]], theta: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Value ``[region]``, gradient ``[3, region]`` and Hessian ``[region, 3, 3]``."""
    steps = NEAR * theta.abs() + NEAR**2
    values, gradients = objective(torch.stack([theta, *(theta + steps * row[:, None] for row in torch.eye(3))]))
    gradient, *moved = gradients
    hessian = torch.stack([(there - gradient) / step for there, step in zip(moved, steps, strict=True)])
    hessian = hessian.permute(2, 0, 1)
    return values[0], gradient, (hessian + hessian.mT) / 2


def _factor(e: Tensor, subject: Tensor, measured: Tensor) -> Tensor:
    """Cholesky factor of the covariance of innovations ``[visit, region]``, shrunk."""
    if len(e) < 3 or e.shape[1] == 1:
        return torch.eye(e.shape[1], dtype=e.dtype)
    return torch.linalg.cholesky(shrunk_covariance(e, subject, measured))
