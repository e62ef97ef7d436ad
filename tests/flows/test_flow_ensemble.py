"""Flows pooled: the density is their mixture at every visit, and forecasts are draws from that density."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from flows.random_sequences import fill_pads, random_flow, sequences
from scipy.stats import kstest
from torch import Tensor

from crow.data.sequences import Sequences
from crow.flows.ensemble import FlowEnsemble

WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
STEP = 0.02
GRID = torch.arange(-20, 20, STEP, dtype=torch.float64)


def pool(regions: int = 1, base: str = "standard") -> FlowEnsemble:
    """Two members far apart, one of each start."""
    kinds = enumerate(("mixed_model", "standard"))
    members = [random_flow(regions, seed=k, share=0.5, base=base, initialisation=s) for k, s in kinds]
    return FlowEnsemble(members, WEIGHTS).eval()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def density(pool: FlowEnsemble, history: Sequences, visit: Sequences, x: Tensor) -> Tensor:
    """Of a subject's visit at the values ``x [n]``, given a past of its own for each ``[n]`` or one for all."""
    past, at = (v if len(v) == len(x) else v.repeat(len(x)) for v in (history, visit))
    parts = zip(
        (past.x, past.context, past.time, past.mask), (x.view(-1, 1, 1), at.context, at.time, at.mask), strict=True
    )
    return pool.log_prob(Sequences(*(torch.cat(both, 1) for both in parts)))[:, -1].exp()


def agrees(draws: Tensor, density: Tensor) -> None:
    """Mean, sd and distribution of independent draws against a density on the grid."""
    assert float(density.sum()) * STEP == pytest.approx(1.0, abs=1e-3)
    mean = float((GRID * density).sum()) * STEP
    sd = (float((GRID.square() * density).sum()) * STEP - mean**2) ** 0.5
    error = sd / len(draws) ** 0.5
    assert float(draws.mean()) == pytest.approx(mean, abs=4 * error)
    assert float(draws.std()) == pytest.approx(sd, rel=0.1)
    cumulative = (density.cumsum(0) - density / 2).numpy() * STEP
    assert kstest(draws.numpy(), lambda x: np.interp(x, GRID.numpy(), cumulative)).pvalue > 1e-3


def subject() -> tuple[Sequences, Sequences]:
    """Two visits of one subject, and the two after them."""
    data = sequences(1, 1, lengths=(4,), seed=4)
    past, ahead = (
        Sequences(*(v[:, part] for v in (data.x, data.context, data.time, data.mask)))
        for part in (slice(0, 2), slice(2, 4))
    )
    return past, ahead


def test_log_prob_is_the_mixture_at_every_visit() -> None:
    data = sequences(4, 3, lengths=(4, 1, 3, 2))
    both = pool(3)
    a, b = (member.log_prob(data).exp() for member in both.members)
    expected = torch.where(data.mask, (WEIGHTS[0] * a + WEIGHTS[1] * b).log(), 0.0)
    torch.testing.assert_close(both.log_prob(data), expected, atol=1e-10, rtol=1e-10)
    assert not torch.allclose(a[data.mask], b[data.mask], rtol=0.1)


def test_one_member_is_the_flow() -> None:
    flow = random_flow(3)
    data = sequences(4, 3, lengths=(4, 1, 3, 2))
    alone = FlowEnsemble([flow]).double().log_prob(data)
    torch.testing.assert_close(alone, flow.log_prob(data), atol=1e-12, rtol=1e-12)
    ahead = replace(sequences(4, 3, lengths=(1,)), time=torch.full((4, 1), 9.0, dtype=torch.float64))
    draws = FlowEnsemble([flow]).double().forecast(data, ahead, 6, generator())
    z = torch.stack([flow.transform(replace(ahead, x=draws[:, k]), flow.condition(data))[0] for k in range(6)], 1)
    assert bool((z.flatten().abs() < 5).all())
    torch.testing.assert_close(z[:, 3:], -z[:, :3], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("base", ["standard", "conditional"])
def test_draws_follow_the_density(base: str) -> None:
    """One and two visits ahead, given two visits, and the first visit of somebody new."""
    both = pool(base=base)
    past, ahead = subject()
    n = 4000
    draws = both.forecast(past, ahead, n, generator())[0, : n // 2, :, 0]
    next_density = density(both, past, ahead.visit(0), GRID)
    agrees(draws[:, 0], next_density)
    coarse = slice(0, None, 20)
    steps = GRID[coarse]
    later = torch.stack(
        [
            density(both, _longer(past, ahead.visit(0), x), ahead.visit(1), GRID[::5])
            for x in steps[next_density[coarse] > 1e-9]
        ]
    )
    weights = next_density[coarse][next_density[coarse] > 1e-9]
    second = (weights / weights.sum()) @ later
    agrees(draws[:, 1], torch.from_numpy(np.interp(GRID, GRID[::5], second)))
    nobody = Sequences(*(v[:, :0] for v in (past.x, past.context, past.time, past.mask)))
    new = both.forecast(None, past.visit(0), n, generator(1))[0, : n // 2, 0, 0]
    agrees(new, density(both, nobody, past.visit(0), GRID))


def _longer(past: Sequences, visit: Sequences, x: Tensor) -> Sequences:
    visit = replace(visit, x=x.view(1, 1, 1))
    pairs = ((getattr(past, k), getattr(visit, k)) for k in ("x", "context", "time", "mask"))
    return Sequences(*(torch.cat(pair, 1) for pair in pairs))


def test_predictions_follow_the_density() -> None:
    both = pool()
    past, _ = subject()
    mean, sd = both.predict(past, 4000, generator())
    first = Sequences(*(v[:, :1] for v in (past.x, past.context, past.time, past.mask)))
    p = density(both, first, past.visit(1), GRID)
    expected = float((GRID * p).sum()) * STEP
    expected_sd = (float((GRID.square() * p).sum()) * STEP - expected**2) ** 0.5
    assert mean.shape == sd.shape == past.x.shape
    assert float(mean[0, 1, 0]) == pytest.approx(expected, abs=0.1 * expected_sd)
    assert float(sd[0, 1, 0]) == pytest.approx(expected_sd, rel=0.1)


def test_predictions_of_many_subjects_are_those_of_each() -> None:
    both = pool()
    past, _ = subject()
    apart = torch.linspace(-2, 2, 5, dtype=past.x.dtype)[:, None, None]
    many = past.repeat(5)
    many = replace(many, x=many.x + apart)
    mean, sd = both.predict(many, 2000, generator())
    for k in range(5):
        mean_of_one, sd_of_one = both.predict(many[k : k + 1], 2000, generator(k))
        torch.testing.assert_close(mean[k], mean_of_one[0], rtol=0, atol=0.15 * float(sd_of_one.max()))
        torch.testing.assert_close(sd[k], sd_of_one[0], rtol=0.15, atol=0)


def test_draws_come_from_the_members_by_their_weights() -> None:
    """Where one member says -10 and the other +10, their share of the draws is their weight."""
    both = FlowEnsemble([random_flow(1, share=0.0, initialisation="standard") for _ in range(2)], WEIGHTS)
    with torch.no_grad():
        for member, level in zip(both.members, (-10.0, 10.0), strict=True):
            member.layers[0].outer.bias[0] = level
    past, ahead = subject()
    draws = both.forecast(past, ahead.visit(0), 2000, generator())
    assert bool((draws.abs() > 4).all())
    assert float((draws > 0).double().mean()) == pytest.approx(0.7, abs=0.05)
    assert bool(((draws[:, :1000] > 0) == (draws[:, 1000:] > 0)).all())


def test_a_seed_decides_the_draws() -> None:
    both = pool(2)
    history = sequences(3, 2, lengths=(3, 1, 2))
    ahead = replace(sequences(3, 2, lengths=(2,)), time=torch.tensor([[9.0, 10.0]] * 3, dtype=torch.float64))
    draws = both.forecast(history, ahead, 7, generator(5))
    assert draws.shape == (3, 7, 2, 2)
    assert torch.equal(draws, both.forecast(history, ahead, 7, generator(5)))
    assert torch.equal(draws, both.forecast(fill_pads(history, 50.0), ahead, 7, generator(5)))
    assert not torch.allclose(draws, both.forecast(history, ahead, 7, generator(6)))


def test_weights_are_saved() -> None:
    both = pool(2)
    kinds = enumerate(("mixed_model", "standard"), 5)
    other = FlowEnsemble([random_flow(2, seed=k, initialisation=s) for k, s in kinds]).double()
    other.load_state_dict(both.state_dict())
    data = sequences(3, 2, lengths=(3, 1, 2))
    torch.testing.assert_close(other.log_prob(data), both.log_prob(data), atol=0, rtol=0)
