"""Scores with levels: probabilities of levels, draws of levels, bounds that hold."""

import math

import pytest
import torch

from crow.bijections.soft_bounds import Bounds
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.flows.ensemble import FlowEnsemble


def scores(regions: int = 1, subjects: int = 80) -> tuple[Sequences, Bounds]:
    """Scores from 0 to 10 in steps of 1, near their ceiling; in units of 2."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(3).float().expand(subjects, -1)
    latent = 9 + 2 * torch.randn(subjects, 1, regions, generator=generator) - time[..., None]
    level = (latent + torch.randn(subjects, 3, regions, generator=generator)).round().clamp(0, 10)
    every = torch.ones(regions)
    data = Sequences(level / 2, torch.zeros(subjects, 3, 1), time, torch.ones(subjects, 3, dtype=torch.bool))
    return data, Bounds(0 * every, 5 * every, torch.zeros(regions, dtype=torch.bool), every / 2, 0 * every)


def ensemble(data: Sequences, bounds: Bounds) -> FlowEnsemble:
    flow = CRowFlow(data.x.shape[2], 1)
    flow.initialise(data, bounds)
    return FlowEnsemble([flow]).eval()


def test_probabilities_of_all_levels_sum_to_one_at_every_visit() -> None:
    data, bounds = scores()
    model = ensemble(data, bounds)
    levels = torch.arange(11) / 2
    for visit in range(3):
        many = data[:1].repeat(11)
        many.x[:, visit, 0] = levels
        p = (model.log_prob(many)[:, visit] + math.log(0.5)).exp()
        assert float(p.sum()) == pytest.approx(1, abs=5e-3)


def test_draws_are_levels_between_the_bounds() -> None:
    data, bounds = scores(regions=2)
    draws = ensemble(data, bounds).forecast(data, data, 500, torch.Generator().manual_seed(0))
    levels = draws * 2
    assert bool((levels == levels.round()).all()) and float(levels.min()) >= 0 and float(levels.max()) <= 10


def test_shares_of_draws_are_the_probabilities() -> None:
    data, bounds = scores()
    model, one = ensemble(data, bounds), data[3:4]
    draws = model.forecast(one.columns(slice(0, 1)), one.columns(slice(1, 2)), 20_000, torch.Generator().manual_seed(0))
    many = one.columns(slice(0, 2)).repeat(11)
    many.x[:, 1, 0] = torch.arange(11) / 2
    p = (model.log_prob(many)[:, 1] + math.log(0.5)).exp().detach()
    shares = torch.stack([(draws * 2 == k).float().mean() for k in range(11)])
    torch.testing.assert_close(shares, p, atol=0.015, rtol=0)


def test_the_softness_with_the_best_likelihood_is_taken() -> None:
    """A positive region whose logarithm is a mixed model gets a softness near the logarithm."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(4).float().expand(200, -1)
    line = torch.randn(200, 1, 1, generator=generator) + 0.2 * torch.randn(200, 4, 1, generator=generator)
    x = line.exp()
    data = Sequences(x / x.std(), torch.zeros(200, 4, 1), time, torch.ones(200, 4, dtype=torch.bool))
    zero = torch.zeros(1)
    flow = CRowFlow(1, 1)
    flow.initialise(data, Bounds(zero, zero + math.inf, zero.bool() | True, zero, zero))
    assert float(flow.bounds.softness) >= 1.5
    straight = CRowFlow(1, 1)
    straight.initialise(data)
    assert float(flow.initial_log_prob(data).sum()) > float(straight.initial_log_prob(data).sum()) + 100
