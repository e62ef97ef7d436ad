"""The posterior of a subject's unknown site effects given its past visits, under the mixed model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from crow.bijections.innovation import MixedModelInnovation, posterior
from crow.data.sequences import Sequences

SEED = 0
EDGE = 1e-6  # of the unit interval, whose ends are no normal quantile


class UnknownEffects(NamedTuple):
    """Standardised effects u ~ N(0, 1) given the visits before each time, ``[batch, time + 1, region, unknown]``.

    ``root`` is an upper triangular square root of the covariance: ``u = mean + root e`` with e ~ N(0, I).
    """

    mean: Tensor
    root: Tensor

    @classmethod
    def given(
        cls, mixed: MixedModelInnovation, data: Sequences | None, weight: Tensor, context: Tensor | None
    ) -> UnknownEffects:
        """Of visits with ``x = mixed model + sum_u weight_u u``, ``weight [batch, time, unknown, region]``.

        The innovations e of the mixed model are linear in x, so ``e_t = N(0, 1) + sum_u w_tu u`` with the innovations w
        of the weights, and the precision of u is ``I + sum_t w_t w_t'``. Regions count one by one.
        """
        unknown = weight.shape[2]
        weight = weight.double().movedim(2, 3)  # [batch, time, region, unknown]
        eye = torch.eye(unknown, dtype=weight.dtype)
        if data is None:
            prior = eye.expand(len(weight), 1, weight.shape[2], -1, -1)
            return cls(prior.new_zeros(prior.shape[:-1]), prior)
        assert context is not None
        there = data.values().double()
        t = context[..., :1].double()
        n, s, ss = (v.cumsum(1) - v for v in (there, there * t, there * t * t))
        c00, c01, c11, _ = posterior(mixed.factor.double(), n, s, ss)
        prediction, _ = mixed.predict(data.x, context, None, data.values())
        sd = prediction.sd.double()
        e = there * (data.x.double() - prediction.mean.double()) / sd
        w = there.unsqueeze(-1) * weight
        u0, u1 = (v.cumsum(1) - v for v in (w, t.unsqueeze(-1) * w))
        late = t.unsqueeze(-1)
        c00, c01, c11 = (entry.unsqueeze(-1) for entry in (c00, c01, c11))
        w = there.unsqueeze(-1) * (w - c00 * u0 - c01 * (u1 + late * u0) - c11 * late * u1) / sd.unsqueeze(-1)
        precision = eye + _sums(w.unsqueeze(-1) * w.unsqueeze(-2))
        factor = torch.linalg.cholesky(precision)
        right = _sums(w * e.unsqueeze(-1)).unsqueeze(-1)
        root = torch.linalg.solve_triangular(factor.mT, eye.expand_as(factor), upper=True)
        return cls(torch.cholesky_solve(right, factor).squeeze(-1), root)

    def rows(self, rows: Tensor | slice) -> UnknownEffects:
        """Some subjects."""
        return UnknownEffects(self.mean[rows], self.root[rows])

    def shifts(self, weight: Tensor, t: int | None, points: int) -> Tensor:
        """What the effects add to x at visits with ``weight``, ``[batch, point, time, region]``.

        At ``points`` quasi-random values of the effects given the visits before column ``t``, or given all of them.
        """
        k = self.mean.shape[1] - 1 if t is None else t
        e = normal_points(points, self.mean.shape[2], self.mean.shape[3])
        u = self.mean[:, None, k] + torch.einsum("bduv,pdv->bpdu", self.root[:, k], e)
        return torch.einsum("btud,bpdu->bptd", weight.double(), u).to(weight.dtype)


def normal_points(points: int, *shape: int) -> Tensor:
    """Quasi-random ``[point, *shape]`` with mean 0 and variance 1 in every direction, always the same."""
    size = int(torch.tensor(shape).prod())
    half = (points + 1) // 2
    if points == 1:
        return torch.zeros(1, *shape, dtype=torch.double)
    uniform = SobolEngine(size, scramble=True, seed=SEED).draw(half, dtype=torch.double)
    e = torch.special.ndtri(uniform.clamp(EDGE, 1 - EDGE))
    e = torch.cat([e, -e])[:points]
    e = e - e.mean(0)
    return (e / e.square().mean(0).sqrt()).view(points, *shape)


def _sums(v: Tensor) -> Tensor:
    """Sums over the visits before each visit, and over all of them: ``[batch, time + 1, ...]``."""
    return torch.cat([torch.zeros_like(v[:, :1]), v.cumsum(1)], 1)
