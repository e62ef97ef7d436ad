"""The likelihood of visits under a mixed model of subjects and the effects of sites, region by region."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crow.bijections.innovation import posterior
from crow.bijections.site_visits import SiteVisits
from crow.optimisers import LBFGS

STEPS = 60  # of L-BFGS
MOST_UNKNOWNS = 80  # up to which the curvature is that of all parameters together
PARAMETERS = ("level", "log_scale", "beta", "log_sigma", "factor")
C = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class SiteModel:
    """``x = (y - level) / exp(log_scale) = f' beta + Z' b + eps``; for shapes and letters see `MixedModelInnovation`.

    ``level`` and ``log_scale [level, region]`` are summed over the factors of a visit; ``f [batch, time, effect]`` are
    the fixed effects with their ``beta``, and ``t [batch, time, 1]`` is time.
    """

    level: Tensor
    log_scale: Tensor
    beta: Tensor
    log_sigma: Tensor
    factor: Tensor
    f: Tensor
    t: Tensor

    def log_prob(self, visits: SiteVisits) -> Tensor:
        """Log-density of each region's y, ``[region]``, up to a constant."""
        there, scale = visits.there, visits.scales(self.log_scale)
        r = self._residual(visits)
        c, det = self._posterior(visits)
        fit = (r * _whitened(r, self.t, c)).sum((0, 1)) * torch.exp(-2 * self.log_sigma)
        return -(0.5 * fit + 0.5 * det.log().sum(0) + (there * (scale + self.log_sigma)).sum((0, 1)))

    def likeliest(self, visits: SiteVisits, scale_prior: Tensor, level_prior: Tensor, known: bool = False) -> SiteModel:
        """At the mode, with variances of the effects ``[level, region]``; with ``known`` only these are unknown.

        A region without random slopes stays without.
        """
        names = PARAMETERS[:2] if known else PARAMETERS
        with torch.enable_grad():
            own = {name: getattr(self, name).contiguous().clone().requires_grad_() for name in names}
            if not known:
                own["factor"].register_hook(lambda gradient: gradient * (self.factor != 0))
            search = LBFGS([*own.values()], max_iter=STEPS, line_search_fn="strong_wolfe")

            def loss() -> Tensor:
                search.zero_grad()
                value = -replace(self, **own)._log_posterior(visits, scale_prior, level_prior).sum()
                value.backward()
                return value

            search.step(loss)
        return replace(self, **{name: tensor.detach() for name, tensor in own.items()})

    def scale_covariance(self, visits: SiteVisits, scale_prior: Tensor, level_prior: Tensor) -> Tensor:
        """Posterior covariance of the log-scales ``[region, level, level]``, by the curvature at the mode.

        With few unknowns that of all of them; with many levels, each says little about the variances of all sites, and
        its own curvature is enough.
        """
        count = [len(getattr(self, name)) if name != "log_sigma" else 1 for name in PARAMETERS]
        if sum(count) > MOST_UNKNOWNS:
            return torch.diag_embed(1 / (self.curvature(visits)[0] + 1 / scale_prior).T)
        with torch.enable_grad():
            whole = torch.cat([getattr(self, name).view(n, -1) for name, n in zip(PARAMETERS, count, strict=True)])
            whole = whole.detach().requires_grad_()
            parts = dict(zip(PARAMETERS, whole.split(count), strict=True))
            model = replace(self, **parts | {"log_sigma": parts["log_sigma"][0]})
            value = -model._log_posterior(visits, scale_prior, level_prior).sum()
            (gradient,) = torch.autograd.grad(value, whole, create_graph=True)
            rows = [torch.autograd.grad(row.sum(), whole, retain_graph=True)[0] for row in gradient]
        hessian = torch.stack(rows).permute(2, 0, 1)  # regions are independent: [region, unknown, unknown]
        fixed = torch.cat([torch.zeros(sum(count[:4]), len(self.log_sigma), dtype=torch.bool), self.factor == 0]).T
        keep = ~(fixed.unsqueeze(-1) | fixed.unsqueeze(-2))
        hessian = hessian * keep + torch.diag_embed(fixed.double())
        size, basis = torch.linalg.eigh((hessian + hessian.mT) / 2)
        covariance = (basis / size.clamp_min(1e-6 * size[:, -1:]).unsqueeze(-2)) @ basis.mT
        of_scale = slice(count[0], count[0] + count[1])
        return covariance[:, of_scale, of_scale]

    def curvature(self, visits: SiteVisits) -> tuple[Tensor, Tensor]:
        """Curvature of `log_prob` in each level's log-scale alone, ``[level, region]``, in two ways.

        Minus its second derivative, and the sum over subjects of the squares of its first. The two are equal for data
        of this model. The second is larger for values with heavier tails, and the estimates are as much less certain
        (White 1982).
        """
        variance, levels, subjects = torch.exp(2 * self.log_sigma), visits.levels, len(visits.y)
        x = visits.adjusted(self.level, self.log_scale)
        c, _ = self._posterior(visits)
        product = x * _whitened(self._residual(visits), self.t, c) / variance
        total, count, squares = x.new_zeros(3, levels + 1, x.shape[2])
        for k in range(visits.codes.shape[2]):
            code = visits.codes[..., k]
            count.index_add_(0, code.flatten(), visits.there.flatten(0, 1))
            total.index_add_(0, code.flatten(), (product + x.square() / variance).flatten(0, 1))
            pair = torch.arange(subjects).unsqueeze(1) * (levels + 1) + code
            each, index = torch.unique(pair, return_inverse=True)
            level = each % (levels + 1)
            terms = torch.stack([x, self.t * x, product - visits.there]).flatten(1, 2)
            s0, s1, score = x.new_zeros(3, len(each), x.shape[2]).index_add_(1, index.flatten(), terms)
            c00, c01, c11 = (entry.expand(subjects, -1)[each // (levels + 1)] for entry in c)
            both = c00 * s0.square() + 2 * c01 * s0 * s1 + c11 * s1.square()
            total.index_add_(0, level, -both / variance)
            squares.index_add_(0, level, score.square())
        return torch.maximum(total, 0.5 * count)[:levels], squares[:levels]

    def excess(self, visits: SiteVisits) -> Tensor:
        """By how much the variance of the log-scales is larger than that of normal data, ``[region]``; at least 1."""
        second, first = self.curvature(visits)
        return (first.sum(0) / second.sum(0)).clamp_min(1.0)

    def equations(self, visits: SiteVisits, eliminate: bool) -> tuple[Tensor, Tensor]:
        """Of the levels given the variances: ``[region, level, level]`` and ``[region, level]``.

        In units of the residual variance. Subjects' effects are eliminated: of columns F = (f, W) there remains ``F'F -
        F'Z C Z'F``. So are those of f, or else beta is as it is.
        """
        weight = torch.exp(-visits.scales(self.log_scale))
        x, f = visits.y * weight, self.f
        if not eliminate:
            x, f = x - f @ self.beta, f[..., :0]
        z = torch.cat([torch.ones_like(self.t), self.t], -1)
        c, _ = self._posterior(visits)
        systems = []
        for d in range(x.shape[2]):
            there, own = visits.there[..., d], weight[..., d] * visits.there[..., d]
            root = _root(*(entry[:, d] for entry in c))
            incidence = _incidence(visits, own, z)
            moved = torch.cat([torch.einsum("bti,bte,bt->bie", z, f, there), incidence], -1)
            moved = torch.einsum("bij,bje->bie", root, moved).flatten(0, 1)
            target = torch.einsum("bij,bti,bt->bj", root.mT, z, x[..., d] * there).flatten()
            inner = (f * there.unsqueeze(-1)).flatten(0, 1)
            cross, squares, sums = _products(visits, own.flatten(), inner, x[..., d].flatten())
            gram = torch.cat([torch.cat([f.flatten(0, 1).T @ inner, cross.T], 1), torch.cat([cross, squares], 1)])
            right = torch.cat([inner.T @ x[..., d].flatten(), sums]) - moved.T @ target
            systems.append(_eliminated(gram - moved.T @ moved, right, f.shape[-1]))
        lefts, rights = zip(*systems, strict=True)
        return torch.stack(lefts), torch.stack(rights)

    def _log_posterior(self, visits: SiteVisits, scale_prior: Tensor, level_prior: Tensor) -> Tensor:
        prior = (self.log_scale.square() / scale_prior + self.level.square() / level_prior).sum(0)
        return self.log_prob(visits) - 0.5 * prior

    def _residual(self, visits: SiteVisits) -> Tensor:
        return visits.adjusted(self.level, self.log_scale) - visits.there * (self.f @ self.beta)

    def _posterior(self, visits: SiteVisits) -> tuple[C, Tensor]:
        n, t, tt = visits.there.sum(1), (visits.there * self.t).sum(1), (visits.there * self.t.square()).sum(1)
        c00, c01, c11, det = posterior(self.factor, n, t, tt)
        return (c00, c01, c11), det


def _root(c00: Tensor, c01: Tensor, c11: Tensor) -> Tensor:
    """U with ``U'U = C``, ``[batch, 2, 2]``."""
    u00 = c00.clamp_min(0).sqrt()
    u01 = torch.where(u00 > 0, c01 / u00.clamp_min(1e-150), 0.0)
    u11 = (c11 - u01.square()).clamp_min(0).sqrt()
    return torch.stack([torch.stack([u00, u01], -1), torch.stack([torch.zeros_like(u00), u11], -1)], -2)


def _incidence(visits: SiteVisits, weight: Tensor, z: Tensor) -> Tensor:
    """``Z'W [batch, 2, level]`` with the weighted indicators W of each visit's levels."""
    found = z.new_zeros(len(z), visits.levels + 1, 2)
    for k in range(visits.codes.shape[2]):
        index = visits.codes[..., k].unsqueeze(-1).expand(-1, -1, 2)
        found.scatter_add_(1, index, z * weight.unsqueeze(-1))
    return found[:, :-1].mT


def _products(visits: SiteVisits, weight: Tensor, inner: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``W'f [level, effect]``, ``W'W [level, level]`` and ``W'x [level]``."""
    codes, rows = visits.codes.flatten(0, 1), visits.levels + 1
    cross = inner.new_zeros(rows, inner.shape[1])
    sums, squares = x.new_zeros(rows), x.new_zeros(rows * rows)
    for k in range(codes.shape[1]):
        cross.index_add_(0, codes[:, k], inner * weight.unsqueeze(-1))
        sums.index_add_(0, codes[:, k], weight * x)
        for other in range(codes.shape[1]):
            squares.index_add_(0, codes[:, k] * rows + codes[:, other], weight.square())
    return cross[:-1], squares.view(rows, rows)[:-1, :-1], sums[:-1]


def _eliminated(left: Tensor, right: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The equations without the first ``count`` unknowns, which have a flat prior; collinear ones get no effect."""
    if not count:
        return left, right
    a, b = left[:count, :count], left[:count, count:]
    ridge = 1e-9 * a.diagonal().mean() * torch.eye(count, dtype=a.dtype)
    solved = torch.linalg.solve(a + ridge, torch.cat([b, right[:count, None]], 1))
    return left[count:, count:] - b.T @ solved[:, :-1], right[count:] - b.T @ solved[:, -1]


def _whitened(r: Tensor, t: Tensor, c: C) -> Tensor:
    """``(I + Z g Z')^-1 r`` over the measured values of a subject, where r is not 0."""
    u0, u1 = r.sum(1), (t * r).sum(1)
    c00, c01, c11 = c
    return r - (c00 * u0 + c01 * u1).unsqueeze(1) - t * (c01 * u0 + c11 * u1).unsqueeze(1)
