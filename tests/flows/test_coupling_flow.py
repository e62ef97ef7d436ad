"""The plain conditional coupling flow is a conditional density with the shapes of torch.distributions."""

from functools import partial

import pytest
import torch
from bijections.contract import perturb

from crow.flows.coupling import CouplingFlow
from crow.networks.mlp import MLP


@pytest.fixture
def flow() -> CouplingFlow:
    flow = CouplingFlow(2, 1, blocks=2, subnet=partial(MLP, hidden=8)).double()
    perturb(flow)
    return flow


def test_it_integrates_to_one_for_every_context(flow: CouplingFlow) -> None:
    axis = torch.arange(-40, 40, 0.1, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        for c in (-1.0, 2.0):
            total = flow.log_prob(x, torch.full((len(x), 1), c, dtype=torch.float64)).exp().sum() * 0.1**2
            assert float(total) == pytest.approx(1, abs=1e-3)


def test_shapes(flow: CouplingFlow) -> None:
    context = torch.randn(3, 1, dtype=torch.float64)
    assert flow.sample(context, 5).shape == (5, 3, 2)
    assert flow.sample(context.expand(4, 3, 1), 5).shape == (5, 4, 3, 2)
    assert flow.log_prob(torch.zeros(4, 3, 2).double(), context.expand(4, 3, 1)).shape == (4, 3)
    assert CouplingFlow(4).sample(n=6).shape == (6, 4)


def test_each_sample_belongs_to_its_context(flow: CouplingFlow) -> None:
    context = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
    draws = flow.sample(context, 2000, torch.Generator().manual_seed(0))
    for i in range(2):
        alone = flow.sample(context[i : i + 1], 2000, torch.Generator().manual_seed(1))[:, 0]
        torch.testing.assert_close(draws[:, i].median(0).values, alone.median(0).values, atol=0.2, rtol=0.1)


def test_a_seed_gives_the_same_flow_and_samples() -> None:
    def draws(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return CouplingFlow(6, generator=generator).sample(n=3, generator=generator)

    assert torch.equal(draws(1), draws(1)) and not torch.equal(draws(1), draws(2))


def test_it_learns_a_conditional_density() -> None:
    """x = (c + e1, x1^2 + e2 / 2): its entropy bounds what any flow can reach."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    flow = CouplingFlow(2, 1, blocks=3, subnet=partial(MLP, hidden=16), generator=generator)
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-2)
    c = torch.randn(2000, 1, generator=generator)
    first = c + torch.randn(2000, 1, generator=generator)
    x = torch.cat([first, first**2 + torch.randn(2000, 1, generator=generator) / 2], 1)
    for _ in range(150):
        optimiser.zero_grad()
        loss = -flow.log_prob(x[:1000], c[:1000]).mean()
        loss.backward()
        optimiser.step()
    entropy = float(1 + torch.log(torch.tensor(2 * torch.pi)) - torch.log(torch.tensor(2.0)))
    with torch.no_grad():
        assert entropy - 0.1 < float(-flow.log_prob(x[1000:], c[1000:]).mean()) < entropy + 0.4
