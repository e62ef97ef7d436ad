"""The likeliest bend of a covariate, with the spread and the correlations of a mixed model as they are."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from crow.bijections.innovation import KNOTS, MixedModelInnovation, effects, posterior
from crow.bijections.innovation_sums import Sums, VisitValues, kept_effects
from crow.bijections.patterns import apply_each, only
from crow.optimisers import LBFGS


@torch.no_grad()
def likeliest_bend(model: MixedModelInnovation, row: int, data: VisitValues, rows: list[int]) -> Tensor:
    """``[knot]`` of the channel that is number ``row`` of the design; ``rows`` of beta are the effects that there are.

    Beta and sigma are profiled out. Effects are linear in the bend, so sums over visits are computed once.
    """
    assert not model.loadings.shape[-1]  # effects that regions share are no part of the residuals here
    plain, slopes = _linear(model, row, data, rows)
    touched = slopes.flatten(0, 2).any(0).nonzero()[:, 0]  # effects that the bend changes
    f = torch.cat([plain, slopes[..., touched].flatten(2)], -1)
    kept = kept_effects(model, data, rows)
    sums, _ = Sums.of_effects(data, f, f.new_ones(len(kept), f.shape[-1])).normal_equations(model.factor)
    residuals = Residuals.of(model, data)
    # F(bend) = f columns(bend), where the rows are plain effects, then those of each knot.
    parts = torch.zeros(KNOTS, f.shape[-1], len(rows), dtype=f.dtype)
    for k in range(KNOTS):
        parts[k, len(rows) + k * len(touched) + torch.arange(len(touched)), touched] = 1
    same = torch.eye(f.shape[-1], len(rows), dtype=f.dtype)
    with torch.enable_grad():
        own = torch.zeros(KNOTS, dtype=f.dtype, requires_grad=True)
        search = LBFGS([own], max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            columns = same + torch.einsum("k,kfp->fp", own, parts)
            beta, variance, _ = sums.combined(columns).keeping(kept).profile()
            value = 0.5 * own.square().sum() - residuals.log_prob(f @ (columns @ beta), variance.sqrt())
            value.backward()
            return value

        search.step(loss)
    return own.detach()


def _linear(
    model: MixedModelInnovation, row: int, data: VisitValues, rows: list[int]
) -> tuple[Tensor, Tensor]:
    """Effects without the bend ``[batch, time, effect]``, and what each knot adds ``[batch, time, knot, effect]``."""
    before, each, m = model.bend, [], data.mask.unsqueeze(-1)
    for own in (torch.zeros(1, KNOTS), *torch.eye(KNOTS).unsqueeze(1)):
        model.bend = before.index_copy(0, torch.tensor([row]), own.to(before))
        each.append(effects(model, data.context, data.context[:, 0, model.trends])[..., rows] * m)
    model.bend = before
    return each[0], torch.stack(each[1:], 2) - each[0].unsqueeze(2)


class Residuals(NamedTuple):
    """Of every visit given those before it: ``e = r - k0 sum r - k1 sum t r`` of ``r = x - fixed``, and its density."""

    data: VisitValues
    k0: Tensor
    k1: Tensor
    sd: Tensor  # in units of sigma
    inverse: Tensor  # of the Cholesky factor of each pattern
    pattern: Tensor

    @classmethod
    def of(cls, model: MixedModelInnovation, data: VisitValues) -> Self:
        t = data.context[..., :1]
        n, s, ss = (v.cumsum(1) - v for v in (data.there, data.there * t, data.there * t * t))
        c00, c01, c11, _ = posterior(model.factor, n, s, ss)
        k0, k1 = c00 + c01 * t, c01 + c11 * t
        factors, pattern = model.factors(n < 1, data.measured)
        eye = torch.eye(data.x.shape[2], dtype=factors.dtype).expand_as(factors)
        inverse = torch.linalg.solve_triangular(factors, eye, upper=False)
        return cls(data, k0, k1, (1 + k0 + k1 * t).sqrt(), inverse, pattern)

    def log_prob(self, fixed: Tensor, sigma: Tensor) -> Tensor:
        """Of all visits, up to a constant; ``fixed [batch, time, region]``, ``sigma [region]``."""
        r = only(self.data.measured, self.data.x - fixed) * self.data.mask.unsqueeze(-1)
        tr = self.data.context[..., :1] * r
        e = r - self.k0 * (r.cumsum(1) - r) - self.k1 * (tr.cumsum(1) - tr)
        e = self.data.there * e / (sigma * self.sd)
        return -0.5 * apply_each(self.inverse, self.pattern, e).square().sum() - (
            self.data.there.sum((0, 1)) * sigma.log()
        ).sum()
