"""Haar and squeeze: the place of each value."""

import pytest
import torch

from crow.bijections.haar import Haar
from crow.bijections.squeeze import Squeeze


@pytest.mark.parametrize("space", [1, 2, 3])
def test_averages_come_first_and_the_norm_is_kept(space: int) -> None:
    x = torch.randn(2, 3, *(4,) * space, dtype=torch.float64)
    haar = Haar(3, space).double()
    z, _ = haar(x)
    pool = {1: torch.nn.AvgPool1d, 2: torch.nn.AvgPool2d, 3: torch.nn.AvgPool3d}[space](2)
    torch.testing.assert_close(z[:, :3], pool(x) * 2 ** (space / 2))
    torch.testing.assert_close(z.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))
    constant, _ = haar(torch.ones_like(x))
    assert bool((constant[:, 3:] == 0).all())


def test_a_plane_by_hand() -> None:
    z, _ = Haar(1, 2)(torch.tensor([[[[1.0, 2.0], [3.0, 8.0]]]]))
    assert sorted(z.flatten().tolist()) == [-4.0, -3.0, 2.0, 7.0] and z[0, 0] == 7


def test_even_positions_of_a_checkerboard_come_first() -> None:
    parity = (torch.arange(4)[:, None] + torch.arange(6)) % 2
    z, _ = Squeeze(1, 2)(parity[None, None].float())
    assert torch.equal(z, torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 4, 1, 1).expand(1, 4, 2, 3))


@pytest.mark.parametrize("layer", [Haar, Squeeze])
def test_odd_sizes_are_refused(layer: type[Haar | Squeeze]) -> None:
    with pytest.raises(ValueError, match=r"needs even sizes, got \[4, 3\]"):
        layer(1, 2)(torch.zeros(1, 1, 4, 3))
