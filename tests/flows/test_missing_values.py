"""Visits that lack values: an exact density for every pattern, and nothing changes when nothing is missing."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from flows.random_sequences import random_flow, sequences

from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow, map_state
from crow.flows.crow_layers import BASE_STEPS
from crow.flows.ensemble import FlowEnsemble

KINDS = [(start, base) for start in ("mixed_model", "standard") for base in ("standard", "conditional")]
KINDS.append(("mixed_model", "continuous"))
LENGTHS = (4, 1, 3, 2)


@pytest.fixture(params=KINDS, ids=", ".join, scope="module")
def kind(request: pytest.FixtureRequest) -> dict[str, str]:
    return dict(zip(("initialisation", "base"), request.param, strict=True))


def incomplete(data: Sequences, seed: int = 0, share: float = 0.4) -> Sequences:
    """The same with a share of the values missing, none of some visits and all of others."""
    generator = torch.Generator().manual_seed(seed)
    measured = torch.rand(data.x.shape, generator=generator) >= share
    measured[0, 0] = True
    measured[1:, :1] &= torch.rand(len(data) - 1, 1, 1, generator=generator) > 0.2
    measured &= data.mask[..., None]
    return replace(data, x=data.x.masked_fill(~measured, 0.0), measured=measured)


def patterns(regions: int) -> list[tuple[bool, ...]]:
    return [pattern for pattern in product((True, False), repeat=regions) if any(pattern)]


@torch.no_grad()
@pytest.mark.parametrize("regions", [2, 3])
def test_every_pattern_integrates_to_one(kind: dict[str, str], regions: int) -> None:
    """Over the first visit, and over the second given a first one of every pattern."""
    flow = random_flow(regions, seed=3, share=0.4, steps=BASE_STEPS, **kind)
    with torch.no_grad():
        flow.missing.weight.mul_(2)
    data = sequences(1, regions, lengths=(2,), seed=2)
    for now in patterns(regions):
        there = torch.tensor(now).view(1, 1, -1)
        assert _mass(flow, replace(data.visit(0), measured=there)) == pytest.approx(1.0, abs=2e-3)
        for before in patterns(regions)[:: 2 * regions - 3]:
            both = torch.cat([torch.tensor(before).view(1, 1, -1), there], 1)
            assert _mass(flow, replace(data, measured=both)) == pytest.approx(1.0, abs=2e-3)


def _mass(flow: CRowFlow, data: Sequences) -> float:
    """The integral of the last visit's density over its measured values, on a grid along the axes of its draws."""
    assert data.measured is not None
    there = data.measured[0, -1]
    past = data.columns(slice(0, data.x.shape[1] - 1))
    last = data.visit(data.x.shape[1] - 1)
    state = flow.condition(past) if past.x.shape[1] else None
    noise = torch.randn(2000, 1, len(there), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    many = last.repeat(len(noise))
    repeated = None if state is None else map_state(lambda s: s.repeat_interleave(len(noise), 0), state)
    draws = flow.sample(many, repeated, noise)[:, 0, there]
    assert bool((flow.sample(many, repeated, noise)[:, 0, ~there] == 0).all())
    axes = torch.linalg.cholesky(draws.T.cov().view(len(draws[0]), -1))
    step = {1: 0.05, 2: 0.1, 3: 0.7}[len(draws[0])]
    steps = torch.arange(-7, 7, step, dtype=torch.float64)
    grid = torch.cartesian_prod(*[steps] * len(draws[0])).view(-1, len(draws[0]))
    at = last.repeat(len(grid))
    x = at.x.clone()
    x[:, 0, there] = draws.mean(0) + grid @ axes.T
    given = None if state is None else map_state(lambda s: s.repeat_interleave(len(grid), 0), state)
    density = flow.step(replace(at, x=x), given)[0][:, 0].exp()
    return float(density.sum() * step ** len(draws[0]) * axes.diagonal().prod())


def test_log_det_and_causality(kind: dict[str, str]) -> None:
    """Against the autograd Jacobian of the measured values, visit by visit; missing ones and later visits send none."""
    flow = random_flow(3, **kind)
    data = incomplete(sequences(3, 3), seed=1)
    z, log_det, _ = flow.transform(data)
    assert data.measured is not None and bool((z[~data.measured] == 0).all())
    for i in range(len(data)):
        one = data[slice(i, i + 1)]
        jacobian = torch.autograd.functional.jacobian(lambda x, one=one: flow.transform(replace(one, x=x))[0], one.x)
        for t, there in enumerate(data.measured[i]):
            own = jacobian[0, t][:, 0, t]
            assert bool((own[~there] == 0).all()) and bool((own[:, ~there] == 0).all())
            expected = torch.linalg.slogdet(own[there][:, there]).logabsdet
            torch.testing.assert_close(log_det[i, t], expected, atol=1e-8, rtol=1e-8)
            assert bool((jacobian[0, t][:, 0, t + 1 :] == 0).all())


def test_round_trip(kind: dict[str, str]) -> None:
    flow = random_flow(5, **kind)
    data = incomplete(sequences(4, 5))
    z, log_det, state = flow.transform(data)
    x, inverse_log_det, inverse_state = flow.inverse(z, replace(data, x=torch.full_like(data.x, 9.0)))
    torch.testing.assert_close(x, data.x, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(inverse_log_det, -log_det, atol=1e-9, rtol=1e-9)
    map_state(lambda a, b: torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9), state, inverse_state)


def test_any_split_is_the_whole(kind: dict[str, str]) -> None:
    flow = random_flow(4, **kind)
    data = incomplete(sequences(3, 4))
    whole, log_det, last = flow.transform(data)
    first, first_log_det, state = flow.transform(data.columns(slice(0, 2)))
    second, second_log_det, state = flow.transform(data.columns(slice(2, 4)), state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(torch.cat([first_log_det, second_log_det], 1), log_det, atol=1e-10, rtol=1e-10)
    map_state(lambda a, b: torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10), state, last)


def test_what_stands_in_place_of_a_missing_value_does_not_matter(kind: dict[str, str]) -> None:
    flow = random_flow(3, **kind)
    data = incomplete(sequences(4, 3, lengths=LENGTHS))
    assert data.measured is not None
    log_prob = flow.log_prob(data)
    for value in (50.0, torch.nan):
        wild = replace(data, x=data.x.masked_fill(~data.measured, value))
        torch.testing.assert_close(flow.log_prob(wild), log_prob, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(flow.initial_log_prob(wild), flow.initial_log_prob(data), atol=1e-12, rtol=1e-12)


def test_with_nothing_missing_nothing_changes(kind: dict[str, str]) -> None:
    flow = random_flow(5, **kind)
    data = sequences(4, 5, lengths=LENGTHS)
    every = replace(data, measured=data.mask[..., None].expand_as(data.x))
    torch.testing.assert_close(flow.log_prob(every), flow.log_prob(data), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(flow.initial_log_prob(every), flow.initial_log_prob(data), atol=1e-10, rtol=1e-10)
    flow.initialise(data)
    whole = {name: value.clone() for name, value in flow.mixed.state_dict().items()}
    flow.initialise(every)
    for name, value in flow.mixed.state_dict().items():
        torch.testing.assert_close(value, whole[name], atol=1e-8, rtol=1e-8)


def test_a_visit_without_a_value_has_no_density_and_tells_only_its_context(kind: dict[str, str]) -> None:
    flow = random_flow(2, **kind)
    data = sequences(2, 2)
    measured = torch.ones_like(data.x, dtype=torch.bool)
    measured[:, 1] = False
    log_prob = flow.log_prob(replace(data, measured=measured))
    assert bool((log_prob[:, 1] == 0).all()) and bool((log_prob[:, 2] != 0).all())


def test_at_the_mixed_model_a_subset_has_the_marginal_of_the_complete_visit() -> None:
    """Given the same past: the Gaussian with the moments of the complete visit's draws, cut to what was measured."""
    data = sequences(60, 3, lengths=LENGTHS)
    flow = CRowFlow(3, 2).double().eval()
    flow.initialise(data)
    some = data[:1]
    there = torch.tensor([True, False, True])
    measured = torch.ones_like(some.x, dtype=torch.bool)
    measured[:, -1] = there
    prediction, _ = flow.mixed.predict(some.x, flow.times(some, None))
    factor = flow.mixed.correlation[1].tril()
    sd = prediction.sd[0, -1]
    covariance = (sd[:, None] * (factor @ factor.T) * sd)[there][:, there]
    expected = torch.distributions.MultivariateNormal(prediction.mean[0, -1, there], covariance)
    found = flow.log_prob(replace(some, measured=measured))[0, -1]
    torch.testing.assert_close(found, expected.log_prob(some.x[0, -1, there]), atol=1e-6, rtol=1e-6)


def test_gradients_reach_the_map_of_missing_values(kind: dict[str, str]) -> None:
    flow = random_flow(3, **kind)
    flow.loss(incomplete(sequences(4, 3, lengths=LENGTHS))).backward()
    assert flow.missing.weight.grad is not None and bool((flow.missing.weight.grad.abs().sum(0) > 0).all())


def test_draws_given_an_incomplete_past_follow_the_density() -> None:
    """The mean of a region after a visit that lacked it, against the density on a grid."""
    both = FlowEnsemble(
        [random_flow(1, seed=k, share=0.5, initialisation=s) for k, s in enumerate(("mixed_model", "standard"))]
    ).double()
    data = sequences(1, 1, lengths=(4,), seed=4)
    measured = torch.ones_like(data.x, dtype=torch.bool)
    measured[:, 1] = False
    past = replace(data, measured=measured).columns(slice(0, 3))
    ahead = data.visit(3)
    draws = both.forecast(past, ahead, 4000, torch.Generator().manual_seed(0)).flatten()
    grid = torch.arange(-20, 20, 0.02, dtype=torch.float64)
    many = replace(data, measured=measured).repeat(len(grid))
    x = torch.cat([many.x[:, :3], grid.view(-1, 1, 1)], 1)
    density = both.log_prob(replace(many, x=x))[:, -1].exp().detach()
    assert float(density.sum()) * 0.02 == pytest.approx(1.0, abs=1e-3)
    mean = float((grid * density).sum()) * 0.02
    sd = (float((grid.square() * density).sum()) * 0.02 - mean**2) ** 0.5
    assert float(draws.mean()) == pytest.approx(mean, abs=0.1 * sd) and float(draws.std()) == pytest.approx(sd, rel=0.1)
