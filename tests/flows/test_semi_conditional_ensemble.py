"""The ensemble is a density of x and the class, and its mean prediction labels unlabelled visits."""

import math

import pytest
import torch
from torch import Tensor

from crow.bijections.dequantize import UniformDequantizer
from crow.data.examples import UNKNOWN, Examples
from crow.flows.semi_conditional import SemiConditionalFlow, class_loss
from crow.flows.semi_conditional_ensemble import Augment, SemiConditionalEnsemble
from crow.representation.augmentation import augment_images, fixed_augmentations


def committee(
    members: int = 2, confidence: float = 0.8, augment: Augment = lambda x: x + 0.5, features: int = 4
) -> SemiConditionalEnsemble:
    torch.manual_seed(0)
    flows = [SemiConditionalFlow.of_shape((features,), 3, depth=2, hidden=8) for _ in range(members)]
    made = SemiConditionalEnsemble(flows, augment, confidence=confidence)
    made.loss(Examples(torch.randn(64, features)))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return made


def test_it_integrates_to_one_over_x_and_the_classes() -> None:
    flows = committee(features=2).double().eval()
    axis = torch.linspace(-15, 15, 401, dtype=torch.double)
    grid, cell = torch.cartesian_prod(axis, axis), (axis[1] - axis[0]) ** 2
    assert torch.allclose(flows.class_log_prob(grid).exp().sum(0) * cell, torch.full((3,), 1 / 3).double(), atol=1e-3)


def test_the_prediction_is_the_mean_of_the_members() -> None:
    flows = committee(3).double().eval()
    x, label = torch.randn(5, 4).double(), torch.tensor([0, 1, 2, 0, 1])
    each = [flow.log_prob(x, label).exp() for flow in flows.members]  # type: ignore[operator]
    assert torch.allclose(flows.log_prob(x, label).exp(), torch.stack(each).mean(0))
    prediction = [flow.predict(x) for flow in flows.members]  # type: ignore[operator]
    assert torch.allclose(flows.predict(x), torch.stack(prediction).mean(0))
    passes: list[int] = []
    flows.members[0].bijection.register_forward_hook(lambda *_: passes.append(1))  # type: ignore[union-attr, operator]
    flows.class_log_prob(x)
    assert passes == [1]


def test_confident_mean_predictions_are_used_as_labels() -> None:
    x, unknown = torch.randn(6, 4), torch.full((6,), UNKNOWN)
    losses = {c: committee(2, c).loss(Examples(x, None, unknown)).detach() for c in (0.0, 1.1)}
    flows = committee(2)
    plain = -torch.stack([flow.log_prob(x).mean() for flow in flows.members]).mean().detach()  # type: ignore[operator]
    guess = flows.predict(x).argmax(1)
    wrong = [class_loss(flow.class_log_prob(x + 0.5), guess) for flow in flows.members]  # type: ignore[operator]
    assert losses[1.1] == pytest.approx(float(plain), rel=1e-4)
    taught = 10 * float(torch.stack(wrong).mean().detach())
    assert float(losses[0.0] - losses[1.1]) == pytest.approx(taught, rel=1e-3)


def test_a_label_is_never_replaced() -> None:
    x, label = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    losses = [committee(2, c).loss(Examples(x, None, label)).detach() for c in (0.0, 1.1)]
    assert torch.equal(*losses)


def test_every_parameter_is_trained_and_evaluation_uses_the_mixture() -> None:
    flows = committee(2)
    x, label = torch.randn(6, 4), torch.tensor([0, 1, 2, UNKNOWN, UNKNOWN, UNKNOWN])
    flows.loss(Examples(x, None, label)).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in flows.parameters())
    flows.eval()
    known = -(flows.log_prob(x[:3], label[:3]) - flows.log_prob(x[:3])).mean()
    assert torch.allclose(flows.loss(Examples(x, None, label)), 10 * known - flows.log_prob(x).mean(), rtol=1e-4)


def test_samples_come_from_every_member() -> None:
    flows = committee(2).eval()
    label = torch.tensor([0, 0, 1, 1, 2])
    drawn = flows.sample(label, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    first, second = (flow.sample(label[k::2], generator) for k, flow in enumerate(flows.members))  # type: ignore[operator]
    assert torch.equal(drawn[0::2], first) and torch.equal(drawn[1::2], second)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 4, 8, 4)])
def test_views_of_images(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 16, (3, *shape)).float()
    views = fixed_augmentations(x)
    assert all(torch.equal(a, b) for a, b in zip(views, fixed_augmentations(x), strict=True))
    assert torch.equal(fixed_augmentations(x[1:2])[0], views[0][1:2])
    moved = augment_images(x)
    for view in (*views, moved):
        assert view.shape == x.shape and torch.equal(view, view.round()) and 0 <= view.min() <= view.max() < 16
        assert not torch.equal(view, x)
    assert not torch.equal(moved, augment_images(x))
    flat = torch.full((1, 1, *([9] * (len(shape) - 1))), 8.0)
    assert augment_images(flat)[(0, 0, *([4] * (len(shape) - 1)))] == 8


def test_images() -> None:
    def flow() -> SemiConditionalFlow:
        return SemiConditionalFlow.of_shape((1, 8, 8), 3, depth=2, hidden=4, dequantizer=UniformDequantizer(16))

    flows = SemiConditionalEnsemble([flow(), flow()], augment_images, fixed_augmentations)
    x: Tensor = torch.randint(0, 16, (6, 1, 8, 8)).float()
    assert torch.isfinite(flows.loss(Examples(x, None, torch.tensor([0, 1, 2, UNKNOWN, UNKNOWN, UNKNOWN]))))
    prediction = flows.eval().predict(x).detach()
    assert prediction.shape == (6, 3) and torch.allclose(prediction.sum(1), torch.ones(6))
    assert math.isfinite(float(flows.log_prob(x).sum().detach()))
