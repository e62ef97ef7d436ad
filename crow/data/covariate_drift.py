"""What is unknown of covariates that are carried forward: how they change in the meantime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from pydantic import BaseModel, model_validator
from torch import Tensor

from crow.data.sequences import Sequences

FOLDS = 5
RIDGES = (1.0, 10.0, 100.0, 1000.0)  # ridge penalties, in pairs of visits without change
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # visits between the two of a pair
MIN_SUBJECTS = 20
MAX_SUBJECTS = 5000
WITHIN = 0.5  # years: pairs of visits that are this near weigh as much as their noise allows
TINY = 1e-6  # of the variance of a channel
LARGE_CHANGE, TYPICAL_CHANGES = 3.0, 10.0  # sd of a channel, and mean changes: larger ones count as this large
FARTHEST = 5.0  # sd of a channel: values beyond count as this far
POINTS = 32


class CovariateDrift(BaseModel):
    """The change of context channels in g years, given the context c: these before the change, all others after it.

    It is normal, with mean ``(1, c) M0 + g (1, c) M1`` and covariance ``S R S``, ``S = diag(sqrt(v0 + g v1))``. ``M0``
    and ``v0`` are what a second measurement would change at once, ``M1`` and ``v1`` the change per year. g is at most
    ``longest``, the longest time between two visits of the training.

    Attributes
    ----------
    channels
        The channels that change; only these.
    at_once, per_year
        M0 and M1, ``[1 + context, channel]``.
    noise, walk
        v0 and v1, ``[channel]``.
    root
        Cholesky factor of R, ``[channel, channel]``.
    longest
        Years.
    """

    channels: list[int]
    at_once: list[list[float]]
    per_year: list[list[float]]
    noise: list[float]
    walk: list[float]
    root: list[list[float]]
    longest: float

    @model_validator(mode="after")
    def _is_one(self) -> CovariateDrift:
        count, rows = len(self.channels), len(self.at_once)
        if not all(0 <= channel < rows - 1 for channel in self.channels) or len(set(self.channels)) < count:
            raise ValueError("drift: channels that the context does not have")
        shapes = ((self.at_once, rows), (self.per_year, rows), (self.root, count))
        if any(len(table) != size or any(len(row) != count for row in table) for table, size in shapes):
            raise ValueError("drift: coefficients of another number of channels")
        if len(self.noise) != count or len(self.walk) != count or min([0.0, *self.noise, *self.walk, self.longest]) < 0:
            raise ValueError("drift: variances of another number of channels, or below 0")
        numbers = [*self.noise, *self.walk, self.longest, *(v for table, _ in shapes for row in table for v in row)]
        if not all(map(math.isfinite, numbers)):
            raise ValueError("drift: a number is not finite")
        return self

    @classmethod
    def fit(cls, data: Sequences, channels: Sequence[int], known: Tensor) -> CovariateDrift | None:
        """From all pairs of visits of a subject; None without enough of them.

        The means are ridge regressions. How much they are shrunk to no change is chosen by 5 folds of subjects.

        Parameters
        ----------
        data
            Training subjects.
        channels
            Channels of the context that change.
        known
            ``[batch, time, channel]``: whether each of ``channels`` was known at a visit.
        """
        some = slice(None, None, max(1, len(data) // MAX_SUBJECTS))
        pairs = _Pairs.of(data.rows(some), list(channels), known[some])
        if not channels or pairs is None or len(pairs.subject.unique()) < MIN_SUBJECTS:
            return None
        mean = pairs.regression()
        residual = (pairs.change - pairs.features @ mean) * pairs.known
        noise, walk = _variances(residual, pairs)
        z = residual / (noise + pairs.years * walk).sqrt() * pairs.weight.sqrt()
        size = z.square().sum(0).sqrt().clamp_min(math.sqrt(TINY))
        # Not shrunk: levels of a category leave one for another, and no draw may have both or neither.
        correlation = (1 - TINY) * (z / size).T @ (z / size)
        root = torch.linalg.cholesky(correlation.fill_diagonal_(1.0))
        at_once, per_year = mean.chunk(2)
        return cls(
            channels=list(channels), at_once=at_once.tolist(), per_year=per_year.tolist(), noise=noise.tolist(),
            walk=walk.tolist(), root=root.tolist(), longest=float(pairs.years.max()),
        )  # fmt: skip

    def moved(self, data: Sequences, normal: Tensor) -> Sequences:
        """``data`` with one draw of every carried channel; ``normal [batch, channel]`` is N(0, I).

        All visits of a row have the same random numbers: a path.
        """
        if data.carried is None:
            return data
        at_once, per_year, noise, walk, root = (
            torch.tensor(v, dtype=data.context.dtype, device=data.context.device)
            for v in (self.at_once, self.per_year, self.noise, self.walk, self.root)
        )
        years = data.carried[..., self.channels].clamp(0, self.longest)
        one = torch.cat([torch.ones_like(data.context[..., :1]), data.context.clamp(-FARTHEST, FARTHEST)], -1)
        sd = (noise + years * walk).sqrt()
        change = one @ at_once + years * (one @ per_year) + sd * (normal @ root.T).unsqueeze(1)
        context = data.context.clone()
        context[..., self.channels] += torch.where(years > 0, change, 0.0)
        return replace(data, context=context, carried=None)

    def first_carried(self, data: Sequences) -> Tensor:
        """``[batch]``: the first visit with a covariate that is carried forward; the number of visits if none is."""
        count = data.x.shape[1]
        if data.carried is None:
            return torch.full((len(data),), count)
        there = (data.carried[..., self.channels] > 0).any(2)
        return torch.where(there.any(1), there.int().argmax(1), count)

    def points(self, data: Sequences) -> Sequences:
        """Every row of ``data`` at `POINTS` quasi-random draws."""
        u = torch.quasirandom.SobolEngine(len(self.channels), scramble=True, seed=0).draw(POINTS)
        normal = torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6)).to(data.context.dtype)
        return self.moved(data.repeat(POINTS), normal.repeat(len(data), 1))


class _Pairs:
    """Pairs of visits of a subject: features ``[pair, 2 (1 + context)]``, changes ``[pair, channel]``, years."""

    def __init__(self, features: Tensor, change: Tensor, known: Tensor, years: Tensor, subject: Tensor) -> None:
        self.features, self.change, self.known, self.years, self.subject = features, change, known, years, subject
        each = 1 / torch.bincount(subject)[subject].double()
        # Every subject counts alike, and the noise of a change grows with time.
        self.weight = (each / each.mean() * WITHIN / (WITHIN + years[:, 0])).unsqueeze(1) * known

    @classmethod
    def of(cls, data: Sequences, channels: list[int], known: Tensor) -> _Pairs | None:
        context, time = data.context.double(), data.time.double()
        parts = []
        for lag in (lag for lag in LAGS if lag < time.shape[1]):
            there = data.mask[:, lag:]
            row, t = there.nonzero(as_tuple=True)
            years = (time[row, t + lag] - time[row, t]).unsqueeze(1)
            before, after = context[row, t][:, channels], context[row, t + lag]
            given = after.clone()
            given[:, channels] = before
            one = torch.cat([torch.ones_like(years), given.clamp(-FARTHEST, FARTHEST)], 1)
            both = known[row, t] & known[row, t + lag]
            change = (after[:, channels] - before) * both
            parts.append((torch.cat([one, years * one], 1), change, both.double(), years, row))
        if not parts:
            return None
        features, change, both, gap, row = (torch.cat(part) for part in zip(*parts, strict=True))
        if not len(features):
            return None
        most = (TYPICAL_CHANGES * change.abs().mean(0)).clamp_min(LARGE_CHANGE)  # a typing error is no change
        return cls(features, change.clamp(-most, most), both, gap, row)

    def regression(self) -> Tensor:
        """The coefficients ``[feature, channel]`` with the ridge that predicts changes of subjects left out best."""
        fold = self.subject % FOLDS
        scores = torch.zeros(1 + len(RIDGES), self.change.shape[1], dtype=torch.double)
        for left_out in range(FOLDS):
            own, others = fold == left_out, fold != left_out
            if not own.any() or not others.any():
                continue
            scores[-1] += (self.weight[own] * self.change[own].square()).sum(0)
            for k, ridge in enumerate(RIDGES):
                error = self.change[own] - self.features[own] @ self._coefficients(others, ridge)
                scores[k] += (self.weight[own] * error.square()).sum(0)
        every = torch.ones_like(fold, dtype=torch.bool)
        tried = torch.stack([*(self._coefficients(every, ridge) for ridge in RIDGES), torch.zeros_like(self._none())])
        return tried.gather(0, scores.argmin(0).expand(1, tried.shape[1], -1))[0]

    def _coefficients(self, rows: Tensor, ridge: float) -> Tensor:
        x, found = self.features[rows], self._none()
        for k in range(found.shape[1]):
            w = self.weight[rows, k : k + 1]
            a = x.T @ (w * x) + ridge * torch.eye(x.shape[1], dtype=x.dtype)
            found[:, k] = torch.linalg.solve(a, x.T @ (w[:, 0] * self.change[rows, k]))
        return found

    def _none(self) -> Tensor:
        return self.change.new_zeros(self.features.shape[1], self.change.shape[1])


def _variances(residual: Tensor, pairs: _Pairs) -> tuple[Tensor, Tensor]:
    """v0 and v1 of each channel, neither below 0: least squares of squares, which vary as their means squared."""
    square, years = residual.square(), pairs.years
    w = pairs.weight / (WITHIN + years)
    s0, s1, s2 = w.sum(0), (w * years).sum(0), (w * years.square()).sum(0)
    y0, y1 = (w * square).sum(0), (w * years * square).sum(0)
    det = (s0 * s2 - s1 * s1).clamp_min(TINY)
    noise, walk = (s2 * y0 - s1 * y1) / det, (s0 * y1 - s1 * y0) / det
    only_walk, only_noise = y1 / s2.clamp_min(TINY), y0 / s0.clamp_min(TINY)
    v0 = torch.where(noise < 0, 0.0, torch.where(walk < 0, only_noise, noise))
    v1 = torch.where(noise < 0, only_walk, torch.where(walk < 0, 0.0, walk))
    return v0 + TINY, v1
