"""Gross errors: values so far from what their subject's other visits predict that they are no measurements."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from crow.bijections.innovation import Prediction, effects, posterior
from crow.data.sequences import Sequences

if TYPE_CHECKING:
    from crow.flows.crow import CRowFlow

LIMIT = 8.0  # standard deviations of a prediction, times the region's spread
NEVER = 1e30  # spread of a region without gross errors
WIDTH = 8.0  # of the Cauchy density of gross errors, in standard deviations of a region


def leave_one_out(flow: CRowFlow, data: Sequences) -> Tensor:
    """``z [batch, time, region]`` of each value given the subject's other visits, by the mixed model; 0 if missing.

    The mixed model predicts a region from the sums over its measured values (`MixedModelInnovation`). Without a value's
    own terms they are those of all others, so no loop is needed.
    """
    on_line, _ = flow.on_line(data)
    context, there = flow.times(data, None), data.values()
    model, t = flow.mixed, context[..., :1]
    fixed = effects(model, context, context[:, 0, model.trends]) @ model.beta
    one = there.to(data.x.dtype)
    r = torch.where(there, on_line.x - fixed, 0.0)
    terms = (one, one * t, one * t * t, r, t * r)
    n, s, ss, u0, u1 = (v.sum(1, keepdim=True) - v for v in terms)
    c00, c01, c11, _ = posterior(model.factor, n, s, ss)
    mean = fixed + c00 * u0 + c01 * (u1 + t * u0) + c11 * t * u1
    sd = model.log_sigma.exp() * (1 + c00 + 2 * c01 * t + c11 * t * t).clamp_min(0).sqrt()
    return torch.where(there, (on_line.x - mean) / sd, 0.0)


@torch.no_grad()
def gross_errors(flow: CRowFlow, data: Sequences) -> Tensor:
    """Which values of whole histories are gross errors, ``[batch, time, region]``.

    Of each subject and region the value that is farthest from what all others predict goes first, if it lies beyond
    `LIMIT`. Then the others are compared again without it, so that one error does not make its neighbours look wrong.
    """
    gross = data.values() & ~flow.bounds.allows(data.x)
    for _ in range(data.x.shape[1]):
        z = leave_one_out(flow, without(data, gross)).abs() / flow.spread
        worst = (z > LIMIT) & (z == z.amax(1, keepdim=True))
        if not bool(worst.any()):
            break
        gross = gross | worst
    return gross


def without(data: Sequences, gross: Tensor) -> Sequences:
    """The data with gross errors as missing values."""
    return replace(data, measured=data.values() & ~gross) if bool(gross.any()) else data


def cleaned(flow: CRowFlow, data: Sequences) -> Sequences:
    """The data without its gross errors."""
    return without(data, gross_errors(flow, data))


def beyond(flow: CRowFlow, data: Sequences, prediction: Prediction) -> Tensor:
    """Which measured values lie beyond the limit around a ``prediction`` of their visit: ``[batch, time, region]``."""
    z = (flow.on_line(data)[0].x - prediction.mean) / prediction.sd / flow.spread
    return data.values() & ((z.abs() > LIMIT) | ~flow.bounds.allows(data.x))


def log_density(flow: CRowFlow, x: Tensor, prediction: Prediction) -> Tensor:
    """Log-density of gross errors x, given that they lie beyond the limit around a prediction.

    A Cauchy density around the mean of the training, without the part of it within the limit; ``[batch, time,
    region]``.
    """
    reach = LIMIT * torch.where(flow.spread < NEVER, flow.spread, 0.0) * prediction.sd
    low, high = (flow.bounds.inverse(prediction.mean + side * reach)[0] for side in (-1, 1))
    within = (_cauchy(high) - _cauchy(low)).clamp(0, 1 - 1e-6)
    return -torch.log(torch.pi * WIDTH * (1 + (x / WIDTH).square())) - torch.log1p(-within)


def _cauchy(x: Tensor) -> Tensor:
    return 0.5 + torch.atan(x / WIDTH) / torch.pi
