"""CGlow is a density given attributes, which have no effect at initialisation and different priors after training."""

import math

import pytest
import torch
from bijections import contract

from crow.bijections.regression import Regression
from crow.data.examples import Examples
from crow.flows.cglow import CGlow
from crow.flows.glow import Glow
from crow.objectives.attributes import attribute_loss
from crow.run.config import Optimisation
from crow.training.fit import train

ATTRIBUTES = (2, 1, 3)  # a sex, an age and a diagnosis
CASES = {"vector": ((5,), 0), "image": ((1, 8, 8), 17), "volume": ((1, 4, 4, 4), 256)}


def attributes(n: int, seed: int = 0) -> torch.Tensor:
    """Attributes ``[n, 6]``: one-hot, a number, one-hot."""
    generator = torch.Generator().manual_seed(seed)
    sex = torch.eye(2)[torch.randint(2, (n,), generator=generator)]
    diagnosis = torch.eye(3)[torch.randint(3, (n,), generator=generator)]
    return torch.cat([sex, torch.randn(n, 1, generator=generator), diagnosis], 1)


def visits(shape: tuple[int, ...], greys: int, n: int = 6) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randint(greys, (n, *shape)).float() if greys else torch.randn(n, *shape)


@pytest.mark.parametrize("case", CASES)
def test_attributes_have_no_effect_at_initialisation(case: str) -> None:
    shape, greys = CASES[case]
    torch.manual_seed(0)
    flow, x, c = CGlow(shape, ATTRIBUTES, 2, 2, 8, greys), visits(shape, greys), attributes(6)
    flow.loss(Examples(x, c))
    assert torch.allclose(*(_log_prob(flow, x, context) for context in (c, c.flip(0))))
    contract.perturb(flow.prior)
    assert not torch.allclose(*(_log_prob(flow, x, context) for context in (c, c.flip(0))))


@pytest.mark.parametrize("case", CASES)
def test_samples_differ_and_a_seed_repeats_them(case: str) -> None:
    shape, greys = CASES[case]
    torch.manual_seed(0)
    flow, x, c = CGlow(shape, ATTRIBUTES, 2, 2, 8, greys), visits(shape, greys), attributes(6)
    flow.loss(Examples(x, c))
    first, again = (flow.sample(c, 3, torch.Generator().manual_seed(2)) for _ in range(2))
    assert first.shape == (3, 6, *shape) and torch.equal(first, again) and bool((first[0] != first[1]).any())
    if greys:
        assert bool((first == first.round()).all()) and first.min() >= 0 and first.max() < greys


def test_the_density_integrates_to_one_for_every_attribute() -> None:
    torch.manual_seed(0)
    flow = CGlow((2,), ATTRIBUTES, depth=2, hidden=8).double()
    flow.loss(Examples(torch.randn(64, 2).double(), attributes(64).double()))
    contract.perturb(flow)
    flow.eval()
    axis = torch.linspace(-20, 20, 401).double()
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        for c in attributes(2).double():
            total = flow.log_prob(grid, c.expand(len(grid), -1)).exp().sum() * 0.1**2
            assert math.isclose(float(total), 1, abs_tol=0.01)


def test_decode_inverts_encode() -> None:
    torch.manual_seed(0)
    flow, x = Glow((1, 8, 8), 2, 2, 8, 17).double(), visits((1, 8, 8), 17).double()
    flow.loss(Examples(x))
    contract.perturb(flow)
    flow.eval()
    assert torch.equal(flow.decode(flow.encode(x)[0]), x)


def test_it_learns_the_means_given_attributes() -> None:
    """x is the age and the sex, with noise."""
    torch.manual_seed(0)
    c = attributes(600)
    x = torch.stack([c[:, 2], 4 * c[:, 0]], 1) + 0.3 * torch.randn(600, 2)
    flow = CGlow((2,), ATTRIBUTES, depth=2, hidden=16)
    settings = Optimisation(max_epochs=20, steps_per_epoch=20, learning_rate=0.02, patience=20, threads=1)
    train(flow, Examples(x[:500], c[:500]), Examples(x[500:], c[500:]), settings, 0)
    drawn = flow.sample(torch.tensor([[1.0, 0, 1.5, 1, 0, 0], [0, 1, -1.5, 1, 0, 0]]), 500)
    assert torch.allclose(drawn.mean(0), torch.tensor([[1.5, 4.0], [-1.5, 0.0]]), atol=0.35)
    prediction = flow.attribute_head(flow.encode(x, c)[0]).detach()
    assert float(attribute_loss(prediction, c, ATTRIBUTES)) < float(attribute_loss(0 * prediction, c, ATTRIBUTES))


def linear_data(n: int) -> Examples:
    """Five values that are linear in the attributes, and correlated noise."""
    torch.manual_seed(2)
    c = attributes(n)
    return Examples(c @ torch.randn(6, 5) + torch.randn(n, 5) @ torch.randn(5, 5) / 3, c)


def test_a_vector_is_initialised_at_the_regression_on_attributes() -> None:
    """Before training and in its first steps, in which an ActNorm would otherwise normalise one batch."""
    data = linear_data(300)
    flow = CGlow((5,), ATTRIBUTES, depth=3, hidden=8)
    flow.initialise(data, torch.arange(300))
    assert flow.requires_grad_(False).linear is not None and data.context is not None
    r = flow.linear.bijections[1]
    assert isinstance(r, Regression)
    mean = r.level + data.context @ r.effect.T
    normal = torch.distributions.MultivariateNormal(mean, scale_tril=r.factor)
    for part in (flow.eval(), flow.train()):
        few = part.log_prob(data.x[:8], data.context[:8])
        torch.testing.assert_close(few, normal.log_prob(data.x)[:8], atol=1e-4, rtol=1e-4)
    drawn = flow.sample(data.context[:2], 4000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.mean(0), normal.mean[:2], atol=0.15)
    assert torch.allclose(torch.cov(drawn[:, 0].T), normal.covariance_matrix[0], atol=0.2)


def test_images_are_initialised_at_the_regression_and_principal_components() -> None:
    """A normal model of new images: means by attributes, one brightness per subject, noise per voxel."""
    torch.manual_seed(0)
    effect, own = 8 * torch.randn(6, 1, 8, 8), 1 + 3 * torch.rand(1, 8, 8)
    middle = torch.full((1, 8, 8), 128.0)

    def images(n: int) -> Examples:
        c = attributes(n)
        bright = 20 * torch.randn(n, 1, 1, 1)
        x = middle + (c @ effect.flatten(1)).view(n, 1, 8, 8) + bright + own * torch.randn(n, 1, 8, 8)
        return Examples(x.clamp(0, 255).floor(), c)

    data, new = images(300), images(300)
    flow = CGlow((1, 8, 8), ATTRIBUTES, 2, 2, 8, 256)
    flow.initialise(data, torch.arange(300))
    with torch.no_grad():
        z, _ = flow.train().encode(new.x, new.context)
    assert z.square().mean() == pytest.approx(1, abs=0.1)
    assert z.mean(1).std() * 8 == pytest.approx(1, abs=0.25)  # 8 and more of voxels by their own sd
    assert new.context is not None
    drawn = flow.eval().sample(new.context[:1], 2000, torch.Generator().manual_seed(0))[:, 0]
    expected = middle + (new.context[:1] @ effect.flatten(1)).view(1, 8, 8)
    assert (drawn.mean(0) - expected).abs().mean() < 3  # 11 of the mean of all
    assert drawn.mean((1, 2, 3)).std() == pytest.approx(20, rel=0.15)
    contract.perturb(flow)
    with torch.no_grad():
        again = flow.double().decode(flow.encode(new.x.double(), new.context.double())[0], new.context.double())
    assert torch.equal(again, new.x.double())


def test_attribute_loss_of_classes_and_numbers() -> None:
    c = attributes(4)
    logits = 20 * c
    logits[:, 2] = c[:, 2] + 2
    assert float(attribute_loss(logits, c, ATTRIBUTES)) == pytest.approx(2.0, abs=1e-5)
    unsure = torch.zeros(4, 6)
    unsure[:, 2] = c[:, 2]
    assert float(attribute_loss(unsure, c, ATTRIBUTES)) == pytest.approx(math.log(2) + math.log(3), rel=1e-5)


def _log_prob(flow: CGlow, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)
    return flow.eval().log_prob(x, c)
