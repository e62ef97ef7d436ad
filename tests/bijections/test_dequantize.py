"""Dequantisers: exact inverses, densities that integrate to one, bounds below the probability."""

import math
from itertools import product

import pytest
import torch
from bijections import contract
from scipy.special import ndtri_exp
from torch import Tensor, nn

from crow.bijections.dequantize import BinaryDequantizer, UniformDequantizer, VariationalDequantizer, _quantile
from crow.flows.base import DiscreteFlow
from crow.flows.conditional_flow import ConditionalFlow, conditional_stack, flow_of_masks, wide_network
from crow.networks.mlp import MLP

KINDS = ("uniform", "variational", "binary")
LEVELS = {"uniform": 3, "variational": 3, "binary": 2}


def dequantizer(kind: str, event: tuple[int, ...] = (2,), levels: int | None = None) -> nn.Module:
    """A dequantiser with a context of 2 channels, away from its initial parameters."""
    torch.manual_seed(0)
    levels, space = levels or LEVELS[kind], len(event) - 1
    if kind == "uniform":
        return UniformDequantizer(levels)
    channels = event[0] * (3 if kind == "binary" else 1) + 2
    q = conditional_stack(event, channels, 1, 2, hidden=8, features=4)
    contract.perturb(q)
    if kind == "variational":
        return VariationalDequantizer(q, levels, 2, space)
    network = wide_network(2, event[0], space, 8) if space else MLP(2, event[0], 8)
    contract.perturb(network)
    return BinaryDequantizer(q, network, 2, space)


def every(levels: int, values: int) -> Tensor:
    return torch.tensor(list(product(range(levels), repeat=values)), dtype=torch.get_default_dtype())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("event", [(5,), (1, 4, 4), (1, 4, 4, 4)])
def test_levels_are_recovered_exactly(kind: str, event: tuple[int, ...]) -> None:
    """In float32 and with 256 levels, even if the noise is close to the end of its level."""
    levels = 2 if kind == "binary" else 256
    learned = dequantizer(kind, event, levels)
    if kind != "uniform":
        contract.perturb(learned, seed=1)
    x = torch.randint(levels, (64, *event)).float()
    x[0], x[1] = 0, levels - 1
    context = 4 * torch.randn(64, 2, *event[1:])
    for _ in range(20):
        v, log_q = learned(x, context)
        assert torch.equal(learned.inverse(v, context), x)
        assert v.shape == x.shape and log_q.shape == (64,) and bool(log_q.isfinite().all())


@pytest.mark.parametrize("kind", ["variational", "binary"])
def test_the_density_of_the_noise_integrates_to_one(kind: str) -> None:
    """Over a grid of v, by the inverse of each map: w from v, e from w."""
    learned = dequantizer(kind).double()
    x, context = torch.tensor([[1.0, 0.0]]).double(), torch.randn(1, 2).double()
    w = torch.linspace(-25, 25, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(w, w)
    a = learned.threshold(context)
    q, condition = learned.q.eval(), learned.condition(x, context, a).expand(len(grid), -1)
    e, log_det = q(grid, condition)
    log_w = torch.distributions.Normal(0.0, 1.0).log_prob(e).sum(1) + log_det
    v, log_slope = learned.place(grid, x.expand(len(grid), -1), a)
    log_v = log_w - log_slope.sum(1)
    order = [v[:, 0].unflatten(0, (801, 801))[:, 0], v[:, 1].unflatten(0, (801, 801))[0]]
    integral = log_v.exp().unflatten(0, (801, 801))
    for axis, at in zip((0, 0), order, strict=True):
        integral = torch.trapezoid(integral, at, dim=axis).abs()
    assert abs(float(integral.detach()) - 1) < 2e-3


@pytest.mark.parametrize("kind", ["variational", "binary"])
def test_the_returned_log_q_is_that_density(kind: str) -> None:
    learned = dequantizer(kind).double()
    x, context = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double(), torch.randn(2, 2).double()
    v, log_q = learned(x, context)
    a = learned.threshold(context)
    normal = torch.distributions.Normal(0.0, 1.0)

    def cut() -> Tensor:
        side = 2 * x - 1
        return -normal.icdf(normal.cdf(-side * v) / normal.cdf(side * a))

    w = {"variational": lambda: torch.logit(((v + 0.5) * 3 - x - 1e-4) / (1 - 2e-4)), "binary": cut}
    w_back = w[kind]()
    e, log_det = learned.q.eval()(w_back, learned.condition(x, context, a))
    log_w = torch.distributions.Normal(0.0, 1.0).log_prob(e).sum(1) + log_det
    torch.testing.assert_close(log_q, log_w - learned.place(w_back, x, a)[1].sum(1), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_below_the_probability_and_its_weights_sum_to_one(kind: str) -> None:
    """Over every possible x: sum exp(E log w) < 1, and sum E w is the mass that the flow gives to levels."""
    learned, draws, context = dequantizer(kind), 4000, torch.tensor([[0.3, -0.5]])
    flow = ConditionalFlow((2,), 2, 1, 2, hidden=8, features=4)
    contract.perturb(flow)
    with torch.no_grad():
        for parameter in [*flow.parameters(), *learned.parameters()]:
            parameter.mul_(0.3)  # so that the weights do not differ by too much
        if kind != "uniform":
            learned.q.levels[0].steps[0].bijections[0].log_scale.add_(0.7)  # wide enough for every v
        if kind != "binary":
            flow.bijection.levels[0].steps[0].bijections[0].log_scale.fill_(-1.5)  # most of it in [-0.5, 0.5]
    model = DiscreteFlow(flow, learned).eval()
    x = every(LEVELS[kind], 2)
    with torch.no_grad():
        v, log_q = learned(x.repeat(draws, 1), context.expand(draws * len(x), -1))
        log_w = (flow.log_prob(v, context.expand(len(v), -1)) - log_q).unflatten(0, (draws, len(x)))
        bound = model.log_prob(x, context.expand(len(x), -1), draws=500)
        v = flow.sample(context, 50_000)[:, 0]
    inside = v if kind == "binary" else v[(v.abs() < 0.5).all(1)]
    found = learned.inverse(inside, context)
    share = torch.stack([(found == row).all(1).sum() for row in x]) / len(v)
    each = log_w.exp().mean(0)
    error = float((log_w.exp().var(0) / draws).sum().sqrt())
    assert error < 0.02 and len(inside) > 0.5 * len(v)
    assert abs(float(each.sum()) - len(inside) / len(v)) < 4 * error + 0.01
    torch.testing.assert_close(each, share, atol=0.03, rtol=0)
    assert bool((bound.exp() < each + 0.02).all()) and float(bound.exp().sum()) < 1


def test_masks_are_initialised_at_a_plain_network() -> None:
    """For any noise and any confidence of the network, the bound is the probability of independent voxels, and draws
    are theirs."""
    torch.manual_seed(0)
    model = flow_of_masks((1, 8, 8), 2, 2, 2, hidden=4, features=2)
    contract.perturb(model.dequantizer.network)
    context, x = 12 * torch.randn(6, 2, 8, 8), torch.randint(2, (6, 1, 8, 8)).float()
    a = model.dequantizer.threshold(context)
    assert float(a.detach().abs().max()) > 4
    independent = torch.distributions.Bernoulli(torch.special.ndtr(a.double())).log_prob(x.double()).flatten(1).sum(1)
    for train in (True, False):
        torch.testing.assert_close(model.train(train).log_prob(x, context).double(), independent, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(model.sample(context, 4000).mean(0), torch.special.ndtr(a), atol=0.05, rtol=0)


def test_the_quantile_reaches_far_tails() -> None:
    """Compared with scipy, with the gradient of the inverse function."""
    log_p = -torch.logspace(math.log10(math.log(2)), 3, 500, dtype=torch.float64).requires_grad_()
    found = _quantile(log_p)
    torch.testing.assert_close(found.detach(), torch.from_numpy(ndtri_exp(log_p.detach().numpy())))
    slope = torch.exp(log_p.detach() + 0.5 * found.detach() ** 2) * math.sqrt(2 * math.pi)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), log_p)[0], slope)
