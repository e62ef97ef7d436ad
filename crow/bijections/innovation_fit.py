"""The mixed model that the likelihood flow starts at, fitted to a cohort."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from crow.bijections.bend_fit import likeliest_bend
from crow.bijections.effect_shrinkage import set_parameters, shrink_effects
from crow.bijections.innovation import KNOTS, MixedModelInnovation, effects
from crow.bijections.innovation_sums import VISITS_AN_EFFECT, Sums, VisitValues, fewest_effects
from crow.bijections.patterns import only
from crow.bijections.shared_effects import Evidence, fit_loadings
from crow.bijections.shrinkage import shrunk_covariance
from crow.bijections.spread_fit import likeliest_factor

SUBJECTS_FOR_SLOPES = 5
SUBJECTS_FOR_BENDS = 30
SUBJECTS_AN_EFFECT = 10  # from which effects are known so well that a prior of them changes nothing
FEWEST_VALUES = 5  # of a channel that can be bent
NEW = 1e-3  # of the variance of a first visit's channel, that time and the channel do not say


@torch.no_grad()
def fit_mixed_model(
    model: MixedModelInnovation,
    x: Tensor,
    context: Tensor,
    mask: Tensor,
    measured: Tensor | None = None,
    plain: bool = False,
) -> Tensor:
    """Sets the parameters of ``model`` to the most likely ones, region by region, and then ``L``.

    Beta and sigma are profiled out; the three numbers of g's factor are found by a damped Newton iteration, all
    regions at once. A prior keeps the slopes' spread from 0 (`likeliest_factor`). With fewer than ten subjects an
    effect, effects of covariates are shrunk as far as their likelihood says, and what remains unknown of them is part
    of g (`shrink_effects`). ``plain`` leaves all three out. A region has no random slopes if fewer than five subjects
    have three values of it, since slopes and residuals cannot be separated: lines would fit two visits without any
    error. With fewer than four values per effect only the intercept and time have one. The effects of ``trends`` stay
    0 unless they lower the Bayesian information criterion of all regions (on the slope all or none, which does not
    count if they are shrunk; on the level one by one), and so do bends, which need 30 subjects. Random effects are
    shared between regions if that predicts visits of other subjects better (`fit_loadings`). With ``measured``
    everything is the likelihood of the measured values.

    Returns each region's log-likelihood ``[region]``, at the most likely beta. Shapes as in ``Sequences``; computed in
    float64.
    """
    data = VisitValues.of(x, context, mask, measured)
    exact = MixedModelInnovation(x.shape[2], model.design, model.trends).double()
    exact.loadings = exact.loadings[..., :0]  # until they are fitted: those that are 0 would take most of the time
    slopes = ((data.there.sum(1) >= 3).sum(0) >= SUBJECTS_FOR_SLOPES).expand(x.shape[2])
    always, count = list(range(1 + len(model.design))), len(model.trends)
    slope = list(range(len(always), len(always) + count))
    # As many effects as values would leave no error at all.
    if int(data.there.sum((0, 1)).max()) < VISITS_AN_EFFECT * len(always):
        always, slope, count = fewest_effects(model), [], 0
    fits: list[tuple[float, list[int], Tensor]] = []
    factor = None
    for rows in [always, always + slope] if count else [always]:
        factor = likeliest_factor(Sums.of(data, exact, rows), slopes, not plain, factor)
        if count and (levels := _levels(exact, data, rows, factor)):
            rows = [*rows, *levels]
            factor = likeliest_factor(Sums.of(data, exact, rows), slopes, not plain, factor)
        fits.append((Sums.of(data, exact, rows).criterion(factor), rows, factor))
    _, rows, factor = max(fits, key=lambda fit: fit[0])
    sums = Sums.of(data, exact, rows)
    log_lik = _set(exact, sums, rows, factor)
    correlate(exact, data)
    if len(x) >= SUBJECTS_FOR_BENDS and _bend(exact, data, rows):
        sums = Sums.of(data, exact, rows)
        factor = likeliest_factor(sums, slopes, not plain, factor)
        log_lik = _set(exact, sums, rows, factor)
    expected = None
    if not plain and len(x) < SUBJECTS_AN_EFFECT * len(rows):
        expected = shrink_effects(exact, data, sorted({*rows, *slope}), slopes, factor)
    correlate(exact, data, expected)
    if share_effects(exact, data):
        correlate(exact, data, expected)
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
    factor = likeliest_factor(sums, slopes, False, start)
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
    return torch.where(set_parameters(model, sums, rows, beta, sigma, factor), 0.0, log_lik)


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


def correlate(model: MixedModelInnovation, data: VisitValues, expected: Tensor | None = None) -> None:
    """Sets the correlations of the standardised innovations, with all else of the model as it is.

    ``expected [2, region]`` are their mean squares in these subjects if the model is right, of new regions and of all
    others; 1 by default.
    """
    model.correlation.copy_(torch.eye(data.x.shape[2], dtype=data.x.dtype).repeat(2, 1, 1))
    prediction, _ = model.predict(data.x, data.context, None, data.measured)
    e, _ = model.whiten(data.x, prediction, data.measured)
    subject = torch.arange(len(e))[:, None].expand(data.mask.shape)
    measured = data.there.bool().expand_as(e)
    if expected is not None:
        e = e / torch.where(prediction.new, expected[0], expected[1]).sqrt()
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


def _factor(e: Tensor, subject: Tensor, measured: Tensor) -> Tensor:
    """Cholesky factor of the covariance of innovations ``[visit, region]``, shrunk."""
    if len(e) < 3 or e.shape[1] == 1:
        return torch.eye(e.shape[1], dtype=e.dtype)
    return torch.linalg.cholesky(shrunk_covariance(e, subject, measured))
