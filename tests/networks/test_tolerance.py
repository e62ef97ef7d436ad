"""The gate of a solver's tolerance has a gradient, which follows the cost of evaluations."""

import torch

from crow.bijections.ode import ODE
from crow.networks.dynamics import HiddenUnits
from crow.networks.tolerance import ToleranceGate, policy_loss


def test_tolerances_are_in_range() -> None:
    torch.manual_seed(0)
    for space, shape in ((0, (4,)), (2, (4, 2, 2)), (3, (4, 2, 2, 2))):
        gate = ToleranceGate(4, space)
        for training in (True, False):
            gate.train(training)
            assert 1e-5 < float(gate(100 * torch.randn(6, *shape))) < 1e-4


def test_the_gradient_is_not_zero() -> None:
    """In the published code the log-probability of the action did not depend on the gate."""
    torch.manual_seed(0)
    gates = [ToleranceGate(4), ToleranceGate(4)]
    x = torch.randn(6, 4, requires_grad=True)
    for spent in ([20, 30], [26, 40]):
        for gate in gates:
            gate(x)
        loss = policy_loss(gates, spent, 1.0)
    loss.backward()
    for gate in gates:
        for name, parameter in gate.named_parameters():
            assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name
    assert x.grad is None  # the gate looks at the flow and does not pull at it


def test_the_gradient_follows_the_log_probability() -> None:
    """``d/d gate log N(a; gate, sd) = (a - gate) / sd^2``: towards an action with a higher return than before."""
    torch.manual_seed(0)
    gate = ToleranceGate(2)
    x = torch.zeros(3, 2)
    gate(x)
    policy_loss([gate], [20], 0.0)
    tolerance = float(gate(x))
    with torch.no_grad():
        action = torch.logit(torch.tensor((tolerance - 1e-5) / 9e-5))
        mean = gate.last(torch.nn.functional.silu(gate.first(x))).mean()
    policy_loss([gate], [14], 0.0).backward()
    # A return 0.1 * (20 - 14) above the one before; the spread starts at 1 and has seen distances of 0 and 0.6.
    advantage = 0.6 / (0.9 * (0.9 * 1.0 + 0.1 * 0.0) + 0.1 * 0.6)
    assert gate.last.bias.grad is not None
    torch.testing.assert_close(gate.last.bias.grad[0], -advantage * (action - mean) / 0.25, atol=1e-3, rtol=1e-3)


def test_it_learns_to_use_fewer_evaluations() -> None:
    """A solver with fewer evaluations at looser tolerances, and a loss that does not depend on them."""
    torch.manual_seed(0)
    gate = ToleranceGate(4)
    optimizer = torch.optim.Adam(gate.parameters(), 0.02)
    x = torch.randn(8, 4)
    before = float(gate.eval()(x))
    gate.train()
    for _ in range(200):
        spent = round(40 * (float(gate(x)) / 1e-5) ** -0.2)
        loss = policy_loss([gate], [spent], float(torch.randn(())) * 0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(gate.eval()(x)) > max(8e-5, before)


def test_learned_tolerances_change_the_evaluations() -> None:
    torch.manual_seed(0)
    dynamics = HiddenUnits(4, 0, hidden=16)
    for parameter in dynamics.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    gate = ToleranceGate(4)
    ode = ODE(4, dynamics, tolerance=gate).eval()
    x = torch.randn(16, 4)
    counts = []
    for bias in (-20.0, 20.0):
        gate.last.bias.data.fill_(bias)
        ode(x)
        counts.append(ode.evaluations)
        assert abs(ode.tolerance - (1e-5 if bias < 0 else 1e-4)) < 1e-6
    assert counts[1] < counts[0]
