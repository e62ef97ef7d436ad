"""Beyond the longest follow-up of the training a flow is less sure; within it nothing changes."""

from dataclasses import replace

import pytest
import torch
from flows.random_sequences import random_flow, sequences

from crow.bijections.soft_bounds import Bounds
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow


def fitted() -> CRowFlow:
    flow = CRowFlow(3, 2).double()
    flow.initialise(sequences(60, 3, lengths=(4, 3)))
    return flow.eval()


def test_nothing_changes_within_the_follow_up() -> None:
    data, flow = sequences(60, 3, lengths=(4, 3)), fitted()
    with_drift = flow.log_prob(data)
    flow.follow_up.fill_(0.0)
    torch.testing.assert_close(flow.log_prob(data), with_drift, rtol=0, atol=0)


def test_uncertainty_grows_beyond_the_follow_up_and_counts_from_the_last_visit() -> None:
    flow, data = fitted(), sequences(6, 3)
    state = flow.condition(data)
    wider = []
    for years in (0.0, 1.0, 4.0):
        visit = replace(data.visit(3), time=flow.follow_up + years + torch.zeros(6, 1, dtype=torch.float64))
        sd = flow.predict(visit, state).sd
        follow_up = flow.follow_up.clone()
        flow.follow_up.fill_(0.0)
        wider.append(float((sd / flow.predict(visit, state).sd).mean()))
        flow.follow_up.copy_(follow_up)
    assert wider[0] == pytest.approx(1) and wider[1] > 1.05 and wider[2] > 1.3 * wider[1]
    seen = replace(data, time=data.time + 10 * flow.follow_up)  # history that goes on beyond the follow-up
    soon = replace(data.visit(3), time=seen.time[:, -1:] + 0.01)
    sd = flow.predict(soon, flow.condition(seen)).sd
    flow.follow_up.fill_(0.0)
    torch.testing.assert_close(sd, flow.predict(soon, flow.condition(seen)).sd, rtol=0.02, atol=0)


@pytest.mark.parametrize("initialisation", ["mixed_model", "standard"])
def test_the_density_stays_exact_beyond_the_follow_up(initialisation: str) -> None:
    data = sequences(5, 3, lengths=(4, 2, 3))
    flow = random_flow(3, initialisation=initialisation)
    flow.follow_up.fill_(0.4)
    z, log_det, _ = flow.transform(data)
    x, back, _ = flow.inverse(z, data)
    torch.testing.assert_close(x[data.mask], data.x[data.mask])
    torch.testing.assert_close(back[data.mask], -log_det[data.mask])
    visit, state = data[:1].visit(1), flow.condition(data[:1].visit(0))
    jacobian = torch.autograd.functional.jacobian(
        lambda own: flow.transform(replace(visit, x=own.view(1, 1, 3)), state)[0].flatten(), visit.x.flatten()
    )
    expected = flow.transform(visit, state)[1]
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet.view(1, 1), expected)


def bounded() -> tuple[CRowFlow, Sequences]:
    """A share from 0 to 1 that rises along a line, and stays at 1 in subjects that have reached it."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(5, dtype=torch.double).expand(80, -1)
    slope = 0.3 * torch.rand(80, 1, generator=generator, dtype=torch.double)
    noise = 0.03 * torch.randn(80, 5, generator=generator, dtype=torch.double)
    x = (0.2 + slope * time + noise).clamp(0, 1).unsqueeze(-1).repeat(1, 1, 2)
    data = Sequences(x, torch.zeros(80, 5, 1).double(), time, torch.ones(80, 5, dtype=torch.bool))
    zero = torch.zeros(2).double()
    most = torch.tensor([1.0, torch.inf]).double()
    flow = CRowFlow(2, 1).double()
    flow.initialise(data, Bounds(torch.tensor([0.0, -torch.inf]).double(), most, zero.bool(), zero, zero))
    return flow.eval(), data


def test_a_line_is_followed_no_farther_than_a_bound() -> None:
    flow, data = bounded()
    steep = data[data.x[:, -1, 0] > 0.9]
    visit = replace(steep.visit(4), time=steep.time[:, -1:] + 8)
    mean = flow.predict(visit, flow.condition(steep)).mean
    most = flow.bounds.ends()[1]
    assert bool((mean[..., 0] == most[0]).any()) and bool((mean[..., 0] <= most[0]).all())
    assert float(mean[..., 1].max()) > 2  # the same values without a bound go on
    draws = flow.sample(visit, flow.condition(steep), torch.randn(len(steep), 1, 2).double())[..., 0]
    assert float(draws.detach().min()) < 0.99  # not sure of the bound


def test_the_density_of_a_bounded_region_integrates_to_one_at_its_bound() -> None:
    flow, data = bounded()
    steep = data[data.x[:, -1, 0] > 0.9][:1]
    line = torch.linspace(-15, 15, 3001, dtype=torch.double).unsqueeze(1).expand(-1, 2)  # dense near the bounds
    x = flow.bounds.inverse(line)[0][:, 0]
    visit = replace(steep.visit(4), time=steep.time[:, -1:] + 8).repeat(len(x))
    visit = replace(visit, x=torch.stack([x, torch.zeros_like(x)], -1).unsqueeze(1))
    measured = torch.tensor([True, False]).expand_as(visit.x)
    past = flow.condition(steep.repeat(len(x)))
    density = flow.step(replace(visit, measured=measured), past)[0].exp().flatten().detach()
    assert float(torch.trapezoid(density, x)) == pytest.approx(1, abs=1e-3)
