"""The mixed model of changes since a subject's first scan, fitted to a cohort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from crow.bijections.innovation import MixedModelInnovation
from crow.bijections.innovation_fit import correlate, share_effects
from crow.bijections.innovation_sums import Sums, VisitValues

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)  # of the variance of slopes that covariates may explain
RATIOS = tuple(0.02 * 10 ** (4 * k / 29) for k in range(30))  # of the variances of slopes' changes and of errors
NEW = 1e-3  # of the variance of a covariate, that time does not explain of its changes
LOG_RATIO_SD = 1.0  # of the prior of the logarithm of that ratio, whose mean is 0


class _Fit(NamedTuple):
    beta: Tensor  # [effect, region]
    sigma: Tensor  # [region]
    slopes: Tensor  # [region], variance of slopes in units of sigma^2
    criterion: Tensor  # [region]


@torch.no_grad()
def fit_change_model(
    model: MixedModelInnovation,
    x: Tensor,
    context: Tensor,
    mask: Tensor,
    measured: Tensor | None = None,
    other_side: Sequence[int] | None = None,
) -> Tensor:
    """Sets the parameters of ``model`` for changes x, whose line passes through 0 at time 0.

    Per region ``x_t = t (beta_0 + w' c_1 + b1) + v' (c_t - c_1) + eps_t - eps_0`` with c_t the covariates at visit t.
    There is no level: the scan at time 0 is given. Its error ``eps_0`` has the variance of the others and is part of
    all changes of the subject, so that the random intercept of the model is known. ``w ~ N(0, s^2 h / p)`` for p
    covariates of unit variance, v times the mean time likewise, and ``b1 ~ N(0, s^2 (1 - h))``. The likelihood is
    integrated over beta, w and v, and parameters are means over the posterior of h and of the ratio ``s^2 mean(t^2) /
    sigma^2``, whose logarithm has a normal prior: a few subjects with two changes each hardly tell apart slopes and
    errors. The mean of the variance of slopes is geometric, because its posterior has a long tail, which would make
    most intervals too wide. Slopes are so shrunk to those that the covariates predict, and these to the mean. A
    subject's slope is uncertain because w is, too; the mean of that over subjects is part of the model's variance of
    slopes.

    ``other_side [region]`` is each region's counterpart on the other side, or the region itself. Both sides then have
    the same effects and variances: every subject is there twice, as it is and mirrored, and each copy counts half.

    Returns each region's log-likelihood ``[region]``. Shapes as in ``Sequences``; computed in float64.
    """
    data = VisitValues.of(x, context, mask, measured)
    exact = MixedModelInnovation(x.shape[2], model.design, model.trends).double()
    columns = _columns(exact)
    both = data if other_side is None else _with_mirrored(data, list(other_side))
    sums = Sums.of(both, exact, list(range(len(exact.beta)))).combined(columns)
    best = _posterior_mean(sums, *_scales(both, exact), weight=1.0 if other_side is None else 0.5)
    unknown = (sums.visits == 0).expand(x.shape[2])
    exact.beta.copy_(torch.where(unknown, 0.0, columns @ best.beta))
    exact.log_sigma.copy_(torch.where(unknown, 0.0, best.sigma.log()))
    exact.factor.copy_(torch.stack([torch.ones_like(best.slopes), torch.zeros_like(best.slopes), best.slopes.sqrt()]))
    correlate(exact, data)
    if share_effects(exact, data):
        correlate(exact, data)
    model.load_state_dict(exact.state_dict())
    return torch.where(unknown, 0.0, best.criterion)


def _with_mirrored(data: VisitValues, other_side: list[int]) -> VisitValues:
    """Every subject twice, as it is and with its sides exchanged."""
    x, context, mask, measured, there = data
    return VisitValues(
        torch.cat([x, x[..., other_side]]), context.repeat(2, 1, 1), mask.repeat(2, 1),
        None if measured is None else torch.cat([measured, measured[..., other_side]]),
        there.repeat(2, 1, 1) if there.shape[2] == 1 else torch.cat([there, there[..., other_side]]),
    )  # fmt: skip


def _columns(model: MixedModelInnovation) -> Tensor:
    """The effects of the model in terms of those of `effects`: t, t c_1, c_t - c_1; ``[effect, 1 + 2 trends]``."""
    count, slopes = len(model.trends), 1 + len(model.design)
    out = model.beta.new_zeros(len(model.beta), 1 + 2 * count)
    out[1 + model.design.index(0), 0] = 1
    for k, channel in enumerate(model.trends):
        out[slopes + k, 1 + k] = 1
        out[1 + model.design.index(channel), 1 + count + k] = 1
        out[slopes + count + k, 1 + count + k] = -1
    return out


def _scales(data: VisitValues, model: MixedModelInnovation) -> tuple[Tensor, Tensor, Tensor]:
    """The design of slopes, the variances of covariates, and the mean of t^2.

    The design is ``[subject, effect]``: 1, c_1, and no changes. Variances over subjects are those of c_1 for its
    effects on slopes and then for those of changes, where they are 0 if a covariate changes with time only.
    """
    t, c = data.context[..., 0], data.context[..., model.trends]
    first, visits = c[:, 0], data.mask
    variance = (first - first.mean(0)).square().mean(0)
    moved, passed = (c - c[:, :1])[visits], (t - t[:, :1])[visits].unsqueeze(-1)
    rest = moved - passed * (passed * moved).sum(0) / passed.square().sum().clamp_min(1e-12)
    moves = rest.square().mean(0) > NEW * variance
    design = torch.cat([torch.ones_like(first[:, :1]), first, torch.zeros_like(first)], 1)
    return design, torch.cat([variance, variance * moves]), t[visits].square().mean()


def _posterior_mean(
    sums: Sums, design: Tensor, variance: Tensor, time_square: Tensor, weight: float = 1.0
) -> _Fit:
    """Means over `RATIOS` and `SHARES`, region by region; ``weight`` of a subject in the likelihood.

    The other arguments are those of `_scales`.
    """
    square = design.T @ design / len(design)
    usable = variance > 1e-9
    count = int(usable[: len(usable) // 2].sum())
    unit = torch.ones_like(variance)
    unit[len(unit) // 2 :] = time_square  # of a covariate at a visit, in place of its product with time
    found: list[_Fit] = []
    for ratio, share in product(RATIOS, SHARES if count else SHARES[:1]):
        slopes = ratio / time_square
        explained = slopes * share / max(count, 1) * unit
        precision = torch.where(usable & (explained > 0), variance / explained.clamp_min(1e-300), 1e12)
        precision = torch.cat([precision.new_zeros(1), precision])
        own = (slopes * (1 - share)).sqrt()
        factor = torch.stack([torch.ones_like(own), torch.zeros_like(own), own])[:, None].expand(3, len(sums.xx))
        beta, sigma, log_lik, covariance = sums.shrunk(factor.contiguous(), precision, weight)
        uncertain = (covariance * square).sum((-2, -1))
        prior = -0.5 * (torch.tensor(ratio).log() / LOG_RATIO_SD).square()
        found.append(_Fit(beta, sigma, own.square() + uncertain.expand_as(sigma), log_lik + prior))
    beta, sigma, slopes, criterion = (torch.stack(values) for values in zip(*found, strict=True))
    probability = torch.softmax(criterion, 0)
    mean_square = (probability * sigma.square()).sum(0)
    return _Fit(
        (probability.unsqueeze(1) * beta).sum(0),
        mean_square.sqrt(),
        (probability * slopes.log()).sum(0).exp(),
        torch.logsumexp(criterion, 0) - math.log(len(found)),
    )
