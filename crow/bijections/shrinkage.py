"""The covariance of many regions from few visits: shrunk to a few common factors, as held-out visits ask for."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from crow.bijections.eigenvectors import Largest
from crow.bijections.normal import LOG_2PI
from crow.bijections.patterns import VALUES, apply_each

FACTORS = (0, 1, 2, 3, 5, 8)
WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FOLDS = 5
LARGEST_SHARE = 0.99  # of a region's variance that factors explain
ITERATIONS, TOLERANCE = 50, 1e-4  # of EM
RIDGE, TINY = 1e-2, 1e-12
LEAST = 1e-4  # variance of standardised innovations: a region may be constant in these visits


def shrunk_covariance(e: Tensor, subject: Tensor, measured: Tensor | None = None) -> Tensor:
    """``(1 - w) S + w F`` of ``e [visit, region]``, whose mean is 0: S is its covariance, F one of k factors.

    With the correlations ``R = V diag(l) V'`` of S and the mean m of all but the k largest l, the correlations of F are
    ``V_k diag(l_k - m) V_k'``, and 1 on the diagonal: what k factors do not share belongs to the region alone. k and w
    maximise the likelihood of visits left out, by 5 folds of ``subject [visit]``, in their order. Brain regions have
    much in common: shrinkage to equal variances without correlation (Ledoit & Wolf 2004) takes away what is there to
    make up for what is not. Source of F: Tipping & Bishop 1999, equation 7, on correlations.

    With ``measured [visit, region]`` S is the maximum-likelihood covariance of the measured values, and the likelihood
    is theirs; e is 0 where it was not measured.
    """
    if measured is None:
        measured = torch.ones_like(e, dtype=torch.bool)
    fold = torch.unique(subject, return_inverse=True)[1] % FOLDS
    factors = [k for k in FACTORS if k <= e.shape[1] // 3]
    likelihood = torch.zeros(len(factors), len(WEIGHTS), dtype=e.dtype)
    for left_out in range(FOLDS):
        kept, left = fold != left_out, fold == left_out
        if left.any() and kept.sum() > 1:
            s, parts = covariance(e[kept], measured[kept]), _by_pattern(e[left], measured[left])
            likelihood += torch.stack([_likelihood(parts, s, f) for f in _targets(s, factors)])
    best = int(likelihood.argmax())
    k, w = factors[best // len(WEIGHTS)], WEIGHTS[best % len(WEIGHTS)]
    s = covariance(e, measured)
    (f,) = _targets(s, [k])
    return (1 - w) * s + w * f


def covariance(e: Tensor, measured: Tensor) -> Tensor:
    """The maximum-likelihood covariance of the measured values of ``e [visit, region]``, whose mean is 0, by EM.

    A region without a value has variance 1 and no correlation. Source: Little & Rubin 2002, section 11.2.
    """
    if bool(measured.all()):
        s = e.T @ e / len(e)
        return s + (LEAST - s.diagonal()).clamp_min(0).diag()
    each, index = torch.unique(measured, dim=0, return_inverse=True)
    counts = torch.bincount(index, minlength=len(each)).to(e.dtype)
    variance = e.square().sum(0) / measured.sum(0).clamp_min(1)
    s = torch.where(measured.any(0), variance, 1.0).clamp_min(TINY).diag()
    for _ in range(ITERATIONS):
        total = torch.zeros_like(s)
        filled = torch.empty_like(e)
        for rows, pattern in _chunks(each, index):
            onto, left = _regression(s, pattern)
            some = (index >= rows.start) & (index < rows.stop)
            filled[some] = apply_each(onto, (index[some] - rows.start).unsqueeze(1), e[some].unsqueeze(1)).squeeze(1)
            total += torch.einsum("p,pij->ij", counts[rows], left)
        before, s = s, (filled.T @ filled + total) / len(e)
        if float((s - before).abs().max() / s.diagonal().max()) < TOLERANCE:
            break
    return (s + s.T) / 2


def _regression(s: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
    """Of all regions on the ``measured [pattern, region]``: coefficients and what is left of the missing ones' s.

    Both ``[pattern, region, region]``; a measured region is itself. A few visits of many regions leave s singular, so
    the block that is inverted gets a ridge.
    """
    eye = torch.eye(len(s), dtype=s.dtype)
    block = measured.unsqueeze(-1) & measured.unsqueeze(-2)
    near = torch.where(block, s + RIDGE * s.diagonal().diag(), eye)
    onto = torch.where(measured.unsqueeze(-1), eye, s @ (torch.linalg.inv(near) * block))
    missing = ~measured.unsqueeze(-1) & ~measured.unsqueeze(-2)
    return onto, torch.where(missing, s - onto @ s, 0.0)


def _chunks(each: Tensor, index: Tensor) -> Iterable[tuple[slice, Tensor]]:
    """Patterns, a bounded number at a time."""
    step = max(1, VALUES // each.shape[1] ** 2)
    for start in range(0, len(each), step):
        rows = slice(start, min(start + step, len(each)))
        yield rows, each[rows]


def _by_pattern(e: Tensor, measured: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of each pattern its regions, and its visits' values of them ``[visit, region]``."""
    each, index = torch.unique(measured, dim=0, return_inverse=True)
    return [(there.nonzero()[:, 0], e[index == k][:, there]) for k, there in enumerate(each) if there.any()]


def _targets(s: Tensor, factors: Iterable[int]) -> list[Tensor]:
    sd = s.diagonal().sqrt()
    counts, found = list(factors), []
    largest = Largest.of(s / sd / sd[:, None], max(counts))
    for k in counts:
        v, excess = largest.factors(k)
        shared = (v * excess) @ v.T
        much = (shared.diagonal() / LARGEST_SHARE).clamp_min(1).sqrt()
        shared = shared / much / much[:, None]
        found.append((shared - shared.diagonal().diag() + torch.eye(len(s), dtype=s.dtype)) * sd * sd[:, None])
    return found


def _likelihood(parts: list[tuple[Tensor, Tensor]], s: Tensor, f: Tensor) -> Tensor:
    """Of all visits, for every weight ``[weight]``; -inf for a singular covariance."""
    step = max(1, VALUES // len(s) ** 2)
    return torch.cat([_of_weights(parts, s, f, WEIGHTS[k : k + step]) for k in range(0, len(WEIGHTS), step)])


def _of_weights(parts: list[tuple[Tensor, Tensor]], s: Tensor, f: Tensor, weights: tuple[float, ...]) -> Tensor:
    w = torch.tensor(weights, dtype=s.dtype)[:, None, None]
    mixed = (1 - w) * s + w * f
    found = torch.zeros(len(w), dtype=s.dtype)
    for regions, e in parts:
        block = mixed if len(regions) == len(s) else mixed[:, regions[:, None], regions]
        factor, failed = torch.linalg.cholesky_ex(block)
        z = torch.linalg.solve_triangular(factor, e.T.expand(len(w), -1, -1), upper=False)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        nats = 0.5 * z.square().sum((-2, -1)) + len(e) * (log_det + 0.5 * e.shape[1] * LOG_2PI)
        found = torch.where(failed > 0, -torch.inf, found - nats)
    return found
