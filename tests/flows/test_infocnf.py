"""InfoCNF and CCNF: the density of x and the class, the classifier, samples, and learned tolerances."""

import math
from pathlib import Path

import pytest
import torch
from bijections import contract
from torch import Tensor

from crow.bijections.dequantize import UniformDequantizer
from crow.data.examples import Examples
from crow.flows.infocnf import InfoCNF
from crow.run.config import load_settings
from crow.run.cross_sectional_config import ContinuousFlow, InfoCNFConfig

SHAPES = {"vector": (5,), "2-D": (1, 4, 4), "3-D": (1, 4, 4, 4)}
CLASSES = 3


def random_flow(shape: tuple[int, ...] = (5,), share: float = 0.5, tolerance: float | None = 1e-9) -> InfoCNF:
    torch.manual_seed(0)
    flow = InfoCNF(shape, CLASSES, 2, 1, 6, share=share, tolerance=tolerance).double()
    flow.train()
    with torch.no_grad():
        flow(torch.randn(8, *shape, dtype=torch.float64))
        contract.perturb(flow)
        for parameter in flow.parameters():
            parameter.mul_(0.5)
    return flow.eval()


def visits(shape: tuple[int, ...], n: int = 4) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(params=SHAPES, scope="module")
def shape(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return SHAPES[request.param]


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["InfoCNF", "CCNF"])
def test_joint_is_the_density(shape: tuple[int, ...], share: float) -> None:
    """The density of the latent values given the class, by torch.distributions, and the log-determinant."""
    flow, x = random_flow(shape, share), visits(shape)
    z, log_det = flow.bijection(x)
    n = flow.supervised
    assert n == (z.shape[1] if share == 1 else round(z.shape[1] / 2))
    aside = torch.distributions.Normal(0.0, 1.0).log_prob(z[:, n:]).sum(1)
    for y in range(CLASSES):
        inside = torch.distributions.Normal(flow.mean[y], flow.log_sd[y].exp()).log_prob(z[:, :n]).sum(1)
        expected = inside + aside + log_det - math.log(CLASSES)
        torch.testing.assert_close(flow.class_log_prob(x)[:, y], expected, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(flow.log_prob(x, torch.full((len(x),), y)), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(flow.log_prob(x), flow.class_log_prob(x).logsumexp(1))
    torch.testing.assert_close(flow.predict(x), flow.classifier(z[:, :n]).softmax(1))


def test_the_stack_is_a_bijection(shape: tuple[int, ...]) -> None:
    flow, x = random_flow(shape), visits(shape, 2)
    contract.check_round_trip(flow.bijection, x, None, 1e-6)
    if len(shape) < 4:
        z, log_det = flow.bijection(x[:1])
        size = z.shape[1]
        jacobian = torch.autograd.functional.jacobian(lambda v: flow.bijection(v)[0], x[:1]).reshape(size, size)
        torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian).logabsdet, atol=1e-6, rtol=1e-6)


def test_the_density_integrates_to_one() -> None:
    torch.manual_seed(0)
    flow = random_flow((2,), tolerance=1e-7)
    axis = torch.linspace(-12, 12, 161, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = flow.log_prob(grid).exp().sum() * float(axis[1] - axis[0]) ** 2
    assert abs(float(total) - 1) < 1e-3


def test_samples_follow_the_density() -> None:
    """The latent values of samples of a class are normal with its mean and sd."""
    flow = random_flow((5,))
    label = torch.tensor([0, 2]).repeat(2000)
    x = flow.sample(label, torch.Generator().manual_seed(0))
    assert x.shape == (4000, 5)
    z = flow.bijection(x)[0].detach()
    for y in (0, 2):
        inside = (z[label == y, : flow.supervised] - flow.mean[y]) / flow.log_sd[y].exp()
        e = torch.cat([inside, z[label == y, flow.supervised :]], 1)
        assert bool((e.mean(0).abs() < 0.1).all()) and bool((e.std(0) - 1).abs().max() < 0.1)
    again = flow.sample(label, torch.Generator().manual_seed(0))
    assert torch.equal(x, again)


def test_loss_of_labelled_and_unlabelled_visits() -> None:
    flow, x = random_flow((5,)), visits((5,))
    label = torch.tensor([1, -1, 0, -1])
    bits = 5 * math.log(2)
    given = flow.log_prob(x, label.clamp_min(0)) + math.log(CLASSES)
    log_prob = torch.where(label >= 0, given, flow.log_prob(x))
    predicted = flow.predict(x)
    cross_entropy = -(predicted[0, 1].log() + predicted[2, 0].log()) / 2
    expected = -log_prob.mean() / bits + 0.5 * cross_entropy
    torch.testing.assert_close(flow.loss(Examples(x, None, label)), expected, atol=1e-7, rtol=1e-7)
    unknown = -flow.log_prob(x).mean() / bits
    torch.testing.assert_close(flow.loss(Examples(x)), unknown)
    torch.testing.assert_close(flow.loss(Examples(x, None, torch.full((4,), -1))), unknown)


def test_a_score_does_not_depend_on_the_batch() -> None:
    """Up to the tolerance of the solver, fixed or learned."""
    for tolerance in (1e-5, None):
        flow = random_flow((1, 4, 4), tolerance=tolerance)
        x = visits((1, 4, 4), 40)
        x[3] *= 8
        torch.testing.assert_close(flow.log_prob(x)[:3], flow.log_prob(x[:3]), atol=5e-3, rtol=0)


def test_every_parameter_is_trained() -> None:
    """Gates too, by policy gradient, without a change of the value of the loss."""
    torch.manual_seed(0)
    flow = InfoCNF((1, 4, 4), CLASSES, 2, 1, 6)
    x, label = torch.randn(8, 1, 4, 4), torch.arange(8) % CLASSES
    flow.loss(Examples(x, None, label))  # of which the gates' baseline remembers the return
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    flow.loss(Examples(x, None, label)).backward()
    still = [name for name, p in flow.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert not still
    names = [name for name, _ in flow.named_parameters() if ".gate." in name]
    assert len(names) == 4 * len(flow.blocks) == 8
    assert flow.evaluations == sum(block.evaluations for block in flow.blocks) > 0
    assert [block.name for block in flow.blocks] == ["continuous block 1 of 2", "continuous block 2 of 2"]


def test_grey_levels_of_images() -> None:
    torch.manual_seed(0)
    flow = InfoCNF((1, 4, 4), CLASSES, 1, 1, 6, dequantizer=UniformDequantizer(17)).eval()
    x = torch.randint(17, (6, 1, 4, 4)).float()
    assert flow.class_log_prob(x).shape == flow.predict(x).shape == (6, CLASSES)
    sample = flow.sample(torch.tensor([0, 1, 2, 0]), torch.Generator().manual_seed(0))
    assert sample.shape == (4, 1, 4, 4)
    assert bool((sample == sample.round()).all()) and float(sample.min()) >= 0 and float(sample.max()) <= 16
    with torch.no_grad():
        expected = -flow.log_prob(x, torch.zeros(6, dtype=torch.long)).mean() / (16 * math.log(2))
    assert abs(float(expected) - math.log2(17)) < 3  # the start is near the uniform's


def test_refuses_invalid_arguments() -> None:
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        InfoCNF((4,), 1)
    with pytest.raises(ValueError, match="divisible by 4, got"):
        InfoCNF((1, 6, 6), 3)


def test_the_preset_is_the_default() -> None:
    preset = Path(__file__).parents[2] / "configs" / "infocnf.yaml"
    assert load_settings(InfoCNFConfig, preset) == InfoCNFConfig()
    assert load_settings(InfoCNFConfig, sets=["flow.levels=1"]).flow == ContinuousFlow(levels=1)
