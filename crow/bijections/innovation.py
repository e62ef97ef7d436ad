"""The innovations of a linear mixed model: where the likelihood flow starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from crow.bijections.base import RecurrentBijection
from crow.bijections.patterns import apply_each, only, patterns
from crow.bijections.shared_effects import Evidence, expected, most_factors
from crow.networks.packing import Packing

KNOTS = 3


class Moments(NamedTuple):
    """What a subject's past leaves, ``[batch, region]``: sums of 1, t, t^2, r and t r over a region's measured values.

    The first three are ``[batch, 1]`` while nothing is missing.
    ``baseline [batch, trend]`` is the context of the first visit, where it has a fixed effect on the slope.
    """

    n: Tensor
    t: Tensor
    tt: Tensor
    r: Tensor
    tr: Tensor
    baseline: Tensor


class Prediction(NamedTuple):
    """Of every visit given those before it, ``[batch, time, region]``: mean, sd, and whether a region is new."""

    mean: Tensor
    sd: Tensor
    new: Tensor


class MixedModelInnovation(RecurrentBijection):
    """Maps each visit to its innovation under a linear mixed model, ``z_t = L^-1 (x_t - mu_t) / sd_t``.

    Per region, ``x_t = f_t' beta + b0 + b1 t + eps`` with ``b ~ N(0, G)`` and ``eps ~ N(0, sigma^2)``; ``mu_t`` and
    ``sd_t`` are the prediction of visit t from the values measured before it. With ``Z_t = (1, t)``, ``g = G /
    sigma^2`` and the past's ``S = sum Z Z'`` and ``u = sum Z r`` the Kalman recursion has a closed form (Laird & Ware
    1982, 3.2)

        C = (I + g S)^-1 g,   mu_t = f_t' beta + Z_t' C u,   sd_t^2 = sigma^2 (1 + Z_t' C Z_t),

    so cumulative sums replace the loop over time. This is of one region from its own past. ``loadings`` correlate the
    effects b of all regions by a few factors, so that a region that was seldom measured borrows from the others
    (`crow.bijections.shared_effects.expected`; residuals of the past count as independent between regions there, and 0
    is the formula above). ``L`` is the Cholesky factor of the correlation of the standardised
    innovations across regions. Its rows are those of one factor for regions that have not been measured before, whose
    spread is that between subjects, and of another for all others. Of a visit that lacks regions, ``L`` is the Cholesky
    factor of the block of ``L L'`` that was measured: the marginal of the complete visit given the same past. A missing
    value is 0 in x and in z and has no part in the log-determinant.

    The context's channel 0 is time since the first visit (in units of ``time_scale`` years, as the caller chose);
    ``f`` holds an intercept, the channels ``design``, the products of time with what the channels ``trends`` were at
    the first visit (with what they are now, a covariate that changes would move all the years before it, too), and
    what they were then: where a subject changes as two subjects differ, regions need not (Mundlak 1978).
    A channel c of ``design`` counts as ``c + sum_k bend_k max(c - knot_k, 0)``, the same for all regions: a clinical
    score whose effect per unit decreases (or increases) with its value is bent before it has its effects.

    Parameters
    ----------
    features : int
        Number of regions.
    design : sequence of int
        Context channels with a fixed effect.
    trends : sequence of int
        Channels of ``design`` whose value at the first visit has a fixed effect on the slope, and one on the level.

    Raises
    ------
    ValueError
        If a channel of ``trends`` is not in ``design``.

    References
    ----------
    Laird & Ware 1982, equation 3.2; Mundlak 1978.

    Examples
    --------
    >>> import torch
    >>> model = MixedModelInnovation(features=3, design=[0])
    >>> x, time = torch.randn(5, 4, 3), torch.arange(4.0).expand(5, 4).unsqueeze(-1)
    >>> z, log_det, past = model(x, time)
    >>> torch.allclose(model.inverse(z, time)[0], x, atol=1e-5), log_det.shape
    (True, torch.Size([5, 4]))
    """

    knots: Tensor
    bend: Tensor
    loadings: Tensor

    def __init__(self, features: int, design: Sequence[int], trends: Sequence[int] = ()) -> None:
        super().__init__()
        self.design, self.trends = list(design), list(trends)
        if extra := set(self.trends) - set(self.design):
            raise ValueError(f"MixedModelInnovation: trends {sorted(extra)} are not in the design {self.design}")
        self.register_buffer("knots", torch.zeros(len(self.design), KNOTS))
        self.register_buffer("bend", torch.zeros(len(self.design), KNOTS))
        self.beta = nn.Parameter(torch.zeros(1 + len(self.design) + 2 * len(self.trends), features))
        self.log_sigma = nn.Parameter(torch.zeros(features))
        self.factor = nn.Parameter(torch.zeros(3, features))  # rows l11, l21, l22 of the Cholesky factor of g
        self.register_buffer("loadings", torch.zeros(2, features, most_factors(features)))
        self.correlation = nn.Parameter(torch.eye(features).repeat(2, 1, 1))  # Cholesky: new regions, all others

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        state: Moments | None = None,
        measured: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Moments]:
        prediction, state = self.predict(x, context, state, measured)
        return *self.whiten(x, prediction, measured), state

    def inverse(
        self,
        z: Tensor,
        context: Tensor | None = None,
        state: Moments | None = None,
        measured: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Moments]:
        xs, log_dets = [], []
        for t in range(z.shape[1]):
            visit, c = slice(t, t + 1), _channels(context)[:, t : t + 1]
            there = None if measured is None else measured[:, visit]
            state = state or self._start(z, c)
            prediction, _ = self.predict(torch.zeros_like(z[:, visit]), c, state)
            x, log_det = self.colour(z[:, visit], prediction, there)
            state = self.predict(x, c, state, there)[1]
            xs.append(x)
            log_dets.append(log_det)
        assert state is not None
        return torch.cat(xs, 1), torch.cat(log_dets, 1), state

    def predict(
        self,
        x: Tensor,
        context: Tensor | None,
        state: Moments | None = None,
        measured: Tensor | None = None,
        some: Tensor | None = None,
    ) -> tuple[Prediction, Moments]:
        """The prediction of every visit from the values measured before it, and the sums after the last.

        With ``some`` only of these visits, places among batch x time: ``[visit, region]``.
        """
        context = _channels(context)
        t = context[..., :1]
        state = state or self._start(x, context)
        fixed = effects(self, context, state.baseline) @ self.beta
        r = only(measured, x - fixed)
        one = torch.ones_like(t) if measured is None else measured.to(x.dtype)
        terms = (one, one * t, one * t * t, r, t * r)
        sums = [before.unsqueeze(1) + _sum_before(v) for before, v in zip(state[:5], terms, strict=True)]
        fixed, t, n, *others = (rows(v, some) for v in (fixed, t, *sums))
        deviation, variance = self._line(t, n, *others)
        sd = self.log_sigma.exp() * (1 + variance).sqrt()
        sums = [before + v.sum(1) for before, v in zip(state[:5], terms, strict=True)]
        return Prediction(fixed + deviation, sd, n < 1), Moments._make([*sums, state.baseline])

    def filtered(self, x: Tensor, context: Tensor, measured: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and sd ``[batch, time, region]`` of the level of every visit, given its values and those before it.

        The level is ``f_t' beta + b0 + b1 t``: the value without measurement error. With the sums S and u up to and
        with visit t, without loadings, its mean is ``f_t' beta + Z_t' C u`` and its variance ``sigma^2 Z_t' C Z_t``.
        """
        t = context[..., :1]
        fixed = effects(self, context, context[:, 0, self.trends]) @ self.beta
        r = only(measured, x - fixed)
        one = torch.ones_like(r) if measured is None else measured.to(x.dtype)
        n, s, ss, u0, u1 = (v.cumsum(1) for v in (one, one * t, one * t * t, r, t * r))
        deviation, variance = self._line(t, n, s, ss, u0, u1)
        return fixed + deviation, self.log_sigma.exp() * variance.clamp_min(0).sqrt()

    def share_of_change(self, t: Tensor, since: Tensor, past: Moments | None, sd: Tensor) -> Tensor:
        """Sd of ``b1 (t - since)`` as a share of that of a measurement at t, ``[batch, region]``.

        Both given the ``past``; ``sd [batch, region]`` is that of the measurement, which has an error of its own and an
        unknown level besides. t and since are ``[batch, 1]``.
        """
        sigma, (_, l21, l22) = self.log_sigma.exp(), self.factor
        none = torch.zeros_like(sigma * t)
        evidence = Evidence.of(self.factor, sigma, *(past[:5] if past else 5 * [none]))
        variance = expected(evidence, self.loadings, l21 * (t - since), l22 * (t - since))[1]
        return sigma * variance.clamp_min(0).sqrt() / sd

    def _line(self, t: Tensor, n: Tensor, s: Tensor, ss: Tensor, u0: Tensor, u1: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean of ``b0 + b1 t``, and its variance in units of sigma^2."""
        sigma, (l11, l21, l22) = self.log_sigma.exp(), self.factor
        evidence = Evidence.of(self.factor, sigma, n, s, ss, u0, u1)
        effect, variance = expected(evidence, self.loadings, l11 + l21 * t, l22 * t)
        return sigma * effect, variance

    def whiten(
        self, x: Tensor, prediction: Prediction, measured: Tensor | None = None, packing: Packing | None = None
    ) -> tuple[Tensor, Tensor]:
        """``z = L^-1 (x - mean) / sd`` and its log-determinant, both of the measured values."""
        e = only(measured, (x - prediction.mean) / prediction.sd)
        factors, visit = self.factors(prediction.new, measured, packing)
        eye = torch.eye(x.shape[2], dtype=x.dtype, device=x.device).expand_as(factors)
        inverse = torch.linalg.solve_triangular(factors, eye, upper=False)
        return apply_each(inverse, visit, e), self._log_det(prediction.sd, factors, visit, measured)

    def colour(self, z: Tensor, prediction: Prediction, measured: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The inverse of `whiten`: ``x = mean + sd L z``."""
        factors, visit = self.factors(prediction.new, measured)
        x = prediction.mean + prediction.sd * apply_each(factors, visit, z)
        return only(measured, x), -self._log_det(prediction.sd, factors, visit, measured)

    def factors(self, new: Tensor, measured: Tensor | None, packing: Packing | None = None) -> tuple[Tensor, Tensor]:
        """``L [pattern, region, region]`` of every pattern of new and measured regions, and each visit's pattern.

        The identity in the rows and columns of missing regions.
        """
        first, later = self.correlation.tril().unbind(-3)
        if packing is not None and measured is None:  # whole sequences: all regions are new at the first visit
            return torch.stack([later, first], -3), new[..., 0].long()
        new = new.expand(*new.shape[:-1], first.shape[-1])
        if measured is None:
            each, visit = patterns(new)
            return torch.where(each.unsqueeze(-1), first, later), visit
        there = torch.cat([new & measured, measured], -1)
        each, visit = (packing and packing.new_and_measured) or patterns(there)
        is_new, there = each.chunk(2, -1)
        rows = torch.where(is_new.unsqueeze(-1), first.unsqueeze(-3), later.unsqueeze(-3))
        block = there.unsqueeze(-1) & there.unsqueeze(-2)
        eye = torch.eye(new.shape[-1], dtype=rows.dtype, device=rows.device)
        cut = torch.linalg.cholesky(torch.where(block, rows @ rows.mT, eye))
        return torch.where(there.all(-1)[..., None, None], rows, cut), visit

    def _log_det(self, sd: Tensor, factors: Tensor, visit: Tensor, measured: Tensor | None) -> Tensor:
        of_factors = factors.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        of_visits = of_factors[visit] if of_factors.ndim == 1 else of_factors.gather(1, visit)
        return -only(measured, sd.log()).sum(-1) - of_visits

    def _start(self, x: Tensor, context: Tensor) -> Moments:
        one, many = x.new_zeros(x.shape[0], 1), x.new_zeros(x.shape[0], x.shape[2])
        return Moments(one, one, one, many, many, context[:, 0, self.trends])


def rows(v: Tensor, some: Tensor | None) -> Tensor:
    """``[visit, *]`` of ``v [batch, time, *]`` at the places ``some`` among batch x time; all of v if it is None."""
    return v if some is None else v.flatten(0, 1).index_select(0, some)


def posterior(factor: Tensor, n: Tensor, t: Tensor, tt: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Entries of ``C = (I + g S)^-1 g`` and ``det(I + g S)``, with ``S = [[n, t], [t, tt]]``."""
    l11, l21, l22 = factor
    g00, g01, g11 = l11 * l11, l11 * l21, l21 * l21 + l22 * l22
    m00, m01 = 1 + g00 * n + g01 * t, g00 * t + g01 * tt
    m10, m11 = g01 * n + g11 * t, 1 + g01 * t + g11 * tt
    det = m00 * m11 - m01 * m10
    return (m11 * g00 - m01 * g01) / det, (m11 * g01 - m01 * g11) / det, (m00 * g11 - m10 * g01) / det, det


def effects(model: MixedModelInnovation, context: Tensor, baseline: Tensor) -> Tensor:
    """Effects f ``[batch, time, effect]`` of the context and of ``baseline [batch, trend]``, that of visit 1."""
    t, c = context[..., :1], context[..., model.design]
    bent = c + ((c.unsqueeze(-1) - model.knots).clamp_min(0) * model.bend).sum(-1)
    rows = [model.design.index(channel) for channel in model.trends]
    b = baseline.unsqueeze(1)
    bent_b = b + ((b.unsqueeze(-1) - model.knots[rows]).clamp_min(0) * model.bend[rows]).sum(-1)
    return torch.cat([torch.ones_like(t), bent, t * b, bent_b.expand(-1, t.shape[1], -1)], -1)


def _sum_before(v: Tensor) -> Tensor:
    """Sums over the visits before each visit (``v: [batch, time, *]``)."""
    return v.cumsum(1) - v


def _channels(context: Tensor | None) -> Tensor:
    if context is None:
        raise ValueError("MixedModelInnovation needs a context whose channel 0 is time since the first visit")
    return context
