"""Sums over the visits of a cohort, from which the likelihood of a mixed model follows."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from crow.bijections.innovation import MixedModelInnovation, effects, posterior
from crow.bijections.normal import LOG_2PI

VISITS_AN_EFFECT = 4
SAME_TIME = 1e-9
LEAST_VARIANCE = 1e-6  # of a visit, standardised: a region that hardly varies in these subjects may do so in others


class VisitValues(NamedTuple):
    """Visits in float64: x and context are 0 at pads, x also where it was not ``measured [batch, time, region]``.

    ``there`` is 1 for a value that was measured, else 0: ``[batch, time, region]``, or ``[batch, time, 1]`` if no visit
    lacks a region.
    """

    x: Tensor
    context: Tensor
    mask: Tensor
    measured: Tensor | None
    there: Tensor

    @classmethod
    def of(cls, x: Tensor, context: Tensor, mask: Tensor, measured: Tensor | None) -> VisitValues:
        visits = mask.unsqueeze(-1)
        measured = None if measured is None else measured & visits
        x = torch.where(visits if measured is None else measured, x.double(), 0.0)
        there = visits if measured is None else measured
        return cls(x, torch.where(visits, context.double(), 0.0), mask, measured, there.double())


def fewest_effects(model: MixedModelInnovation) -> list[int]:
    """Rows of beta that every region has: the intercept and time."""
    return [0, *(1 + k for k, channel in enumerate(model.design) if channel == 0)]


def kept_effects(model: MixedModelInnovation, data: VisitValues, rows: list[int]) -> Tensor:
    """``[region, effect]``: 1 for one of ``rows`` that the region has enough visits for, else 0."""
    every = torch.tensor([row in fewest_effects(model) for row in rows])
    few = data.there.sum((0, 1)) < VISITS_AN_EFFECT * (1 + len(model.design))
    return (every | ~few.unsqueeze(-1)).to(data.x.dtype)


class NormalEquations(NamedTuple):
    """Of values x and effects F, both divided by the root of the covariance of a subject's values for some g."""

    ff: Tensor  # F'F [*, region, effect, effect]
    fx: Tensor  # F'x [*, effect, region]
    xx: Tensor  # x'x [*, region]
    det: Tensor  # of the covariance, by subject
    visits: Tensor  # [region]

    def keeping(self, kept: Tensor) -> Self:
        """Only the effects that are ``kept [region, effect]``; the others are 0."""
        ff = self.ff * kept.unsqueeze(-1) * kept.unsqueeze(-2) + torch.diag_embed(1 - kept)
        return self._replace(ff=ff, fx=self.fx * kept.T)

    def combined(self, columns: Tensor) -> Self:
        """Of effects that are combinations ``columns [effect, combination]`` of these."""
        return self._replace(ff=columns.T @ self.ff @ columns, fx=columns.T @ self.fx)

    def profile(self) -> tuple[Tensor, Tensor, Tensor]:
        """Best beta ``[*, effect, region]``, variance and log-likelihood ``[*, region]``."""
        beta = torch.linalg.solve(_with_ridge(self.ff), self.fx.mT.unsqueeze(-1)).squeeze(-1).mT
        variance = ((self.xx - (self.fx * beta).sum(-2)) / self.visits).clamp_min(LEAST_VARIANCE)
        log_lik = -0.5 * (self.visits * (variance.log() + 1 + LOG_2PI) + self.det.log().sum(-2))
        return beta, variance, log_lik


class Sums(NamedTuple):
    """Sufficient statistics of the mixed model: per subject with Z = (1, t), and over all measured values.

    What only depends on which values were measured has 1 in place of ``region`` if no visit lacks a region.
    """

    n: Tensor  # [batch, region], as t and tt
    t: Tensor
    tt: Tensor
    zf: Tensor  # [batch, region, 2, effect]
    zx: Tensor  # [batch, 2, region]
    ff: Tensor  # [region, effect, effect]
    fx: Tensor  # [effect, region]
    xx: Tensor  # [region]
    visits: Tensor  # [region]
    kept: Tensor  # [region, effect]: 1 for an effect that the region has, else 0

    @classmethod
    def of(cls, data: VisitValues, model: MixedModelInnovation, rows: list[int]) -> Sums:
        """With the effects of ``model`` that are ``rows`` of its beta."""
        m = data.mask.unsqueeze(-1).to(data.x.dtype)
        f = effects(model, data.context, data.context[:, 0, model.trends])[..., rows] * m
        return cls.of_effects(data, f, kept_effects(model, data, rows))

    @classmethod
    def of_effects(cls, data: VisitValues, f: Tensor, kept: Tensor) -> Sums:
        """With the effects ``f [batch, time, effect]``, 0 at pads."""
        x, there, m, t = data.x, data.there, data.mask.unsqueeze(-1).to(data.x.dtype), data.context[..., :1]
        z, count = torch.cat([m, t * m], -1), f.shape[-1]
        pairs = (f.unsqueeze(-1) * f.unsqueeze(-2)).flatten(0, 1).flatten(1)
        return cls(
            there.sum(1), (there * t).sum(1), (there * t * t).sum(1),
            torch.einsum("btd,bti,btp->bdip", there, z, f), torch.einsum("bti,btd->bid", z, x),
            (there.flatten(0, 1).T @ pairs).unflatten(1, (count, count)), torch.einsum("btp,btd->pd", f, x),
            (x * x).sum((0, 1)), there.sum((0, 1)), kept,
        )  # fmt: skip

    def of_regions(self, some: Tensor) -> Sums:
        """Of some regions."""

        def pick(v: Tensor, axis: int) -> Tensor:
            return v if v.shape[axis] == 1 else v.index_select(axis, some)

        return Sums(
            pick(self.n, 1), pick(self.t, 1), pick(self.tt, 1), pick(self.zf, 1), self.zx[..., some],
            pick(self.ff, 0), self.fx[:, some], self.xx[some], pick(self.visits, 0), pick(self.kept, 0),
        )  # fmt: skip

    def combined(self, columns: Tensor) -> Sums:
        """The sums of effects that are combinations ``columns [effect, combination]`` of these; all are kept."""
        return self._replace(
            zf=self.zf @ columns, ff=columns.T @ self.ff @ columns, fx=columns.T @ self.fx,
            kept=self.kept.new_ones(len(self.kept), columns.shape[1]),
        )  # fmt: skip

    def profile(self, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Best beta ``[effect, region]``, sigma and log-likelihood ``[region]`` for a factor of g ``[3, region]``.

        The factor may have other axes first; then all have them.
        """
        beta, variance, log_lik, *_ = self._profile(factor)
        return beta, variance.sqrt(), log_lik

    def slope(self, factor: Tensor, precision: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The log-likelihood ``[*, region]`` and its gradient ``[*, 3, region]`` by the factor of g.

        Beta and sigma are at their best, so only what depends on g itself changes to first order. With the residuals r
        of beta, ``u = Z' r``, ``v = u - S C u`` and S and C as in `MixedModelInnovation`,

            dl = sum over subjects of tr((v v' / sigma^2 - (S - S C S)) dg) / 2.

        With a ``precision [region, effect]`` it is the likelihood integrated over beta (`shrunk`), and ``v v'`` is the
        mean over beta given the values.
        """
        equations, (c00, c01, c11) = self.normal_equations(factor)
        covariance = None
        if precision is None:
            beta, variance, log_lik = equations.profile()
        else:
            beta, variance, log_lik, covariance = self.integrated(equations, precision)
        n, t, tt = self.n, self.t, self.tt
        effect = "bip,...pd->...bid" if self.zf.shape[1] == 1 else "bdip,...pd->...bid"
        u0, u1 = (self.zx - torch.einsum(effect, self.zf[:, 0] if self.zf.shape[1] == 1 else self.zf, beta)).unbind(-2)
        w0, w1 = c00 * u0 + c01 * u1, c01 * u0 + c11 * u1
        v0, v1 = u0 - n * w0 - t * w1, u1 - t * w0 - tt * w1
        certain = torch.where(variance > LEAST_VARIANCE, 1 / variance, 0.0)
        w00, w01, w11 = ((a * b).sum(-2) * certain for a, b in ((v0, v0), (v0, v1), (v1, v1)))
        if covariance is not None:
            m00, m01, m11 = self._unknown(covariance)
            k00, k01, k10, k11 = 1 - n * c00 - t * c01, -n * c01 - t * c11, -t * c00 - tt * c01, 1 - t * c01 - tt * c11
            w00 = w00 + (k00 * k00 * m00 + 2 * k00 * k01 * m01 + k01 * k01 * m11).sum(-2)
            w01 = w01 + (k00 * k10 * m00 + (k00 * k11 + k01 * k10) * m01 + k01 * k11 * m11).sum(-2)
            w11 = w11 + (k10 * k10 * m00 + 2 * k10 * k11 * m01 + k11 * k11 * m11).sum(-2)
        s00 = n - n * n * c00 - 2 * n * t * c01 - t * t * c11
        s01 = t - n * t * c00 - (n * tt + t * t) * c01 - t * tt * c11
        s11 = tt - t * t * c00 - 2 * t * tt * c01 - tt * tt * c11
        by_g00, by_g01, by_g11 = w00 - s00.sum(-2), 2 * (w01 - s01.sum(-2)), w11 - s11.sum(-2)
        l11, l21, l22 = factor.unbind(-2)
        by_factor = (l11 * by_g00 + 0.5 * l21 * by_g01, 0.5 * l11 * by_g01 + l21 * by_g11, l22 * by_g11)
        return log_lik, torch.stack(by_factor, -2)

    def shrunk(
        self, factor: Tensor, precision: Tensor, weight: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `profile` with beta ~ N(0, sigma^2 / ``precision``), integrated over beta; 0 shrinks nothing.

        ``precision`` is ``[effect]`` or ``[region, effect]``.

        Also the covariance of beta given the values, ``[region, effect, effect]`` in units of sigma^2. An effect that
        is not shrunk costs a degree of freedom of sigma (restricted maximum likelihood). ``weight`` is that of each
        subject.
        """
        beta, variance, log_lik, covariance = self.integrated(self.normal_equations(factor)[0], precision, weight)
        return beta, variance.sqrt(), log_lik, covariance

    def uncertainty(self, covariance: Tensor) -> Tensor:
        """What beta with a ``covariance [region, effect, effect]`` leaves unknown of a line, ``[2, 2, region]``.

        A new subject's level and slope differ from those that the effects predict by that, beyond its random effects.
        It is the mean over subjects, weighted by how well their visits determine a line, in the unit of the covariance.
        """
        n, t, tt, (m00, m01, m11) = self.n, self.t, self.tt, self._unknown(covariance)
        weight = (n * tt - t * t).square().sum(0)
        entries = (
            (tt * tt * m00 - 2 * tt * t * m01 + t * t * m11).sum(0) / weight,
            ((tt * n + t * t) * m01 - tt * t * m00 - t * n * m11).sum(0) / weight,
            (t * t * m00 - 2 * t * n * m01 + n * n * m11).sum(0) / weight,
        )
        of_levels = m00.sum(0) / n.square().sum(0).clamp_min(1)  # if nobody has two visits
        level, both, slope = (
            torch.where(weight > SAME_TIME, entry, other)
            for entry, other in zip(entries, (of_levels, torch.zeros(()), torch.zeros(())), strict=True)
        )
        return torch.stack([torch.stack([level, both]), torch.stack([both, slope])])

    def _unknown(self, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Entries of ``Z' F V F' Z`` of every subject for a covariance V of beta, ``[*, batch, region]``."""
        if self.zf.shape[1] == 1:
            m = torch.einsum("bip,...dpq,bjq->...bdij", self.zf[:, 0], covariance, self.zf[:, 0])
        else:
            m = torch.einsum("bdip,...dpq,bdjq->...bdij", self.zf, covariance, self.zf)
        return m[..., 0, 0], m[..., 0, 1], m[..., 1, 1]

    def integrated(
        self, equations: NormalEquations, precision: Tensor, weight: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `shrunk` of the `normal_equations` of a factor, but the variance in place of sigma."""
        a, b, y, det, _ = equations
        a, b, y = weight * a, weight * b, weight * y
        a = _with_ridge(a) + precision.diag_embed()
        beta = torch.linalg.solve(a, b.mT.unsqueeze(-1)).squeeze(-1).mT
        degrees = (weight * self.visits - (self.kept * (precision == 0)).sum(-1)).clamp_min(1.0)
        variance = ((y - (b * beta).sum(-2)) / degrees).clamp_min(LEAST_VARIANCE)
        prior = precision.clamp_min(1e-300).log().where(precision > 0, torch.zeros_like(precision)).sum(-1)
        spread = weight * det.log().sum(-2) + torch.logdet(a) - prior
        log_lik = -0.5 * (degrees * (variance.log() + 1 + LOG_2PI) + spread)
        return beta, variance, log_lik, torch.linalg.inv(a) * self.kept.unsqueeze(-1) * self.kept.unsqueeze(-2)

    def _profile(self, factor: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Beta, variance and log-likelihood, and the entries of C ``[*, batch, region]``."""
        equations, c = self.normal_equations(factor)
        beta, variance, log_lik = equations.profile()
        return beta, variance, log_lik, c

    def normal_equations(self, factor: Tensor) -> tuple[NormalEquations, tuple[Tensor, Tensor, Tensor]]:
        """Those of the effects that are kept, and the entries of C ``[*, batch, region]``."""
        c00, c01, c11, det = posterior(factor.movedim(-2, 0).unsqueeze(-2), self.n, self.t, self.tt)
        x0, x1 = self.zx.unbind(-2)
        c_zx = torch.stack([c00 * x0 + c01 * x1, c01 * x0 + c11 * x1], -2)  # [*, batch, 2, region]
        c = torch.stack([c00, c01, c01, c11], -1).unflatten(-1, (2, 2))
        if self.zf.shape[1] == 1:
            shared = self.zf[:, 0]
            pairs = (shared.unsqueeze(2).unsqueeze(-1) * shared.unsqueeze(1).unsqueeze(-2)).flatten(3)
            explained = torch.einsum("...bdij,bijk->...dk", c, pairs).unflatten(-1, shared.shape[-1:] * 2)
            b = self.fx - torch.einsum("bip,...bid->...pd", shared, c_zx)
        else:
            explained = torch.einsum("...bdij,bdiq,bdjp->...dpq", c, self.zf, self.zf)
            b = self.fx - torch.einsum("bdip,...bid->...pd", self.zf, c_zx)
        found = NormalEquations(self.ff - explained, b, self.xx - (self.zx * c_zx).sum((-3, -2)), det, self.visits)
        return found.keeping(self.kept), (c00, c01, c11)

    def criterion(self, factor: Tensor) -> float:
        """Log-likelihood of all regions less the penalty of the Bayesian information criterion."""
        beta, _, log_lik = self.profile(factor)
        penalty = self.kept.sum(-1) * self.visits.clamp_min(1).log()
        return float(log_lik.sum()) - 0.5 * float(penalty.expand(beta.shape[1]).sum())


def _with_ridge(a: Tensor) -> Tensor:
    """Constant or collinear covariates leave directions without information: those get no effect."""
    return a + 1e-9 * a.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * torch.eye(a.shape[-1], dtype=a.dtype)
