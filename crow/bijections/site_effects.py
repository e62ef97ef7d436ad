"""Random effects of sites on the level and scale of regions, beside the mixed model of the subjects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crow.bijections.innovation import MixedModelInnovation, effects
from crow.bijections.site_likelihood import SiteModel
from crow.bijections.site_visits import SiteVisits

PRIOR_LEVELS = 2.0  # weight, in levels, of the mean over regions in the spread between levels
ROUNDS, CHANGE = 6, 0.003  # of an effect, in sd, that ends the rounds
STEPS = 30  # of EM for the spread of levels, per round
FIRST_LEVEL_SPREAD, FIRST_SCALE_SPREAD = 0.5, 0.1
LEAST = 1e-8  # variance between levels
MAX_SHRINKAGE, FARTHEST = 0.99, 3.0


@dataclass(frozen=True)
class SiteEstimate:
    """Effects ``[level, region]`` with their posterior sds, and their spreads between levels ``[factor, region]``."""

    level: Tensor
    level_sd: Tensor
    log_scale: Tensor
    log_scale_sd: Tensor
    level_spread: Tensor
    log_scale_spread: Tensor

    @classmethod
    def none(cls, counts: list[int], regions: int) -> SiteEstimate:
        zero = torch.zeros(sum(counts), regions, dtype=torch.double)
        spread = torch.ones(len(counts), regions, dtype=torch.double)
        return cls(zero, zero, zero, zero, FIRST_LEVEL_SPREAD * spread, FIRST_SCALE_SPREAD * spread)


def estimate_sites(
    visits: SiteVisits, mixed: MixedModelInnovation, context: Tensor, before: SiteEstimate, known: bool = False
) -> SiteEstimate:
    """The posterior of the effects, starting at ``before``.

    Per region ``(y - level) / exp(log_scale) = f' beta + Z' b + eps`` with ``b ~ N(0, G)``, and ``level ~ N(0,
    level_spread^2)``, ``log_scale ~ N(0, log_scale_spread^2)`` between the levels of a factor. In turn: the levels by
    Henderson's equations, with beta of a flat prior, so that sites do not take up what age or diagnosis explain; their
    spread by EM, with beta integrated out (REML); then the mode of the scales together with all else, and their spread
    by EM. The likelihood of the scales counts less if values have heavier tails than a normal's. The spread of few
    levels borrows from other regions. Effects are differences from the average of all levels.

    The parameters of ``mixed`` are where this starts, and its terms with an effect are those that count. With ``known``
    it is the truth, as are the spreads of ``before``: for new sites of a fitted model.
    """
    model = _start(visits, mixed, context, before, known)
    found = before
    for k in range(ROUNDS):
        last = found
        found, covariance = _levels(visits, model, found, known)
        model = replace(model, level=found.level)
        excess = model.excess(visits)
        priors = _prior(found.log_scale_spread, visits) / excess, _prior(found.level_spread, visits)
        model = model.likeliest(visits, *priors, known)
        found = _scales(visits, model, found, excess, known)
        moved = torch.stack([found.level - last.level, found.log_scale - last.log_scale]).abs().max()
        if k and float(moved) < CHANGE:
            break
    if known:
        return found
    # The intercept and the variances take up what all sites share.
    centre = visits.centre
    of_scale = excess[:, None, None] * model.scale_covariance(visits, *priors)
    level, level_sd = centre @ found.level, _sd(centre @ covariance @ centre)
    log_scale, log_scale_sd = centre @ found.log_scale, _sd(centre @ of_scale @ centre)
    return replace(
        found,
        level=level,
        log_scale=log_scale,
        level_sd=_with_estimated_variances(level_sd, level, found.level_spread, visits),
        log_scale_sd=_with_estimated_variances(log_scale_sd, log_scale, found.log_scale_spread, visits),
    )


def _start(
    visits: SiteVisits, mixed: MixedModelInnovation, context: Tensor, before: SiteEstimate, known: bool
) -> SiteModel:
    beta = mixed.beta.detach().double()
    some = beta.abs().sum(1) > 0
    f = effects(mixed, context, context[:, 0, mixed.trends]).double()[..., some]
    return SiteModel(
        before.level, before.log_scale, beta[some], mixed.log_sigma.detach().double(), mixed.factor.detach().double(),
        f, context[..., :1].double(),
    )  # fmt: skip


def _levels(visits: SiteVisits, model: SiteModel, before: SiteEstimate, known: bool) -> tuple[SiteEstimate, Tensor]:
    """The levels' posterior with their covariance ``[region, level, level]``, and the spread."""
    left, right = model.equations(visits, eliminate=not known)
    variance = torch.exp(2 * model.log_sigma)
    spread = before.level_spread
    for _ in range(1 if known else STEPS):
        precision = variance / _prior(spread, visits)  # [level, region]
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(left + torch.diag_embed(precision.T)))
        level = (covariance @ right.unsqueeze(-1)).squeeze(-1).T
        covariance = variance[:, None, None] * covariance
        if not known:
            spread = _spread(level.square() + _sd(covariance).square(), visits)
    level = level.contiguous()
    return replace(before, level=level, level_sd=_sd(covariance), level_spread=spread), covariance


def _scales(visits: SiteVisits, model: SiteModel, before: SiteEstimate, excess: Tensor, known: bool) -> SiteEstimate:
    spread = before.log_scale_spread
    variance = 1 / (model.curvature(visits)[0] / excess + 1 / _prior(spread, visits))
    if not known:
        spread = _spread(model.log_scale.square() + variance, visits)
    return replace(before, log_scale=model.log_scale, log_scale_sd=variance.sqrt(), log_scale_spread=spread)


def _prior(spread: Tensor, visits: SiteVisits) -> Tensor:
    """Variance of each level ``[level, region]``."""
    return spread.square().clamp_min(LEAST)[visits.factor]


def _spread(square: Tensor, visits: SiteVisits) -> Tensor:
    """Sd between levels ``[factor, region]``: of few levels it is nearly that of all regions together."""
    total = torch.stack([part.sum(0) for part in square.split(visits.counts)])
    count = torch.tensor(visits.counts, dtype=square.dtype).unsqueeze(-1)
    everywhere = (total / count).mean(1, keepdim=True)
    return ((total + PRIOR_LEVELS * everywhere) / (count + PRIOR_LEVELS)).sqrt()


def _with_estimated_variances(sd: Tensor, effect: Tensor, spread: Tensor, visits: SiteVisits) -> Tensor:
    """The sd ``[level, region]`` of centred effects, if the variances that it rests on are estimated, too.

    An effect is ``(1 - B) y`` with the estimate y of its visits alone and the shrinkage ``B = variance / prior``. B has
    an error of its own, of variance ``2 B^2 / k`` for a spread of k levels, which adds ``2 B^2 y^2 / k``. y is taken
    for at most `FARTHEST` of its sd. Source: Morris 1983, equation 4.1, without its corrections for small k. The
    variances of subjects are those at the mode of the effects, each of which takes up ``1 - B`` of one of n subjects.
    """
    count = torch.tensor(visits.counts, dtype=sd.dtype)[visits.factor].unsqueeze(-1)
    prior = (_prior(spread, visits) * (1 - 1 / count)).clamp_min(LEAST)
    shrinkage = (sd.square() / prior).clamp(0, MAX_SHRINKAGE)
    square = torch.minimum((effect / (1 - shrinkage)).square(), FARTHEST**2 * prior / (1 - shrinkage))
    subjects = (visits.there.sum(1) > 0).sum(0)
    taken_up = torch.minimum((1 - shrinkage).sum(0), subjects / 2)
    variance = sd.square() * subjects / (subjects - taken_up)
    return (variance + 2 * shrinkage.square() * square / (count + PRIOR_LEVELS)).sqrt()


def _sd(covariance: Tensor) -> Tensor:
    """``[level, region]`` of covariances ``[region, level, level]``."""
    return covariance.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt().T.contiguous()
