"""Missing values drawn by particles follow the flow's density given what was measured."""

from dataclasses import replace

import pytest
import torch
from flows.random_sequences import random_flow, sequences
from torch import Tensor

from crow.bijections.soft_bounds import Bounds
from crow.data.sequences import Sequences
from crow.flows.completion import complete
from crow.flows.ensemble import FlowEnsemble

GRID = torch.arange(-12, 12, 0.05, dtype=torch.float64)


def ensemble() -> FlowEnsemble:
    kinds = ("mixed_model", "standard")
    members = [random_flow(2, seed=k, share=0.3, initialisation=kind) for k, kind in enumerate(kinds)]
    return FlowEnsemble(members, torch.tensor([0.6, 0.4], dtype=torch.double)).eval()


def gap() -> Sequences:
    """Two visits of one subject; the second region was not measured at the first."""
    data = sequences(1, 2, lengths=(2,), seed=4)
    measured = torch.ones_like(data.x, dtype=torch.bool)
    measured[0, 0, 1] = False
    return replace(data, measured=measured)


@torch.no_grad()
@pytest.mark.parametrize("smooth", [False, True])
def test_draws_follow_the_density_of_the_complete_visits(smooth: bool) -> None:
    """Mean and sd against the density on a grid: of the first visit, and of both visits."""
    both, data = ensemble(), gap()
    many = replace(data.repeat(len(GRID)), measured=None)
    x = many.x.clone()
    x[:, 0, 1] = GRID
    log_p = both.log_prob(replace(many, x=x))
    weights = torch.softmax(log_p.sum(1) if smooth else log_p[:, 0], 0)
    mean = float(weights @ GRID)
    sd = float(weights @ (GRID - mean).square()) ** 0.5
    found = complete(both, data, 20000, torch.Generator().manual_seed(0))
    draws = (found.smoothed if smooth else found.filtered)[0, :, 0]
    assert bool((draws[:, 0] == data.x[0, 0, 0]).all())
    assert float(draws[:, 1].mean()) == pytest.approx(mean, abs=0.1 * sd)
    assert float(draws[:, 1].std()) == pytest.approx(sd, rel=0.1)
    assert 1000 < float(found.effective.min()) <= 20000


@torch.no_grad()
def test_draws_of_a_positive_region_are_proposed_on_its_line() -> None:
    """They follow the density on a grid, and most of them are worth one."""
    both, data = ensemble(), gap()
    end, none = torch.full((2,), torch.inf), torch.zeros(2)
    for member in both._flows():
        member.bounds.set(Bounds(torch.tensor([-2.0, -2.0]), end, none == 0, none, none))
        member.bounds.soften(torch.full((2,), 5.0))
        member.bounds.scale.fill_(3.0)
    data = replace(data, x=data.x.clamp_min(-1.9))
    grid = torch.arange(-1.999, 20, 0.005, dtype=torch.float64)
    many = replace(data.repeat(len(grid)), measured=None)
    x = many.x.clone()
    x[:, 0, 1] = grid
    weights = torch.softmax(both.log_prob(replace(many, x=x))[:, 0], 0)
    mean = float(weights @ grid)
    sd = float(weights @ (grid - mean).square()) ** 0.5
    found = complete(both, data, 5000, torch.Generator().manual_seed(0))
    draws = found.filtered[0, :, 0, 1]
    assert float(draws.min()) > -2
    assert float(draws.mean()) == pytest.approx(mean, abs=0.1 * sd)
    assert float(draws.std()) == pytest.approx(sd, rel=0.1)
    assert float(found.effective[0, 0]) > 2500


def test_measured_values_stay_and_a_seed_decides_the_draws() -> None:
    both = ensemble()
    data = sequences(4, 2, lengths=(3, 1, 2))
    measured = (torch.rand(data.x.shape, generator=torch.Generator().manual_seed(1)) > 0.4) & data.mask[..., None]
    measured[0, 1] = False
    data = replace(data, measured=measured)
    first, again, other = (complete(both, data, 50, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    there = measured.unsqueeze(1).expand_as(first.smoothed)
    for found in (first.filtered, first.smoothed):
        assert torch.equal(found[there], data.x.unsqueeze(1).expand_as(found)[there])
        assert bool(found.isfinite().all())
    assert torch.equal(first.smoothed, again.smoothed) and not torch.equal(first.smoothed, other.smoothed)
    values: Tensor = first.filtered[0, :, 1]
    assert float(values.std(0).min()) > 0.1
