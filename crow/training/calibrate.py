"""Calibration of a trained flow on the validation set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from crow.bijections.principal import PrincipalComponents
from crow.bijections.temperature import LatentTemperature
from crow.data.examples import Examples
from crow.data.forecast import quantiles_of
from crow.flows.mask_flow import SHIFTS, MaskFlow

LEVEL = 0.9  # of the intervals of volumes that are calibrated
SHIFT_SDS = np.linspace(0, 3, 61)
VOLUME_DRAWS = 32


@torch.no_grad()
def calibrate_temperature(flow: nn.Module, validation: Iterable[Examples]) -> None:
    """Fit the `LatentTemperature` of a trained flow to its inputs for the validation examples.

    The sds of `PrincipalComponents` are cross-validated already. They are coarse, so they are divided by the sd of the
    first latent part, which is the coarsest.

    Parameters
    ----------
    flow : nn.Module
        A flow with one `LatentTemperature` and a ``loss(batch)``.
    validation : iterable of Examples
        Batches of the validation set.
    """
    (temperature,) = (module for module in flow.modules() if isinstance(module, LatentTemperature))
    squares: list[Tensor] = []
    rows: list[int] = []

    def add(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        squares.append(torch.stack([part.square().sum() for part in arguments[0].split(temperature.sizes, 1)]))
        rows.append(len(arguments[0]))

    hook = temperature.register_forward_pre_hook(add)
    flow.eval()
    for batch in validation:
        flow.loss(batch)  # type: ignore[operator]
    hook.remove()
    temperature.fit_squares(torch.stack(squares).sum(0), sum(rows))
    for module in flow.modules():
        if isinstance(module, PrincipalComponents):
            exists = module.directions.flatten(1).any(1)
            module.log_sd.sub_(temperature.log_sd[0] * exists)


class MaskCase(NamedTuple):
    """A scan of the validation set: its context, the voxels in which volumes are counted, and the true volume."""

    context: Tensor  # [context, *space]
    inside: Tensor  # [*space], bool
    volume: float  # voxels


def calibrate_volumes(flow: MaskFlow, validation: Iterable[MaskCase], seed: int = 0) -> list[float]:
    """Set ``shift_sd`` of a trained flow so that 90 % intervals of volumes contain 90 % of the true volumes.

    For every scan, the smallest sd from which on the interval of its drawn volumes contains the true volume; the flow
    receives their quantile of rank ``0.9 (n + 1)`` of n (split conformal prediction; Vovk et al. 2005). With fewer than
    19 scans it receives the largest. These smallest sds are returned; one is infinite if no sd is enough, and does not
    decide: one mask that the flow cannot find would make all intervals useless.
    """
    generator = torch.Generator().manual_seed(seed)
    smallest = [_smallest_sd(flow, case, generator) for case in validation]
    if enough := sorted(sd for sd in smallest if math.isfinite(sd)):
        flow.shift_sd = enough[min(math.ceil(LEVEL * (len(smallest) + 1)), len(enough)) - 1]
    return smallest


def _smallest_sd(flow: MaskFlow, case: MaskCase, generator: torch.Generator) -> float:
    """The smallest of `SHIFT_SDS` from which on the interval contains the true volume; infinite if there is none."""
    margins = flow.margins(case.context[None], VOLUME_DRAWS, generator)[:, 0, 0]
    ordered = margins[:, case.inside].sort(1).values
    inside = []
    for sd in SHIFT_SDS:
        edges = (-float(sd) * SHIFTS).expand(len(ordered), -1).contiguous()
        volumes = ordered.shape[1] - torch.searchsorted(ordered, edges, right=True)
        low, high = quantiles_of(volumes.flatten().numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        inside.append(bool(low <= case.volume <= high))
    outside = np.flatnonzero(~np.array(inside))
    first = 0 if not len(outside) else int(outside[-1]) + 1
    return float(SHIFT_SDS[first]) if first < len(SHIFT_SDS) else math.inf
