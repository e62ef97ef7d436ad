"""Random effects that regions share: what the measured regions of a subject tell of the others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crow.bijections.eigenvectors import Largest
from crow.bijections.patterns import VALUES

FACTORS = (1, 2, 3, 5, 8)
WEIGHTS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1)
FOLDS = 5
LARGEST_SHARE = 0.95  # of the variance of an effect that factors explain
RIDGE = 2.0  # subjects without any correlation that are added to those of the cohort
MIN_SUBJECTS, MOST_SUBJECTS = 20, 600  # of the choice of factors
MIN_GAIN = 3.0  # nats over all visits left out: less may be chance


def most_factors(features: int) -> int:
    """How many factors the effects of so many regions can have."""
    return min(max(FACTORS), 2 * features // 3)


class Evidence(NamedTuple):
    """What a subject's visits of each region tell of its effects ``a ~ N(0, I)`` of level and slope.

    ``q`` is the precision (entries 00, 01, 11), ``h`` the precision times the estimate; all ``[*, region]``.
    """

    q00: Tensor
    q01: Tensor
    q11: Tensor
    h0: Tensor
    h1: Tensor

    @classmethod
    def of(cls, factor: Tensor, sigma: Tensor, n: Tensor, t: Tensor, tt: Tensor, r: Tensor, tr: Tensor) -> Evidence:
        """From the sums of `crow.bijections.innovation.Moments`; ``sigma l a`` are the effects, l being ``factor``."""
        l11, l21, l22 = factor
        return cls(
            l11 * l11 * n + 2 * l11 * l21 * t + l21 * l21 * tt, l22 * (l11 * t + l21 * tt), l22 * l22 * tt,
            (l11 * r + l21 * tr) / sigma, l22 * tr / sigma,
        )  # fmt: skip


def expected(evidence: Evidence, loadings: Tensor, z0: Tensor, z1: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of ``z0 a0 + z1 a1`` of each region given the evidence of all regions, ``[*, region]``.

    ``a = U f + e`` with factors ``f ~ N(0, I)`` and ``e ~ N(0, Psi)``, where ``Psi = 1 - rowsum(U^2)`` keeps the
    variance of every effect at 1; U is ``loadings [2, region, factor]``. With ``J = (I + Q Psi)^-1`` per region and
    ``B = J' U``, ``P = I + sum B' Q U`` is the precision of f and ``P^-1 sum B' h`` its mean (Woodbury), so that the
    cost is linear in regions.
    """
    q00, q01, q11, h0, h1 = evidence
    p0, p1 = 1 - loadings.square().sum(-1)
    det = (1 + q00 * p0) * (1 + q11 * p1) - q01 * q01 * p0 * p1
    j00, j01, j10, j11 = (1 + q11 * p1) / det, -q01 * p1 / det, -q01 * p0 / det, (1 + q00 * p0) / det
    h0, h1 = j00 * h0 + j01 * h1, j10 * h0 + j11 * h1  # J h
    mean = z0 * p0 * h0 + z1 * p1 * h1
    variance = z0 * z0 * p0 * j00 + 2 * z0 * z1 * p0 * j01 + z1 * z1 * p1 * j11
    if not (factors := loadings.shape[-1]):
        return mean, variance
    u0, u1 = loadings
    # J Q is symmetric, so that P is I and the sum over regions of its three entries times products of U.
    jq = torch.cat([j00 * q00 + j01 * q01, j00 * q01 + j01 * q11, j10 * q01 + j11 * q11], -1)
    both = u0.unsqueeze(-1) * u1.unsqueeze(-2)
    products = torch.cat([u0.unsqueeze(-1) * u0.unsqueeze(-2), both + both.mT, u1.unsqueeze(-1) * u1.unsqueeze(-2)])
    precision = (jq @ products.flatten(1)).unflatten(-1, (factors, factors))
    root = torch.linalg.cholesky(precision + torch.eye(factors, dtype=u0.dtype, device=u0.device))
    of_past = torch.cat([h0, h1], -1) @ torch.cat([u0, u1])  # [*, factor]
    w0, w1 = z0 * j00 + z1 * j01, z0 * j10 + z1 * j11
    # Forward substitution, row by row over all visits: a solver of many tiny systems takes three times as long.
    solved: list[tuple[Tensor, Tensor]] = []
    for k in range(factors):
        of_visit, own = w0 * u0[:, k] + w1 * u1[:, k], of_past[..., k : k + 1]
        for j, (visit_j, own_j) in enumerate(solved):
            entry = root[..., k, j].unsqueeze(-1)
            of_visit, own = of_visit - entry * visit_j, own - entry * own_j
        size = root[..., k, k].unsqueeze(-1)
        solved.append((of_visit / size, own / size))
        mean, variance = mean + solved[-1][0] * solved[-1][1], variance + solved[-1][0].square()
    return mean, variance


def fit_loadings(whole: Evidence, past: Evidence, visit: tuple[Tensor, Tensor], e: Tensor, measured: Tensor) -> Tensor:
    """The loadings ``[2, region, factor]`` with the best likelihood of visits left out, which may be 0.

    The correlations of effects are estimated by moments, and k factors of them, times a weight, are the loadings. k and
    the weight maximise the likelihood of each value given the earlier visits of its subject, by 5 folds of at most
    `MOST_SUBJECTS` subjects.

    Parameters
    ----------
    whole
        The evidence of all visits of each subject, ``[batch, region]``.
    past
        That of the visits before each visit, ``[batch, time, region]``.
    visit
        ``z0`` and ``z1`` of each visit, ``[batch, time, region]``.
    e
        ``(x - fixed) / sigma``, ``[batch, time, region]``.
    measured
        ``[batch, time, region]``: which of e were measured.
    """
    features = e.shape[2]
    counts = [k for k in FACTORS if k <= most_factors(features)]
    none = e.new_zeros(2, features, most_factors(features))
    if not counts or len(e) < MIN_SUBJECTS:
        return none
    every = Evidence(*(v.expand(len(e), features) for v in whole))
    if len(e) > MOST_SUBJECTS:
        some = torch.arange(MOST_SUBJECTS, device=e.device) * len(e) // MOST_SUBJECTS
        e, measured = e[some], measured[some]
        whole, past = (Evidence(*(v[some] for v in part)) for part in (whole, past))
        visit = (visit[0][some], visit[1][some])
    fold = torch.arange(len(e), device=e.device) % FOLDS
    grid = [(k, weight) for k in counts for weight in WEIGHTS]
    scores = torch.zeros(1 + len(grid), dtype=torch.double)
    for left_out in range(FOLDS):
        rows = fold == left_out
        some = measured[rows].any(-1)  # visits that are not padding
        there = [v[rows][some] for v in visit]
        about = Evidence(*(v.expand_as(e)[rows][some] for v in past))
        own, known = e[rows][some], measured[rows][some]
        found = Largest.of(_correlations(Evidence(*(v.expand(len(e), features)[~rows] for v in whole))), max(counts))
        tried = [none, *(_loadings(found, k, weight, none.shape[2]) for k, weight in grid)]
        for i, loadings in enumerate(tried):
            mean, variance = expected(about, loadings, *there)
            log_lik = -0.5 * ((own - mean).square() / (1 + variance) + (1 + variance).log())
            scores[i] += log_lik[known].sum()
    best = int(scores.argmax())
    if scores[best] < scores[0] + MIN_GAIN:
        return none
    return _loadings(Largest.of(_correlations(every), max(counts)), *grid[best - 1], none.shape[2])


def _correlations(evidence: Evidence) -> Tensor:
    """Correlations of all effects ``[2 region, 2 region]``, levels first, by moments.

    The posterior mean of a region's effects is ``K a`` and noise, with ``K = (I + Q)^-1 Q``, so the mean of products of
    two regions is ``K Phi K'``, which is solved for their block of Phi: a ridge pulls blocks of which little is known
    to 0.
    """
    q00, q01, q11, h0, h1 = evidence
    det = (1 + q00) * (1 + q11) - q01 * q01
    c = torch.stack([torch.stack([1 + q11, -q01], -1), torch.stack([-q01, 1 + q00], -1)], -2) / det[..., None, None]
    m = (c @ torch.stack([h0, h1], -1).unsqueeze(-1)).squeeze(-1)  # [batch, region, 2]
    reliability = torch.eye(2, dtype=c.dtype, device=c.device) - c
    features = m.shape[1]
    ridge, parts = RIDGE * torch.eye(4, dtype=c.dtype, device=c.device), []
    step = max(1, VALUES // (128 * features))
    for first in range(0, features, step):
        some = slice(first, first + step)
        pairs = torch.einsum("brij,bskl->rsikjl", reliability[:, some], reliability).reshape(-1, features, 4, 4)
        products = torch.einsum("bri,bsk->rsik", m[:, some], m).reshape(-1, features, 4, 1)
        parts.append(torch.linalg.solve(pairs + ridge, products))
    block = torch.cat(parts).reshape(features, features, 2, 2)
    block[torch.arange(features), torch.arange(features)] = torch.eye(2, dtype=c.dtype, device=c.device)
    phi = block.permute(2, 0, 3, 1).reshape(2 * features, 2 * features)
    return ((phi + phi.T) / 2).clamp(-LARGEST_SHARE, LARGEST_SHARE).fill_diagonal_(1.0)


def _loadings(correlations: Largest, count: int, weight: float, width: int) -> Tensor:
    """Those of ``count`` factors, ``[2, region, width]``: as of probabilistic principal components."""
    v, excess = correlations.factors(count)
    u = v * excess.clamp_min(0).sqrt()
    u = u / (u.square().sum(1, keepdim=True) / LARGEST_SHARE).clamp_min(1).sqrt() * weight**0.5
    return torch.nn.functional.pad(u, (0, width - count)).unflatten(0, (2, -1))
