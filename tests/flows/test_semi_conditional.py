"""The semi-conditional flow: a density of x and the class, with one pass of f for any number of classes."""

import math
from functools import partial

import pytest
import torch

from crow.bijections.dequantize import UniformDequantizer
from crow.bijections.multiscale import MultiScale
from crow.data.examples import UNKNOWN, Examples
from crow.flows.semi_conditional import SemiConditionalFlow
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP


def of_vectors(features: int, classes: int, class_values: int | None = None, **options: object) -> SemiConditionalFlow:
    torch.manual_seed(0)
    f = MultiScale((features,), 1, 2, partial(MLP, hidden=8))
    flow = SemiConditionalFlow(f, classes, class_values, hidden=8, depth=2, **options)  # type: ignore[arg-type]
    flow.loss(Examples(torch.randn(64, features)))  # the normalisation of activations takes its start from data
    return moved(flow)


def of_images(shape: tuple[int, ...], classes: int = 3, levels: int = 16) -> SemiConditionalFlow:
    torch.manual_seed(0)
    f = MultiScale(shape, 2, 2, partial(ConvNet, space=len(shape) - 1, hidden=4))
    flow = SemiConditionalFlow(f, classes, hidden=8, depth=2, dequantizer=UniformDequantizer(levels))
    flow.loss(Examples(torch.randint(0, levels, (8, *shape)).float()))
    return moved(flow)


def moved(flow: SemiConditionalFlow) -> SemiConditionalFlow:
    """A flow away from its initial parameters, at which all classes are the same."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return flow.eval()


@pytest.mark.parametrize("classes", [2, 10])
def test_one_pass_of_the_large_flow_for_any_number_of_classes(classes: int) -> None:
    flow = of_vectors(4, classes)
    passes: list[int] = []
    flow.bijection.register_forward_hook(lambda module, inputs, output: passes.append(len(inputs[0])))
    x = torch.randn(5, 4)
    assert flow.class_log_prob(x).shape == (5, classes)
    assert passes == [5]
    flow.log_prob(x), flow.predict(x), flow.loss(Examples(x, None, torch.tensor([0, 1, UNKNOWN, 0, UNKNOWN])))
    assert passes == [5] * 4


def test_it_integrates_to_one_over_x_and_the_classes() -> None:
    flow = of_vectors(2, 3, prior=torch.tensor([0.2, 0.3, 0.5])).double()
    axis = torch.linspace(-12, 12, 401, dtype=torch.double)
    grid = torch.cartesian_prod(axis, axis)
    cell = (axis[1] - axis[0]) ** 2
    by_class = flow.class_log_prob(grid).exp().sum(0) * cell
    assert torch.allclose(by_class, torch.tensor([0.2, 0.3, 0.5], dtype=torch.double), atol=1e-3)
    assert abs(flow.log_prob(grid).exp().sum() * cell - 1) < 1e-3


def test_p_of_x_is_the_sum_over_classes_even_for_unlikely_x() -> None:
    flow = of_vectors(4, 3).double()
    x = torch.randn(6, 4, dtype=torch.double)
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    joint = torch.stack([flow.log_prob(x, torch.full((6,), k)) for k in range(3)], 1)
    assert torch.allclose(joint.exp().sum(1).log(), flow.log_prob(x))
    assert torch.allclose(flow.predict(x).sum(1), torch.ones(6, dtype=torch.double))
    assert torch.allclose(flow.log_prob(x, label), joint.gather(1, label[:, None])[:, 0])
    far = flow.log_prob(200 * x)  # a plain sum of densities is 0 here
    assert (far < -745).all() and torch.isfinite(far).all()


def test_z_aux_does_not_depend_on_the_class() -> None:
    flow = of_vectors(6, 2, class_values=2).double()
    x = torch.randn(8, 6, dtype=torch.double)
    z, _ = flow.bijection(x)
    z[:, 2:] = torch.randn(8, 4, dtype=torch.double)
    other, _ = flow.bijection.inverse(z)
    assert torch.allclose(flow.predict(x), flow.predict(other))
    assert not torch.allclose(flow.log_prob(x), flow.log_prob(other))


def test_samples_of_a_class_follow_its_density() -> None:
    flow = of_vectors(2, 2).double()
    with torch.no_grad():
        flow.inner.levels[0].prior.subnet.last.bias[0] += 1  # type: ignore[union-attr, index]
        x = flow.sample(torch.ones(4000, dtype=torch.long), torch.Generator().manual_seed(0))
        again = flow.sample(torch.ones(4000, dtype=torch.long), torch.Generator().manual_seed(0))
        axis = torch.linspace(-12, 12, 301, dtype=torch.double)
        grid = torch.cartesian_prod(axis, axis)
        weight = flow.class_log_prob(grid)[:, 1].softmax(0)
    assert torch.equal(x, again)
    mean = weight @ grid
    assert torch.allclose(x.mean(0), mean, atol=0.1)
    assert torch.allclose(x.var(0), weight @ (grid - mean).square(), rtol=0.1)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 4, 4, 4)])
def test_images(shape: tuple[int, ...]) -> None:
    flow = of_images(shape)
    x = torch.randint(0, 16, (5, *shape)).float()
    assert (flow.log_prob(x) < 0).all()
    drawn = flow.sample(torch.tensor([0, 1, 2]))
    assert drawn.shape == (3, *shape) and torch.equal(drawn, drawn.round()) and 0 <= drawn.min() <= drawn.max() < 16


def test_the_loss_of_labelled_and_unlabelled_visits() -> None:
    flow = of_vectors(4, 3, label_weight=2.0).double()
    x = torch.randn(4, 4, dtype=torch.double)
    label = torch.tensor([2, UNKNOWN, 0, UNKNOWN])
    known = -(flow.log_prob(x, label.clamp_min(0)) - flow.log_prob(x))[[0, 2]].mean()
    assert torch.allclose(flow.loss(Examples(x, None, label)), -flow.log_prob(x).mean() + 2 * known)
    assert torch.allclose(flow.loss(Examples(x)), -flow.log_prob(x).mean())
    assert torch.allclose(flow.loss(Examples(x, None, torch.full((4,), UNKNOWN))), -flow.log_prob(x).mean())


def test_every_parameter_is_trained() -> None:
    flow = of_vectors(4, 3).train()
    flow.loss(Examples(torch.randn(6, 4), None, torch.tensor([0, 1, 2, UNKNOWN, UNKNOWN, UNKNOWN]))).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in flow.parameters())


def test_it_is_initialised_at_a_linear_discriminant() -> None:
    torch.manual_seed(0)
    flow = SemiConditionalFlow.of_shape((2,), 2, depth=2, hidden=8)
    label = torch.arange(400) % 2
    x = torch.randn(400, 2) + label[:, None] * torch.tensor([3.0, 0.0])
    known = torch.where(torch.arange(400) < 40, label, UNKNOWN)
    flow.initialise(Examples(x, None, known), torch.arange(400))
    flow = flow.double().eval()
    normal = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    expected = torch.stack([normal.log_prob(x), normal.log_prob(x - torch.tensor([3.0, 0.0]))], 1)
    assert (flow.class_log_prob(x.double()) - expected + math.log(2)).abs().median() < 0.2
    with torch.no_grad():
        drawn = flow.sample(torch.arange(2000) % 2, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn[1::2].mean(0), torch.tensor([3.0, 0.0], dtype=torch.double), atol=0.2)
    axis = torch.linspace(-12, 12, 301, dtype=torch.double)
    flow = moved(flow)
    assert abs(flow.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2 - 1) < 1e-3


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 classes"):
        of_vectors(4, 1)
