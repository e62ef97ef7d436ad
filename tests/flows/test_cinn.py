"""The cINN is an exact density over vectors and images; its h is pretrained, then frozen or trained on."""

import math

import pytest
import torch
from bijections import contract
from torch import nn

from crow.data.examples import Examples
from crow.flows.cinn import CINN
from crow.flows.predictor import Predictor
from crow.networks.conditioning import ConditioningNetwork
from crow.run.config import Optimisation
from crow.training.fit import train

CASES = {
    "vector given a vector": ((5,), (3,), 1),
    "image given a vector": ((1, 4, 4), (3,), 2),
    "image given an image": ((2, 4, 4), (1, 4, 4), 2),
    "volume given a volume": ((1, 4, 4, 4), (2, 4, 4, 4), 2),
}
SETTINGS = Optimisation(max_epochs=2, steps_per_epoch=15, batch_size=16, learning_rate=0.01, ema_decay=0.0)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[CINN, torch.Tensor, torch.Tensor]:
    shape, context, levels = CASES[request.param]
    torch.manual_seed(0)
    flow = CINN(shape, context, levels, depth=2, hidden=6, features=3).double()
    x, c = torch.randn(4, *shape).double(), torch.randn(4, *context).double()
    flow.log_prob(x, c)
    contract.perturb(flow.bijection)
    return flow, x, c


def test_the_density_is_exact(case: tuple[CINN, torch.Tensor, torch.Tensor]) -> None:
    flow, x, c = case
    contract.check_round_trip(flow.bijection, x, c)
    contract.check_log_det(flow.bijection, x, c)
    contract.check_batch(flow.bijection, x, c)


def test_samples_differ_and_depend_on_the_condition(case: tuple[CINN, torch.Tensor, torch.Tensor]) -> None:
    flow, x, c = case
    drawn = flow.sample(c, 3, torch.Generator().manual_seed(0))
    assert drawn.shape == (3, *x.shape) and bool((drawn.std(0) > 0).all())
    again = flow.sample(c, 3, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)
    assert not torch.allclose(drawn, flow.sample(c + 1, 3, torch.Generator().manual_seed(0)))


def test_the_density_integrates_to_one() -> None:
    torch.manual_seed(0)
    flow = CINN((2,), (1,), depth=3, hidden=8, features=4).double()
    flow.log_prob(torch.randn(64, 2).double(), torch.randn(64, 1).double())
    contract.perturb(flow.bijection)
    axis = torch.linspace(-20, 20, 401).double()
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = flow.log_prob(grid, torch.ones(len(grid), 1).double()).exp().sum() * 0.1**2
    assert math.isclose(float(total), 1, abs_tol=0.01)


def test_noise_is_added_in_the_loss_only() -> None:
    torch.manual_seed(0)
    flow, batch = CINN((4,), (2,), depth=2, hidden=8, noise=0.5), Examples(torch.randn(16, 4), torch.randn(16, 2))
    flow.log_prob(batch.x, batch.context)
    assert torch.equal(flow.log_prob(batch.x, batch.context), flow.log_prob(batch.x, batch.context))
    assert not torch.equal(flow.loss(batch), flow.loss(batch))
    flow.noise = 0.0
    assert torch.equal(flow.loss(batch), -flow.log_prob(batch.x, batch.context).mean())


def test_an_image_condition_needs_the_size_of_x() -> None:
    with pytest.raises(ValueError, match=r"the size of x, \(4, 4\), got \(8, 8\)"):
        CINN((1, 4, 4), (1, 8, 8), 2)


@pytest.mark.parametrize("space", [0, 2])
def test_h_is_pretrained_then_frozen_or_trained(space: int) -> None:
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(64, 2, *(4,) * space, generator=generator)
    data = Examples(5 * c + torch.randn(c.shape, generator=generator), c)
    trunks = {}
    for held in (True, False):
        torch.manual_seed(0)
        flow = CINN(tuple(c.shape[1:]), tuple(c.shape[1:]), 1, depth=2, hidden=8, features=4)
        before = _values(flow.h.trunk)
        predictor = Predictor(flow.h.trunk, 8, tuple(c.shape[1:]))
        start = predictor.loss(data).item()
        assert train(predictor, data[:48], data[48:], SETTINGS, 0).validation_loss < start
        learned, heads = _values(flow.h.trunk), _values(flow.h.heads)
        assert not _same(before, learned)
        if held:
            flow.h.freeze()
        train(flow, data[:48], data[48:], SETTINGS, 0)
        assert not _same(heads, _values(flow.h.heads))
        assert _same(learned, _values(flow.h.trunk)) == held
        flow.loss(data).backward()
        trunks[held] = [parameter.grad for parameter in flow.h.trunk.parameters()]
    assert all(gradient is None for gradient in trunks[True])
    assert all(gradient is not None for gradient in trunks[False])


@pytest.mark.parametrize("space", [0, 2])
def test_h_is_pretrained_on_classes(space: int) -> None:
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(64, 2, *(4,) * space, generator=generator)
    data = Examples(c, c, (c.flatten(1).sum(1) > 0).long())
    torch.manual_seed(0)
    flow = CINN(tuple(c.shape[1:]), tuple(c.shape[1:]), 1, depth=1, hidden=8, features=4)
    predictor = Predictor(flow.h.trunk, 8, tuple(c.shape[1:]), classes=2)
    start = predictor.loss(data).item()
    assert predictor(c).shape == (64, 2)
    assert train(predictor, data[:48], data[48:], SETTINGS, 0).validation_loss < start


def test_a_frozen_trunk_keeps_its_batch_statistics() -> None:
    trunk = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    h = ConditioningNetwork(trunk, [nn.Linear(4, 1)])
    h(torch.randn(8, 2) + 3)
    h.freeze()
    before = _values(trunk)
    h.train()(torch.randn(8, 2) - 3)
    assert _same(before, _values(trunk)) and h.training and h.heads.training and not trunk.training


def _values(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_vector_is_initialised_at_the_regression() -> None:
    """After the fit the density is the linear model, and the residual is modelled exactly by the flow."""
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(300, 3, generator=generator)
    noise = torch.randn(300, 4, generator=generator) @ torch.randn(4, 4, generator=generator)
    x = 2 + c @ torch.randn(3, 4, generator=generator) + noise
    flow = CINN((4,), (3,), depth=2, hidden=6, features=3).eval()
    assert flow.regression is not None
    before = flow.log_prob(x, c)
    flow.regression.fit(x, c)
    noise_of = torch.distributions.MultivariateNormal(
        flow.regression.level + c @ flow.regression.effect.mT, scale_tril=flow.regression.factor
    )
    torch.testing.assert_close(flow.log_prob(x, c), noise_of.log_prob(x))
    assert flow.log_prob(x, c).mean() > before.mean() + 1
    drawn = flow.sample(c[:1], 20000, torch.Generator().manual_seed(1))[:, 0]
    torch.testing.assert_close(drawn.mean(0), noise_of.mean[0], atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), noise_of.covariance_matrix[0], atol=0.3, rtol=0.1)
    contract.perturb(flow)
    flow, x, c = flow.double(), x[:3].double(), c[:3].double()
    jacobian = torch.autograd.functional.jacobian(lambda v: flow.bijection(flow.regression(v, c)[0], c)[0].sum(0), x)
    expected = torch.linalg.slogdet(jacobian.transpose(0, 1)).logabsdet
    z, _ = flow.bijection(flow.regression(x, c)[0], c)
    torch.testing.assert_close(flow.log_prob(x, c), flow.prior.log_prob(z) + expected)
