"""Priors integrate to one, agree with torch.distributions, and their samples have their moments."""

from functools import partial

import pytest
import torch
from bijections.contract import perturb
from torch import Tensor

from crow.bijections.priors import ConditionalPrior, SplitPrior, StandardPrior
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP

CONTEXT = torch.tensor([[0.5, -1.0]], dtype=torch.float64)


def conditional(channels: int) -> ConditionalPrior:
    prior = ConditionalPrior(channels, 2, partial(MLP, hidden=8)).double()
    perturb(prior)
    return prior


def split(channels: int) -> SplitPrior:
    prior = SplitPrior(channels, 3, 2, partial(MLP, hidden=8)).double()
    perturb(prior)
    return prior


def grid(step: float = 0.05, reach: float = 12.0) -> Tensor:
    axis = torch.arange(-reach, reach, step, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)


@torch.no_grad()
def test_each_integrates_to_one() -> None:
    z = grid()
    context, z0 = CONTEXT.expand(len(z), -1), torch.ones(len(z), 3, dtype=torch.float64)
    for log_prob in (
        StandardPrior((2,)).log_prob(z),
        conditional(2).log_prob(z, context),
        split(2).log_prob(z, z0, context),
    ):
        assert float(log_prob.exp().sum() * 0.05**2) == pytest.approx(1, abs=1e-6)


def test_each_is_standard_normal_at_initialisation() -> None:
    z = torch.randn(4, 3, dtype=torch.float64)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    context = torch.randn(4, 2, dtype=torch.float64)
    start = ConditionalPrior(3, 2, partial(MLP, hidden=8)).double()
    given = SplitPrior(3, 3, 2, partial(MLP, hidden=8)).double()
    for log_prob in (StandardPrior((3,)).log_prob(z), start.log_prob(z, context), given.log_prob(z, z, context)):
        torch.testing.assert_close(log_prob, expected)


def test_log_prob_follows_from_the_moments() -> None:
    prior, z = conditional(3), torch.randn(5, 3, dtype=torch.float64)
    context = torch.randn(5, 2, dtype=torch.float64)
    mean, log_sd = prior.moments(context)
    assert bool((mean.abs() > 1e-3).all()) and bool((log_sd.abs() > 1e-3).all())
    expected = torch.distributions.Normal(mean, log_sd.exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(prior.log_prob(z, context), expected)


def test_samples_have_the_moments() -> None:
    generator = torch.Generator().manual_seed(0)
    prior, context = conditional(3), CONTEXT.expand(20000, -1)
    mean, log_sd = prior.moments(CONTEXT)
    z = prior.sample((20000,), context, generator)
    torch.testing.assert_close(((z - mean) / log_sd.exp()).mean(0), torch.zeros(3).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(((z - mean) / log_sd.exp()).std(0), torch.ones(3).double(), atol=0.03, rtol=0)


def test_a_seed_gives_the_same_draws() -> None:
    given_context, given_rest = conditional(2), split(2)

    def draws(seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        z0 = torch.ones(1, 3, dtype=torch.float64)
        return [
            StandardPrior((2, 4)).sample((3,), generator=generator),
            given_context.sample((1,), CONTEXT, generator),
            given_rest.sample(z0, CONTEXT, generator),
        ]

    assert [tuple(z.shape) for z in draws(1)] == [(3, 2, 4), (1, 2), (1, 2)]
    for a, b, c in zip(draws(1), draws(1), draws(2), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("space", [1, 2, 3])
def test_over_images(space: int) -> None:
    sizes = (4,) * space
    z, z0 = torch.randn(2, 3, *sizes), torch.randn(2, 2, *sizes)
    subnet = partial(ConvNet, space=space, hidden=4)
    assert ConditionalPrior(3, 2, subnet, space).log_prob(z, z0).shape == (2,)
    assert ConditionalPrior(3, 2, subnet, space).sample((2,), z0).shape == z.shape
    assert SplitPrior(3, 2, 5, subnet, space).log_prob(z, z0, torch.randn(2, 5)).shape == (2,)
    assert StandardPrior(tuple(z.shape[1:])).log_prob(z).shape == (2,)


def test_refuses_bad_shapes() -> None:
    with pytest.raises(ValueError, match="StandardPrior expects"):
        StandardPrior((3,)).log_prob(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="needs a context"):
        conditional(2).log_prob(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="over"):
        conditional(2).log_prob(torch.zeros(1, 3), CONTEXT)
    with pytest.raises(ValueError, match="batch"):
        conditional(2).sample((3,), CONTEXT)
