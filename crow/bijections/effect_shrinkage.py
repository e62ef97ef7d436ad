"""Effects of covariates in small cohorts: they are shrunk, and what remains unknown of them widens intervals."""

from __future__ import annotations

import copy
from itertools import product

import torch
from torch import Tensor

from crow.bijections.innovation import MixedModelInnovation, effects
from crow.bijections.innovation_sums import Sums, VisitValues, fewest_effects
from crow.bijections.spread_fit import likeliest_factor

LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # variance that covariates explain, of standardised values
SLOPES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # the same of their change over the follow-up
LEAST_DEGREES = 4.0  # of freedom: the variance of Student's t is infinite at 2
LEAST_SHARE = 0.05  # of the mean square of innovations
MIN_VALUES = 5  # of a region that is fitted
CONSTANT = 1e-6  # variance of a covariate


def shrink_effects(
    model: MixedModelInnovation, data: VisitValues, rows: list[int], slopes: Tensor, factor: Tensor
) -> Tensor:
    """Sets beta, sigma and g with a prior of covariates' effects; returns how small training innovations then are.

    The p effects on the level are ``N(0, a / (p v))`` for a covariate of variance v, those on the slope ``N(0, b / (p v
    m))`` with m the mean of t^2; intercept and time have no prior. The likelihood of all regions, integrated over beta
    (of intercept and time this is restricted maximum likelihood), chooses a and b. Variances are then not too small, as
    those of maximum likelihood are, which takes effects as known. Nor are they known of a new subject: what the values
    leave unknown of beta is added to g (`Sums.uncertainty`).

    Innovations of the subjects that beta is fitted to are smaller than those of others. With h_t the variance of ``f_t'
    beta`` given the values and the subject's earlier visits, in units of that of the innovation, their mean square is
    ``1 - h_t`` and that of others ``1 + h_t``. It is estimated with d degrees of freedom, the sum of ``1 - h_t``, which
    makes predictions those of Student's t; the normal distribution has its variance, d / (d - 2).

    ``rows`` of the model's beta are the effects; ``factor`` of g is the likeliest one without priors. The result is
    the expected mean square of the innovations of training subjects, of those of new regions and of all others,
    ``[2, region]``.
    """
    sums = Sums.of(data, model, rows)
    flat = torch.zeros(data.x.shape[2], len(rows), dtype=data.x.dtype)
    factor = likeliest_factor(sums, slopes, True, factor, flat)
    precision = _likeliest_precision(model, data, rows, sums, factor)
    factor = likeliest_factor(sums, slopes, True, factor, precision)
    beta, sigma, _, covariance = sums.shrunk(factor, precision)
    set_parameters(model, sums, rows, beta, sigma, factor)
    unknown, sd, new = _unknown_of_visits(model, data, rows, covariance)
    set_parameters(model, sums, rows, beta, sigma, _added(factor, sums.uncertainty(covariance)))
    wider = model.predict(data.x, data.context, None, data.measured)[0].sd
    ratio = (1 - unknown).clamp_min(0) * (sd / wider).square()
    there = data.there.bool().expand_as(data.x)
    found = []
    for some in (there & new, there & ~new):
        count = some.sum((0, 1)).clamp_min(1)
        degrees = ((1 - unknown) * some).sum((0, 1)).clamp_min(LEAST_DEGREES)
        mean = (ratio * some).sum((0, 1)) / count * (1 - 2 / degrees)
        found.append(torch.where(some.any(1).any(0), mean.clamp_min(LEAST_SHARE), 1.0))
    return torch.stack(found)


def set_parameters(
    model: MixedModelInnovation, sums: Sums, rows: list[int], beta: Tensor, sigma: Tensor, factor: Tensor
) -> Tensor:
    """Sets the parameters. Returns which regions have too few values ``[region]``: they stay at N(0, 1)."""
    few = (sums.visits < MIN_VALUES).expand(len(sigma))
    model.beta.zero_()
    model.beta[rows] = torch.where(few, 0.0, beta)
    model.log_sigma.copy_(torch.where(few, 0.0, sigma.log()))
    model.factor.copy_(torch.where(few, 0.0, factor))
    return few


def _unknown_of_visits(
    model: MixedModelInnovation, data: VisitValues, rows: list[int], covariance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of every visit: h, the sd of its innovation, and whether a region is new, ``[batch, time, region]``.

    An effect is a value of every region that the model without effects predicts from its earlier values.
    """
    blank = copy.deepcopy(model)
    blank.beta.zero_()
    f = effects(model, data.context, data.context[:, 0, model.trends])[..., rows]
    left = []
    for effect in f.unbind(-1):
        x = effect.unsqueeze(-1) * data.there.expand_as(data.x)
        prediction, _ = blank.predict(x, data.context, None, data.measured)
        left.append((x - prediction.mean) / prediction.sd)
    innovations = torch.stack(left, -1)
    h = torch.einsum("btdp,dpq,btdq->btd", innovations, covariance, innovations) * model.log_sigma.exp().square()
    return h, prediction.sd, prediction.new.expand_as(h)


def _likeliest_precision(
    model: MixedModelInnovation, data: VisitValues, rows: list[int], sums: Sums, factor: Tensor
) -> Tensor:
    """Precision of beta in units of sigma^-2, ``[region, effect]``; 0 for intercept and time."""
    f = effects(model, data.context, data.context[:, 0, model.trends])[data.mask]
    variance, count = f.var(0), len(model.trends)
    start = 1 + len(model.design)
    variance[start : start + count] = variance[start + count :]  # of the covariate in place of its product with time
    free = set(fewest_effects(model))
    on_slope = torch.tensor([start <= row < start + count for row in rows])
    shrunk = torch.tensor([row not in free for row in rows]) & (variance[rows] > CONSTANT)
    time_square = data.context[..., 0][data.mask].square().mean().clamp_min(CONSTANT)
    unit = variance[rows] * torch.where(on_slope, time_square * (shrunk & on_slope).sum(), (shrunk & ~on_slope).sum())
    flat = torch.zeros(data.x.shape[2], len(rows), dtype=unit.dtype)
    if not bool(shrunk.any()):
        return flat
    sigma = sums.shrunk(factor, flat)[1]
    equations, _ = sums.normal_equations(factor)
    found = []
    for level, slope in product(LEVELS, SLOPES if bool((shrunk & on_slope).any()) else SLOPES[:1]):
        precision = sigma.square()[:, None] * unit / torch.where(on_slope, slope, level)
        precision = torch.where(shrunk, precision, 0.0)
        found.append((float(sums.integrated(equations, precision)[2].sum()), precision))
    return max(found, key=lambda one: one[0])[1]


def _added(factor: Tensor, more: Tensor) -> Tensor:
    """The factor of ``g + more``, ``[3, region]`` and ``[2, 2, region]``."""
    l11, l21, l22 = factor
    g = torch.stack([torch.stack([l11 * l11, l11 * l21]), torch.stack([l11 * l21, l21 * l21 + l22 * l22])]) + more
    l11 = g[0, 0].clamp_min(0).sqrt()
    l21 = g[0, 1] / l11.clamp_min(1e-12)
    return torch.stack([l11, l21, (g[1, 1] - l21 * l21).clamp_min(0).sqrt()])
