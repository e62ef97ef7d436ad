"""The continuous flow keeps the contract for every trace and both gradients, and always ends."""

import pytest
import torch
from bijections import contract
from torch import Tensor, nn

from crow.bijections.ode import ODE
from crow.errors import SolverError
from crow.networks.dynamics import HiddenUnits
from crow.networks.mlp import MLP

TIGHT = 1e-10
CASES = {
    "vector": ((4,), "none", {}),
    "vector, context": ((4,), "vector", {}),
    "sequence, context": ((4,), "sequence", {}),
    "vector, steps": ((4,), "vector", {"steps": 40}),
    "1-D": ((2, 4), "vector", {}),
    "2-D": ((2, 2, 4), "none", {}),
    "2-D, context": ((2, 2, 4), "vector", {}),
    "2-D, maps": ((2, 2, 4), "maps", {}),
    "3-D, maps": ((1, 2, 4, 2), "maps", {}),
}


class Case:
    def __init__(self, name: str) -> None:
        self.shape, self.kind, self.options = CASES[name]
        self.space = len(self.shape) - 1
        batch = (3, 2) if self.kind == "sequence" else (3,)
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(*batch, *self.shape, generator=generator, dtype=torch.float64)
        self.context: Tensor | None = None
        if self.kind != "none":
            around = self.shape[1:] if self.kind == "maps" else ()
            self.context = torch.randn(*batch, 2, *around, generator=generator, dtype=torch.float64)
        torch.manual_seed(0)
        self.bijection = self.build().double()
        contract.perturb(self.bijection)
        with torch.no_grad():
            for parameter in self.bijection.parameters():
                parameter.mul_(0.5)  # dynamics of order one, so that a tight solution is a quick one

    def build(self) -> ODE:
        context = 0 if self.kind == "none" else 2
        dynamics = HiddenUnits(self.shape[0], context, self.space, hidden=5)
        return ODE(self.shape[0], dynamics, self.space, **{"tolerance": TIGHT, **self.options})


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_round_trip(case: Case) -> None:
    contract.check_round_trip(case.bijection, case.x, case.context, 1e-7)


def test_log_det(case: Case) -> None:
    if case.kind == "sequence":
        return  # of each visit: below
    contract.check_log_det(case.bijection, case.x[:1], None if case.context is None else case.context[:1], 1e-6)


def test_every_visit_of_a_sequence_is_an_event() -> None:
    case = Case("sequence, context")
    assert case.context is not None
    z, log_det = case.bijection(case.x, case.context)
    alone, alone_log_det = case.bijection(case.x[1], case.context[1])
    assert log_det.shape == (3, 2)
    torch.testing.assert_close(z[1], alone, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(log_det[1], alone_log_det, atol=1e-8, rtol=1e-8)


def test_gradients(case: Case) -> None:
    contract.check_gradients(case.bijection, case.x, case.context, case.kind != "none")


def test_state_dict(case: Case) -> None:
    contract.check_state_dict(case.bijection, case.x, case.context, case.build)


def test_modes(case: Case) -> None:
    contract.check_modes(case.bijection, case.x, case.context)


def test_is_the_identity_at_initialisation(case: Case) -> None:
    z, log_det = case.build().double()(case.x, case.context)
    torch.testing.assert_close(z, case.x, atol=1e-12, rtol=0)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det))


@pytest.mark.parametrize("name", ["vector, context", "2-D, maps", "3-D, maps"])
def test_every_trace_and_both_gradients_agree(name: str) -> None:
    """The divergence of the dynamics equals the autograd trace, and back-propagation the adjoint."""
    case = Case(name)
    expected = _answers(case, case.bijection)
    for trace in ("exact", "jacobian"):
        for adjoint in (False, True):
            other = ODE(case.shape[0], case.bijection.dynamics, case.space, trace, adjoint, TIGHT)
            for found, wanted in zip(_answers(case, other), expected, strict=True):
                torch.testing.assert_close(found, wanted, atol=2e-7, rtol=2e-7)


@pytest.mark.parametrize("adjoint", [False, True])
def test_hutchinson_is_unbiased(adjoint: bool) -> None:
    """The mean over all signs of three values is the trace; in evaluation the signs are fixed."""
    torch.manual_seed(0)
    ode = ODE(3, _Affine(), trace="hutchinson", adjoint=adjoint, tolerance=1e-9).double()
    x = torch.randn(400, 3, dtype=torch.float64)
    _, estimate = ode(x)
    expected = torch.diagonal(ode.dynamics.layer.weight).sum()
    sd = float(estimate.detach().std())
    assert sd > 0.1
    torch.testing.assert_close(estimate.mean(), expected, atol=4 * sd / 20, rtol=0)
    (gradient,) = torch.autograd.grad(estimate.mean(), ode.dynamics.layer.weight)
    torch.testing.assert_close(gradient.diagonal(), torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0)
    ode.eval()
    assert torch.equal(ode(x)[1], ode(x)[1])
    torch.testing.assert_close(ode(x[:1])[1], ode(x)[1][:1], atol=1e-7, rtol=1e-7)
    with torch.no_grad():
        torch.testing.assert_close(ode(x)[1], ode(x)[1])


def test_dynamics_without_a_divergence() -> None:
    """A network without ``with_divergence`` uses the autograd Jacobian."""
    torch.manual_seed(0)
    ode = ODE(3, _Network(), trace="jacobian", tolerance=TIGHT).double()
    contract.check_log_det(ode, torch.randn(2, 3, dtype=torch.float64), None, 1e-6)


def test_every_item_is_solved_to_the_tolerance_in_any_batch() -> None:
    """One hard item among easy ones: a mean over the batch would let its error grow with the batch."""
    case = Case("vector, context")
    assert case.context is not None
    ode = ODE(4, case.bijection.dynamics, tolerance=1e-5)
    x = 0.01 * case.x[:1].repeat(200, 1)
    x[7] = 6 * case.x[1]
    context = case.context[:1].repeat(200, 1)
    z, log_det = ode(x, context)
    for rows in (slice(7, 8), slice(0, 7)):
        exact, exact_log_det = case.bijection(x[rows], context[rows])
        alone, alone_log_det = ode(x[rows], context[rows])
        for found, found_log_det in ((z[rows], log_det[rows]), (alone, alone_log_det)):
            torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(found_log_det, exact_log_det, atol=1e-4, rtol=1e-4)


def test_with_fixed_steps_items_do_not_affect_each_other() -> None:
    case = Case("vector, steps")
    contract.check_batch(case.bijection, case.x, case.context)
    assert case.bijection.evaluations == 4 * 40


def test_a_looser_tolerance_takes_fewer_evaluations() -> None:
    case = Case("2-D")
    counts = []
    for tolerance in (1e-6, 1e-9, 1e-12):
        ode = ODE(2, case.bijection.dynamics, 2, tolerance=tolerance)
        ode(case.x)
        counts.append(ode.evaluations)
    assert 0 < counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize("adjoint", [False, True])
def test_too_many_evaluations_are_an_error(adjoint: bool) -> None:
    case = Case("vector")
    ode = ODE(4, case.bijection.dynamics, adjoint=adjoint, tolerance=1e-10, max_evaluations=10, name="block 2 of 3")
    with pytest.raises(SolverError, match=r"block 2 of 3: .*tolerance of 1e-10: at t = 0\.\d+ of 1, .*10 evaluations"):
        ode(case.x)


def test_a_solution_that_explodes_is_an_error() -> None:
    """dy/dt = y^2 from 3 has no solution after t = 1/3."""
    ode = ODE(1, _Square(), trace="jacobian", tolerance=1e-5, name="block 1")
    with pytest.raises(SolverError, match=r"block 1: .* at t = 0\.33"):
        ode(torch.full((2, 1), 3.0))


def test_a_gradient_that_explodes_is_an_error() -> None:
    """dy/dt = sqrt(y) from 0 stays there, with an infinite derivative, which only the adjoint meets."""
    ode = ODE(1, _Root(), adjoint=True, name="block 1")
    z, log_det = ode(torch.zeros(2, 1, requires_grad=True))
    with pytest.raises(SolverError, match=r"block 1: .*tolerance of 1e-05: at t = \d.*: the s"):
        (z.sum() + log_det.sum()).backward()


def test_input_that_is_not_finite_is_an_error() -> None:
    case = Case("vector")
    with pytest.raises(SolverError, match=r"ODE: its input is not finite"):
        case.bijection(case.x.log())


def test_refuses_bad_shapes() -> None:
    case = Case("2-D")
    contract.check_refuses(case.bijection, case.x[:, :1], None, "ODE")
    contract.check_refuses(Case("2-D, maps").bijection, Case("2-D, maps").x, None, "context of 2 channels")


def _answers(case: Case, ode: ODE) -> list[Tensor]:
    """z, log_det and every gradient."""
    x, context = case.x.clone().requires_grad_(), case.context
    assert context is not None
    context = context.clone().requires_grad_()
    z, log_det = ode(x, 1.0 * context)
    gradients = torch.autograd.grad(z.square().sum() + log_det.sum(), [x, context, *ode.dynamics.parameters()])
    return [z.detach(), log_det.detach(), *gradients]


class _Affine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor, context: Tensor | None = None) -> Tensor:
        return self.layer(y)


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = MLP(4, 3, hidden=5, zero=False)

    def forward(self, t: Tensor, y: Tensor, context: Tensor | None = None) -> Tensor:
        return self.network(torch.cat([y, t.expand(len(y), 1)], 1))


class _Square(nn.Module):
    def forward(self, t: Tensor, y: Tensor, context: Tensor | None = None) -> Tensor:
        return y.square()


class _Root(nn.Module):
    def with_divergence(self, t: Tensor, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y.sqrt(), y.new_zeros(len(y))
