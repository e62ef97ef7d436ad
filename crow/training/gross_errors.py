"""Gross errors of the training visits: found before anything is fitted to them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crow.bijections.soft_bounds import Bounds
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.flows.gross_errors import NEVER, gross_errors, leave_one_out, without

FAR = 12.0  # robust standard deviations of all values, before there is a model
ROUNDS = 4  # of fitting without the gross errors that the last fit showed
MAX_SHARE = 0.05  # of a region's values: more are how it is distributed
QUANTILE, NORMAL_QUANTILE = 0.95, 1.96  # of |z|: the scale of residuals that errors do not move
TAILS, NORMAL_TAILS = (0.05, 0.95), 3.29
LEAST_SD = 1e-3  # of what is left of a region without its gross errors, in standard deviations


@torch.no_grad()
def gross_errors_of_training(
    fit: Callable[[Sequences], CRowFlow], data: Sequences, bounds: Bounds | None
) -> tuple[Tensor, CRowFlow]:
    """Gross errors ``[batch, time, region]`` of the training visits, and the mixed model of the others.

    Its ``spread`` is that of the residuals.

    ``fit`` gives the mixed model of some visits. It is fitted without the values that are far from all others; then
    each value is compared with what the subject's other visits predict (`leave_one_out`), in units of the residuals'
    own spread (their 95 % quantile, which errors do not move), and the model is fitted again without what lies beyond
    the limit. Scores with two bounds have no gross errors within them.
    """
    gross = far_values(data, bounds)
    closed = torch.zeros(data.x.shape[2], dtype=torch.bool)
    if bounds is not None:
        closed = torch.isfinite(bounds.least) & torch.isfinite(bounds.most)
    spread = torch.ones(data.x.shape[2])
    for _ in range(ROUNDS):
        flow = fit(without(data, gross))
        z = leave_one_out(flow, without(data, gross)).abs()
        spread = _scale(z, data.values() & ~gross)
        spread[closed] = NEVER
        flow.spread.copy_(spread)
        found = gross_errors(flow, data)
        common = found.sum((0, 1)) > MAX_SHARE * data.values().sum((0, 1))
        kept = torch.where(data.values() & ~found, data.x, torch.nan).flatten(0, 1)
        common |= (kept - kept.nanmean(0)).square().nanmean(0) < LEAST_SD**2
        spread[common] = NEVER
        found = found & ~common
        if bool((found == gross).all()):
            break
        gross = found
    flow.spread.copy_(spread.clamp_min(1.0))
    return gross, flow


def far_values(data: Sequences, bounds: Bounds | None) -> Tensor:
    """Values far from all others of their region ``[batch, time, region]``; with a lower bound also on a log scale."""
    values = data.values()
    x = torch.where(values, data.x, torch.nan).flatten(0, 1)
    far = _far(x)
    if bounds is not None:
        has_low = torch.isfinite(bounds.least)
        logarithm = (x - torch.where(has_low, bounds.least, 0.0)).clamp_min(1e-3).log()
        far &= ~has_low | _far(logarithm)
    return far.view_as(values) & values


def _far(x: Tensor) -> Tensor:
    shares = torch.tensor([TAILS[0], 0.5, TAILS[1]], dtype=x.dtype)
    low, middle, high = torch.nanquantile(x, shares, 0, interpolation="linear")
    return ((x - middle).abs() * NORMAL_TAILS / (high - low).clamp_min(1e-9) > FAR) & (high > low)


def _scale(z: Tensor, present: Tensor) -> Tensor:
    """How wide residuals are, per region: 1 where the model is right about them."""
    z = torch.where(present, z, torch.nan).flatten(0, 1)
    return (torch.nanquantile(z, QUANTILE, 0, interpolation="linear") / NORMAL_QUANTILE).nan_to_num(1.0).clamp_min(0.05)
