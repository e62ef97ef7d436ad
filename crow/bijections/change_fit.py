"""The mixed model of changes since a subject's first scan, fitted to a cohort."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from crow.bijections.innovation import MixedModelInnovation
from crow.bijections.innovation_fit import correlate, share_effects
from crow.bijections.innovation_sums import Sums, VisitValues

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)  # of the variance of slopes that covariates may explain
RATIOS = tuple(0.02 * 10 ** (4 * k / 29) for k in range(30))  # of the variances of slopes' changes and of errors
LOG_RATIO_SD = 1.0  # of the prior of the logarithm of that ratio, whose mean is 0


class _Fit(NamedTuple):
    beta: Tensor  # [effect, region]
    sigma: Tensor  # [region]
    slopes: Tensor  # [region], variance of slopes in units of sigma^2
    criterion: Tensor  # [region]


@torch.no_grad()
def fit_change_model(
    model: MixedModelInnovation, x: Tensor, context: Tensor, mask: Tensor, measured: Tensor | None = None
) -> Tensor:
    """Sets the parameters of ``model`` for changes x, whose line passes through 0 at time 0.

    Per region ``x_t = t (beta_0 + w' c + b1) + eps_t - eps_0`` with c the covariates at the first visit. There is no
    level: the scan at time 0 is given. Its error ``eps_0`` has the variance of the others and is part of all changes of
    the subject, so that the random intercept of the model is known. ``w ~ N(0, s^2 h / p)`` for p covariates of unit
    variance, and ``b1 ~ N(0, s^2 (1 - h))``. The likelihood is integrated over beta and w. h, the same for
    all regions, maximises it; parameters are means over the posterior of the ratio ``s^2 mean(t^2) / sigma^2``, whose
    logarithm has a normal prior: a few subjects with two changes each hardly tell apart slopes and errors. Slopes are
    so shrunk to those that the covariates predict, and these to the mean. A subject's slope is uncertain because w is,
    too; the mean of that over subjects is part of the model's variance of slopes.

    Returns each region's log-likelihood ``[region]``. Shapes as in ``Sequences``; computed in float64.
    """
    data = VisitValues.of(x, context, mask, measured)
    exact = MixedModelInnovation(x.shape[2], model.design, model.trends).double()
    rows = [1 + exact.design.index(0), *range(1 + len(exact.design), 1 + len(exact.design) + len(exact.trends))]
    sums = Sums.of(data, exact, rows)
    sums = sums._replace(kept=torch.ones_like(sums.kept))
    baseline = data.context[:, 0, exact.trends]
    design = torch.cat([torch.ones_like(baseline[:, :1]), baseline], 1)
    time_square = sums.tt.sum() / sums.n.sum().clamp_min(1)
    fits = [_mean_over_ratios(sums, share, design, time_square) for share in (SHARES if exact.trends else SHARES[:1])]
    best = max(fits, key=lambda fit: float(fit.criterion.sum()))
    unknown = (sums.visits == 0).expand(x.shape[2])
    exact.beta.zero_()
    exact.beta[rows] = torch.where(unknown, 0.0, best.beta)
    exact.log_sigma.copy_(torch.where(unknown, 0.0, best.sigma.log()))
    exact.factor.copy_(torch.stack([torch.ones_like(best.slopes), torch.zeros_like(best.slopes), best.slopes.sqrt()]))
    correlate(exact, data)
    if share_effects(exact, data):
        correlate(exact, data)
    model.load_state_dict(exact.state_dict())
    return torch.where(unknown, 0.0, best.criterion)


def _mean_over_ratios(sums: Sums, share: float, design: Tensor, time_square: Tensor) -> _Fit:
    """The posterior mean over `RATIOS`, region by region, if covariates explain ``share`` of the slopes' variance.

    ``design [subject, effect]``: 1 and the covariates.
    """
    variance, square = design[:, 1:].var(0, correction=0), design.T @ design / len(design)
    usable = variance > 1e-9
    count = int(usable.sum())
    found: list[_Fit] = []
    for ratio in RATIOS:
        slopes = ratio / time_square
        explained = slopes * share / max(count, 1)
        precision = torch.where(usable & (explained > 0), variance / explained.clamp_min(1e-300), 1e12)
        precision = torch.cat([precision.new_zeros(1), precision])
        own = (slopes * (1 - share)).sqrt()
        factor = torch.stack([torch.ones_like(own), torch.zeros_like(own), own])[:, None].expand(3, len(sums.xx))
        beta, sigma, log_lik, covariance = sums.shrunk(factor.contiguous(), precision)
        uncertain = (covariance * square).sum((-2, -1))
        prior = -0.5 * (torch.tensor(ratio).log() / LOG_RATIO_SD).square()
        found.append(_Fit(beta, sigma, own.square() + uncertain.expand_as(sigma), log_lik + prior))
    beta, sigma, slopes, criterion = (torch.stack(values) for values in zip(*found, strict=True))
    weight = torch.softmax(criterion, 0)
    variance = (weight * sigma.square()).sum(0)
    return _Fit(
        (weight.unsqueeze(1) * beta).sum(0),
        variance.sqrt(),
        (weight * sigma.square() * slopes).sum(0) / variance,
        torch.logsumexp(criterion, 0) - math.log(len(RATIOS)),
    )
