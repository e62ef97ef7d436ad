"""Subnets are zero at initialisation; the conditioning network has one head per bijection."""

import pytest
import torch

from crow.networks.conditioning import ConditioningNetwork, WideTrunk
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP


def test_an_mlp_is_zero_at_initialisation_if_asked() -> None:
    x = torch.randn(2, 5, 3)
    assert torch.equal(MLP(3, 4)(x), torch.zeros(2, 5, 4))
    assert bool((MLP(3, 4, zero=False)(x) != 0).all())


def test_dropout_acts_in_training_only() -> None:
    mlp, x = MLP(3, 4, dropout=0.5, zero=False), torch.randn(2, 3)
    assert not torch.equal(mlp(x), mlp(x))
    assert torch.equal(mlp.eval()(x), mlp(x))


@pytest.mark.parametrize("space", [1, 2, 3])
def test_a_convolution_keeps_the_size_and_depends_on_neighbours(space: int) -> None:
    net, x = ConvNet(2, 3, space, hidden=8, zero=False), torch.zeros(1, 2, *(7,) * space)
    moved = x.clone()
    moved[(0, 0, *[3] * space)] = 1.0
    reached = (net(moved) - net(x))[0, 0] != 0
    assert reached.shape == (7,) * space and int(reached.sum()) == 5**space
    assert torch.equal(ConvNet(2, 3, space)(x), torch.zeros(1, 3, *(7,) * space))


def test_heads_of_vectors() -> None:
    contexts = ConditioningNetwork.of_vectors(4, 6, heads=3)(torch.randn(5, 4))
    assert [tuple(c.shape) for c in contexts] == [(5, 6)] * 3 and not torch.equal(contexts[0], contexts[1])


@pytest.mark.parametrize("space", [1, 2, 3])
def test_heads_of_images_have_the_resolution_of_their_level(space: int) -> None:
    contexts = ConditioningNetwork.of_images(2, 6, (0, 0, 1, 2), space)(torch.randn(3, 2, *(8,) * space))
    assert [tuple(c.shape) for c in contexts] == [(3, 6, *(size,) * space) for size in (8, 8, 4, 2)]


def test_it_needs_a_context() -> None:
    with pytest.raises(ValueError, match="needs a context"):
        ConditioningNetwork.of_vectors(4, 6, heads=3)(None)


@pytest.mark.parametrize("space", [1, 2, 3])
def test_a_wide_trunk_has_a_wide_receptive_field_and_positions(space: int) -> None:
    trunk, x = WideTrunk(1, 4, space), torch.zeros(1, 1, *(20,) * space)
    features = trunk(x)
    assert features.shape == (1, 4, *(20,) * space)
    corner, middle = features.flatten(2)[0, :, 0], features[(0, slice(None), *[10] * space)]
    assert not torch.allclose(corner, middle)
    moved = x.clone()
    moved[(0, 0, *[10] * space)] = 1.0
    reached = (trunk(moved) - features).abs().sum(1)[0]
    line = reached[(slice(None), *[10] * (space - 1))] != 0
    assert line.nonzero().flatten().tolist() == list(range(2, 19))
