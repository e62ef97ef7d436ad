"""The conditional flow: a density that depends on its condition everywhere, and works on images of other sizes."""

import pytest
import torch
from bijections import contract

from crow.data.examples import Examples
from crow.flows.conditional_flow import ConditionalFlow, flow_of_greys, flow_of_masks

EVENTS = {"vector": (3,), "2-D": (1, 8, 8), "3-D": (1, 4, 4, 4)}


def flow_over(kind: str) -> ConditionalFlow:
    torch.manual_seed(0)
    event = EVENTS[kind]
    return ConditionalFlow(event, 2, 1 if kind == "vector" else 2, 2, hidden=8, features=4)


@pytest.mark.parametrize("kind", EVENTS)
def test_shapes_and_the_initial_density(kind: str) -> None:
    """N(0, I) given every condition at initialisation."""
    flow, event = flow_over(kind).eval(), EVENTS[kind]
    x, context = torch.randn(5, *event), torch.randn(5, 2, *event[1:])
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(flow.log_prob(x, context), normal)
    assert flow.sample(context, 3).shape == (3, 5, *event)


@pytest.mark.parametrize("kind", EVENTS)
def test_samples_follow_the_density(kind: str) -> None:
    """z of a sample is standard normal, and everything depends on the condition."""
    flow, event = flow_over(kind).double(), EVENTS[kind]
    contract.perturb(flow)
    context = torch.randn(1, 2, *event[1:]).double().expand(500, 2, *event[1:])
    x = flow.eval().sample(context)[0]
    z = flow.bijection(x, context)[0].detach()
    assert abs(float(z.mean())) < 0.05 and abs(float(z.std()) - 1) < 0.05
    other = flow.bijection(x, context + 1)[0]
    assert bool(((other - z).abs().mean(0) > 1e-3).all())


def test_the_density_integrates_to_one() -> None:
    torch.manual_seed(0)
    flow = ConditionalFlow((2,), 1, 1, 2, hidden=8, features=4).double()
    contract.perturb(flow)
    at = torch.linspace(-30, 30, 601).double()
    grid = torch.cartesian_prod(at, at)
    density = flow.eval().log_prob(grid, grid.new_full((len(grid), 1), 0.7)).exp()
    assert abs(float(density.detach().sum()) * 0.01 - 1) < 1e-2


def test_a_resized_flow_has_the_same_map() -> None:
    """Only the borders depend on the size: far from them, z of a part equals z of the whole."""
    flow = ConditionalFlow((1, 8, 8), 1, 1, 1, hidden=4, features=2)
    contract.perturb(flow)
    large = flow.eval().resized(64, 64)
    assert not large.training
    x, context = torch.randn(1, 1, 64, 64), torch.randn(1, 1, 64, 64)
    near = flow.resized(48, 48)
    z, part = large.bijection(x, context)[0], near.bijection(x[..., 8:56, 8:56], context[..., 8:56, 8:56])[0]
    z, part = z.unflatten(1, (4, 32, 32)), part.unflatten(1, (4, 24, 24))
    torch.testing.assert_close(part[..., 8:16, 8:16], z[..., 12:20, 12:20], atol=1e-4, rtol=1e-4)


def test_a_loaded_flow_keeps_its_normalisation() -> None:
    """An ActNorm without a saved flag would be initialised again by its first training batch."""
    flow, batch = flow_over("2-D"), Examples(2 + 3 * torch.randn(8, 1, 8, 8), torch.randn(8, 2, 8, 8))
    flow.train().loss(batch)
    loaded = flow_over("2-D")
    loaded.load_state_dict(flow.state_dict())
    other = Examples(100 * torch.randn(8, 1, 8, 8), torch.randn(8, 2, 8, 8))
    assert torch.equal(loaded.train().loss(other), flow.eval().loss(other))


@pytest.mark.parametrize("kind", EVENTS)
def test_every_discrete_flow_learns(kind: str) -> None:
    """A loss with gradients for every parameter; samples are levels."""
    event = EVENTS[kind]
    x, context = torch.randint(2, (16, *event)).float(), torch.randn(16, 2, *event[1:])
    for model in (
        flow_of_greys(flow_over(kind), 2), flow_of_greys(flow_over(kind), 2, variational=True),
        flow_of_masks(event, 2, 1 if kind == "vector" else 2, 2, hidden=8, features=4),
    ):  # fmt: skip
        contract.perturb(model)
        loss = model.train().loss(Examples(x, context))
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
        assert set(model.eval().sample(context, 2).unique().tolist()) <= {0.0, 1.0}
