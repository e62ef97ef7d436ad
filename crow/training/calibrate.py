"""Calibration of a trained flow on the validation set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crow.bijections.principal import PrincipalComponents
from crow.bijections.temperature import LatentTemperature
from crow.data.examples import Examples
from crow.data.forecast import quantiles_of
from crow.flows.mask_flow import MaskFlow, shifts_of

LEVELS = (0.9, 0.5)  # of the intervals of volumes that are calibrated
SHIFT_SDS = np.linspace(0, 3, 61)
SHIFT_POWERS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
VOLUME_DRAWS = 32
DRAWS = 2  # of a volume whose context it has


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


@torch.no_grad()
def calibrate_components(
    flow: nn.Module, batches: Iterable[Examples], log_sds: Sequence[Tensor], seed: int = 0
) -> None:
    """Give draws of a flow mean 0 and the sds ``exp(log_sds)`` along its `PrincipalComponents`.

    A part of the flow that was trained on patches may move all voxels of a volume by a little, which no patch shows.
    The components are sums over the volume and multiply it, and so they do small correlations of the voxels of a draw.

    Parameters
    ----------
    flow : nn.Module
        A flow with a ``sample(context, n, generator)`` of whole volumes.
    batches : iterable of Examples
        Volumes for whose contexts `DRAWS` volumes each are drawn.
    log_sds : sequence of Tensor
        Of each `PrincipalComponents` in the order of ``flow.modules()``, ``[k]``.
    seed : int
        Seed of the draws, which are others for every volume.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [module for module in flow.modules() if isinstance(module, PrincipalComponents)]
    drawn: list[list[Tensor]] = [[] for _ in layers]

    def record(layer: PrincipalComponents, found: list[Tensor]) -> None:
        inverse = layer.inverse

        def recorded(z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            found.append(layer.along(z))
            return inverse(z, context)

        layer.inverse = recorded  # type: ignore[method-assign]

    for layer, found in zip(layers, drawn, strict=True):
        record(layer, found)
    try:
        for batch in batches:
            for _ in range(DRAWS):  # one volume is in memory at a time
                flow.sample(batch.context, 1, generator)  # type: ignore[operator]
    finally:
        for layer in layers:
            del layer.inverse
    for layer, found, log_sd in zip(layers, drawn, log_sds, strict=True):
        layer.match(torch.cat(found), log_sd)


class MaskCase(NamedTuple):
    """A scan of the validation set: its context, the voxels in which volumes are counted, and the true volume."""

    context: Tensor  # [context, *space]
    inside: Tensor  # [*space], bool
    volume: float  # voxels


def calibrate_volumes(flow: MaskFlow, validation: Iterable[MaskCase], seed: int = 0) -> list[float]:
    """Set the shifts of a trained flow so that 90 and 50 % intervals of volumes contain as many of the true volumes.

    For every scan and power, the smallest sd from which on the 90 % interval of its drawn volumes contains the true
    volume; the flow receives their quantile of rank ``0.9 (n + 1)`` of n (split conformal prediction; Vovk et al.
    2005). With fewer than 19 scans it receives the largest. Of the powers, it receives the one with which 50 %
    intervals contain closest to half of the volumes, the smallest of several. The smallest sds are returned; one is
    infinite if no sd is enough, and does not decide: one mask that the flow cannot find would make all intervals
    useless.
    """
    generator = torch.Generator().manual_seed(seed)
    inside = np.array([_contained(flow, case, generator) for case in validation])  # [scan, level, power, sd]
    if not len(inside):
        return []
    found = []
    for number, power in enumerate(SHIFT_POWERS):
        smallest = [_smallest_sd(one) for one in inside[:, 0, number]]
        enough = sorted(sd for sd in smallest if math.isfinite(sd))
        if enough:
            sd = enough[min(math.ceil(LEVELS[0] * (len(smallest) + 1)), len(enough)) - 1]
            half = float(inside[:, 1, number, np.searchsorted(SHIFT_SDS, sd)].mean())
            found.append((abs(half - LEVELS[1]), power, sd, smallest))
    if not found:
        return [math.inf] * len(inside)
    _, flow.shift_power, flow.shift_sd, smallest = min(found)
    return smallest


def _contained(flow: MaskFlow, case: MaskCase, generator: torch.Generator) -> NDArray[np.bool_]:
    """Whether the interval of each of `LEVELS`, `SHIFT_POWERS` and `SHIFT_SDS` contains the true volume."""
    margins = flow.margins(case.context[None], VOLUME_DRAWS, generator)[:, 0, 0]
    ordered = margins[:, case.inside].sort(1).values
    ends = [(1 + sign * level) / 2 for level in LEVELS for sign in (-1, 1)]
    out = np.zeros((len(LEVELS), len(SHIFT_POWERS), len(SHIFT_SDS)), bool)
    for number, power in enumerate(SHIFT_POWERS):
        for k, sd in enumerate(SHIFT_SDS):
            edges = (-float(sd) * shifts_of(power)).expand(len(ordered), -1).contiguous()
            volumes = ordered.shape[1] - torch.searchsorted(ordered, edges, right=True)
            low, high = quantiles_of(volumes.flatten().numpy(), ends, axis=0).reshape(-1, 2).T
            out[:, number, k] = (low <= case.volume) & (case.volume <= high)
    return out


def _smallest_sd(inside: NDArray[np.bool_]) -> float:
    """The smallest of `SHIFT_SDS` from which on the interval contains the true volume; infinite if there is none."""
    outside = np.flatnonzero(~inside)
    first = 0 if not len(outside) else int(outside[-1]) + 1
    return float(SHIFT_SDS[first]) if first < len(SHIFT_SDS) else math.inf
