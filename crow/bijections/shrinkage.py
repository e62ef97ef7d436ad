"""The covariance of many regions from few visits: shrunk to a few common factors, as held-out visits ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

FACTORS = (0, 1, 2, 3, 5, 8)
WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FOLDS = 5
LARGEST_SHARE = 0.99  # of a region's variance that factors explain


def shrunk_covariance(e: Tensor, subject: Tensor) -> Tensor:
    """``(1 - w) S + w F`` of ``e [visit, region]``, whose mean is 0: S is its covariance, F one of k factors.

    With the correlations ``R = V diag(l) V'`` of S and the mean m of all but the k largest l, the correlations of F are
    ``V_k diag(l_k - m) V_k'``, and 1 on the diagonal: what k factors do not share belongs to the region alone. k and w
    maximise the likelihood of visits left out, by 5 folds of ``subject [visit]``, in their order. Brain regions have
    much in common: shrinkage to equal variances without correlation (Ledoit & Wolf 2004) takes away what is there to
    make up for what is not. Source of F: Tipping & Bishop 1999, equation 7, on correlations.
    """
    fold = torch.unique(subject, return_inverse=True)[1] % FOLDS
    factors = [k for k in FACTORS if k <= e.shape[1] // 3]
    likelihood = torch.zeros(len(factors), len(WEIGHTS), dtype=e.dtype)
    for held_out in range(FOLDS):
        kept, left = e[fold != held_out], e[fold == held_out]
        if len(left) and len(kept) > 1:
            s = kept.T @ kept / len(kept)
            likelihood += torch.stack([_likelihood(left, s, f) for f in _targets(s, factors)])
    best = int(likelihood.argmax())
    k, w = factors[best // len(WEIGHTS)], WEIGHTS[best % len(WEIGHTS)]
    s = e.T @ e / len(e)
    (f,) = _targets(s, [k])
    return (1 - w) * s + w * f


def _targets(s: Tensor, factors: Iterable[int]) -> list[Tensor]:
    sd = s.diagonal().sqrt()
    size, v = torch.linalg.eigh(s / sd / sd[:, None])  # ascending
    found = []
    for k in factors:
        own = len(size) - k
        shared = (v[:, own:] * (size[own:] - size[:own].mean())) @ v[:, own:].T
        excess = (shared.diagonal() / LARGEST_SHARE).clamp_min(1).sqrt()
        shared = shared / excess / excess[:, None]
        found.append((shared - shared.diagonal().diag() + torch.eye(len(size), dtype=s.dtype)) * sd * sd[:, None])
    return found


def _likelihood(e: Tensor, s: Tensor, f: Tensor) -> Tensor:
    """Of all visits, for every weight ``[weight]``; -inf where a covariance is singular."""
    w = torch.tensor(WEIGHTS, dtype=s.dtype)[:, None, None]
    factor, failed = torch.linalg.cholesky_ex((1 - w) * s + w * f)
    z = torch.linalg.solve_triangular(factor, e.T.expand(len(w), -1, -1), upper=False)
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    found = -0.5 * z.square().sum((-2, -1)) - len(e) * (log_det + 0.5 * e.shape[1] * math.log(2 * math.pi))
    return torch.where(failed > 0, -torch.inf, found)
