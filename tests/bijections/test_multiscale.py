"""The stack of levels keeps the contract of a bijection, with every kind of context."""

from functools import partial

import pytest
import torch
from bijections import contract
from torch import Tensor, nn

from crow.bijections.multiscale import MultiScale, head_levels
from crow.networks.conditioning import ConditioningNetwork
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP

CASES = {
    "vector": ((5,), 1, "none", {}),
    "vector, context": ((5,), 1, "vector", {"top": True}),
    "vector, heads": ((4,), 1, "heads", {"two_sided": True}),
    "2-D": ((1, 4, 4), 2, "none", {}),
    "2-D, context": ((1, 4, 4), 2, "vector", {"top": True, "halving": "squeeze"}),
    "2-D, heads": ((2, 4, 4), 2, "heads", {"top": True}),
    "2-D, no split prior": ((1, 4, 4), 2, "vector", {"split": False}),
    "3-D, heads": ((1, 4, 4, 4), 2, "heads", {}),
}


class Case:
    def __init__(self, name: str) -> None:
        self.shape, self.levels, self.kind, self.options = CASES[name]
        self.space = len(self.shape) - 1
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(3, *self.shape, generator=generator, dtype=torch.float64)
        self.context: Tensor | None = None
        if self.kind != "none":
            around = self.shape[1:] if self.kind == "heads" else ()
            self.context = torch.randn(3, 2, *around, generator=generator, dtype=torch.float64)
        torch.manual_seed(0)
        self.bijection = self.build().double()
        self.bijection(self.x, self.context)
        contract.perturb(self.bijection)

    def build(self) -> MultiScale:
        subnet = partial(ConvNet, space=self.space, hidden=4) if self.space else partial(MLP, hidden=8)
        h: nn.Module | None = None
        heads = head_levels(self.levels, 2, self.space)
        if self.kind == "heads" and self.space:
            h = ConditioningNetwork.of_images(2, 3, heads, self.space, hidden=4)
        elif self.kind == "heads":
            h = ConditioningNetwork.of_vectors(2, 3, len(heads), hidden=4)
        channels = {"none": 0, "vector": 2, "heads": 3}[self.kind]
        return MultiScale(self.shape, self.levels, 2, subnet, channels, h, **self.options)


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_round_trip(case: Case) -> None:
    contract.check_round_trip(case.bijection, case.x, case.context)


def test_log_det(case: Case) -> None:
    contract.check_log_det(case.bijection, case.x, case.context)


def test_gradients(case: Case) -> None:
    if case.kind == "heads" and not case.options.get("top"):
        case = Case("2-D, heads")  # without a prior of the top its head has nothing to do
    contract.check_gradients(case.bijection, case.x, case.context, case.kind != "none")


def test_batch(case: Case) -> None:
    contract.check_batch(case.bijection, case.x, case.context)


def test_state_dict(case: Case) -> None:
    contract.check_state_dict(case.bijection, case.x, case.context, case.build)


def test_the_top_comes_first(case: Case) -> None:
    """The part that leaves first is last in z, and the top has its declared shape."""
    z, _ = case.bijection(case.x, case.context)
    size = torch.Size(case.shape).numel()
    assert z.shape == (3, size)
    assert case.bijection.top == size // 2 ** (case.levels - 1)
    shifted = z.clone()
    shifted[:, : case.bijection.top] += 1
    back, _ = case.bijection.inverse(shifted, case.context)
    assert not torch.allclose(back, case.x)


def test_half_of_the_channels_leave_after_each_level_except_the_last(case: Case) -> None:
    size = torch.Size(case.shape).numel()
    left = [size // 2**k for k in range(case.levels - 1, 0, -1)]
    assert case.bijection.parts == [size - sum(left), *left]


def test_refuses_sizes_that_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="divisible by 4, got"):
        MultiScale((1, 6, 6), 2, 1, partial(ConvNet, space=2))


def test_refuses_a_conditioning_network_with_too_few_heads() -> None:
    h = ConditioningNetwork.of_vectors(2, 3, 2, hidden=4)
    with pytest.raises(ValueError, match="needs 3 contexts, its conditioning network gives 2"):
        MultiScale((4,), 1, 2, partial(MLP, hidden=4), 3, h)(torch.randn(2, 4), torch.randn(2, 2))
