"""Random sequences, and flows away from their initial parameters, for the tests of flows."""

from typing import Any

import torch
from bijections import contract

from crow.bijections.ode import ODE
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow


def sequences(
    subjects: int, regions: int, context: int = 2, lengths: tuple[int, ...] = (4,), seed: int = 0
) -> Sequences:
    """Irregular visits in float64; the numbers of visits of the subjects cycle through ``lengths``."""
    g = torch.Generator().manual_seed(seed)
    n = torch.tensor(lengths).repeat(subjects)[:subjects, None]
    time = max(lengths)
    mask = torch.arange(time) < n
    years = (0.2 + torch.rand(subjects, time, generator=g, dtype=torch.float64)).cumsum(1)
    level = torch.randn(subjects, 1, regions, generator=g, dtype=torch.float64)
    x = level + 0.5 * torch.randn(subjects, time, regions, generator=g, dtype=torch.float64)
    c = torch.randn(subjects, time, context, generator=g, dtype=torch.float64)
    return Sequences(x * mask[..., None], c * mask[..., None], (years - years[:, :1]) * mask, mask)


def random_flow(
    regions: int, context: int = 2, seed: int = 0, share: float = 1.0, steps: int = 60, **settings: Any
) -> CRowFlow:
    """A flow with every parameter away from its initial value (by a ``share`` of order one), in float64, in eval mode.

    A continuous base takes ``steps``, by default so many that it is exact to nine digits.
    """
    torch.manual_seed(seed)
    flow = CRowFlow(regions, context, **{"blocks": 2, "hidden": 6, **settings}).double().eval()
    start = [parameter.detach().clone() for parameter in flow.parameters()]
    contract.perturb(flow, seed)
    with torch.no_grad():
        for parameter, at in zip(flow.parameters(), start, strict=True):
            parameter.lerp_(at, 1 - share)
    for module in flow.modules():
        if isinstance(module, ODE):
            module.steps = steps
    return flow


def fill_pads(data: Sequences, value: float) -> Sequences:
    pad = ~data.mask
    x, context = (v.masked_fill(pad[..., None], value) for v in (data.x, data.context))
    return Sequences(x, context, data.time.masked_fill(pad, value), data.mask)
