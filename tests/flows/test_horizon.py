"""Beyond the longest follow-up of the training a flow is less sure; within it nothing changes."""

from dataclasses import replace

import pytest
import torch
from flows.random_sequences import random_flow, sequences

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
