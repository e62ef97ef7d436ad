"""Masks whose thresholds shift together: an exact probability, and intervals of volumes that hold on new scans."""

import itertools

import pytest
import torch
from bijections import contract
from torch import nn

from crow.bijections.dequantize import BinaryDequantizer
from crow.bijections.priors import StandardPrior
from crow.data.forecast import quantiles_of
from crow.flows.base import Flow
from crow.flows.conditional_flow import conditional_stack, flow_of_masks, resized
from crow.flows.mask_flow import EDGE, MaskFlow
from crow.training.calibrate import MaskCase, calibrate_volumes

SIZE = 8


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_probabilities_of_all_masks_add_up_to_one(power: float) -> None:
    """With a shift, too; and they are how often masks are drawn."""
    torch.manual_seed(0)
    flow = flow_of_masks((3,), 1, 1, 1, hidden=4, features=2).eval()
    flow.shift_sd, flow.shift_power = 1.5, power
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    context = torch.full((1, 1), 0.3)
    with torch.no_grad():
        log_p = flow.log_prob(masks, context.expand(8, 1), draws=4)  # N(0, I): the bound is exact
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-4)
    drawn = flow.sample(context, 40_000, torch.Generator().manual_seed(1))[:, 0]
    shares = torch.stack([(drawn == mask).all(1).float().mean() for mask in masks])
    torch.testing.assert_close(shares, log_p.exp(), atol=0.01, rtol=0)
    assert float(shares[0]) > 0.2  # of independent voxels 1 / 8: thresholds move together


class Brightness(nn.Module):
    """A threshold that is the context itself."""

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        return context


@pytest.mark.parametrize("tails", [1.0, 3.0], ids=["normal", "heavy-tailed"])
def test_volumes_are_calibrated_on_scans_that_were_not_used(tails: float) -> None:
    """Voxels of the flow are independent, but borders of the truth move by a common shift: intervals of volumes are far
    too narrow until they are calibrated. If most shifts are small and a few large, those of 50 % stay narrow."""
    generator = torch.Generator().manual_seed(0)
    event = (1, SIZE, SIZE)
    flow = MaskFlow(
        Flow(identity(event), StandardPrior((SIZE * SIZE,)), 3),
        BinaryDequantizer(conditional_stack(event, 1 + 3, 1, 1, 4, 2), Brightness(), 1, 2),
    ).eval()
    slope = torch.linspace(-4, 4, SIZE).expand(1, SIZE, SIZE)
    contexts = slope + torch.rand(240, 1, 1, 1, generator=generator)
    normal = torch.randn(240, 1, 1, 1, generator=generator)
    shifts = 0.8 * normal.sign() * EDGE * (normal.abs() / EDGE) ** tails
    truth = contexts + shifts + torch.randn(240, *event, generator=generator) > 0
    inside = torch.ones(SIZE, SIZE, dtype=torch.bool)
    cases = [MaskCase(c, inside, float(x.sum())) for c, x in zip(contexts, truth, strict=True)]
    assert coverage(flow, cases[60:], 0.9) < 0.8
    calibrate_volumes(flow, cases[:60])
    assert 0.3 < flow.shift_sd < 0.8  # thresholds are clamped softly: 0.8 of the truth is about 0.5
    assert flow.shift_power > 1 or tails == 1
    assert 0.84 <= coverage(flow, cases[60:], 0.9) <= 0.97
    assert 0.42 <= coverage(flow, cases[60:], 0.5) <= 0.62


def test_few_scans_widen_to_the_worst() -> None:
    torch.manual_seed(0)
    flow = flow_of_masks((1, 4, 4), 1, 1, 1, hidden=4, features=2).eval()
    contract.perturb(flow)
    inside = torch.ones(4, 4, dtype=torch.bool)
    cases = [MaskCase(torch.zeros(1, 4, 4), inside, float(volume)) for volume in (8, 8, 16)]
    smallest = calibrate_volumes(flow, cases)
    assert flow.shift_sd == max(smallest) > smallest[0]
    assert calibrate_volumes(flow, []) == [] and flow.shift_sd == max(smallest)


def test_a_volume_that_no_shift_reaches_does_not_decide() -> None:
    torch.manual_seed(0)
    flow = flow_of_masks((1, 4, 4), 1, 1, 1, hidden=4, features=2).eval()
    inside = torch.ones(4, 4, dtype=torch.bool)
    smallest = calibrate_volumes(flow, [MaskCase(torch.zeros(1, 4, 4), inside, float(v)) for v in [8] * 17 + [17]])
    assert smallest[-1] == float("inf") and flow.shift_sd == max(smallest[:-1]) < 1


def identity(event: tuple[int, ...]) -> nn.Module:
    """The identity, flattened."""
    return conditional_stack(event, 1, 1, 1, 4, 2, gate=False)


def coverage(flow: MaskFlow, cases: list[MaskCase], level: float) -> float:
    """How many true volumes lie in intervals of draws."""
    contexts = torch.stack([case.context for case in cases])
    volumes = flow.sample(contexts, 64, torch.Generator().manual_seed(3)).flatten(2).sum(2).numpy()
    low, high = quantiles_of(volumes, [(1 - level) / 2, (1 + level) / 2], axis=0)
    wanted = torch.tensor([case.volume for case in cases]).numpy()
    return float(((low <= wanted) & (wanted <= high)).mean())


def test_a_resized_flow_keeps_the_shifts_of_a_run_of_an_earlier_version() -> None:
    flow = flow_of_masks((1, 4, 4), 1, 1, 1, hidden=8, features=4)
    flow.shift_sd, flow.shift_power, flow.shift_count = 0.5, 1.0, 9
    assert torch.equal(resized(flow, 8, 8).shifts, flow.shifts)
