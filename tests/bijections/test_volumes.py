"""The layers of a flow over volumes keep the contract, on masks of any form."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from bijections import contract
from torch import Tensor, nn

from crow.bijections.base import Bijection
from crow.bijections.checkpointed import CheckpointedChain
from crow.bijections.context_gate import ContextGate
from crow.bijections.coupling import AffineCoupling
from crow.bijections.haar import Haar
from crow.bijections.masked_haar import MaskedHaar
from crow.bijections.voxel_autoregression import AutoregressionSums, VoxelAutoregression, VoxelPast
from crow.networks.masked import MaskedConvNet

SIZES = {"1-D": (8,), "2-D": (4, 6), "3-D": (2, 4, 4)}


def random_mask(sizes: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.rand(sizes, generator=torch.Generator().manual_seed(seed)) > 0.4


def gate(sizes: tuple[int, ...]) -> ContextGate:
    inside = random_mask((2, *sizes))
    return ContextGate(inside, 3, partial(MaskedConvNet, inside=inside, hidden=4))


def chain(sizes: tuple[int, ...]) -> CheckpointedChain:
    net = partial(MaskedConvNet, hidden=4)
    halves = random_mask((2, *sizes)).split(1)
    return CheckpointedChain(
        AffineCoupling(2, 3, partial(net, inside=halves[1 - k]), len(sizes), swap=bool(k)) for k in range(2)
    )


LAYERS: dict[str, tuple[int, Callable[[tuple[int, ...]], Bijection]]] = {
    "MaskedHaar": (1, lambda sizes: MaskedHaar(random_mask(sizes))),
    "ContextGate": (2, gate),
    "CheckpointedChain": (2, chain),
}


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("name", LAYERS)
def test_contract(name: str, kind: str) -> None:
    sizes = SIZES[kind]
    channels, make = LAYERS[name]
    build = partial(make, sizes)
    layer: nn.Module = build().double()
    contract.perturb(layer)
    x, context = (torch.randn(3, n, *sizes, dtype=torch.float64) for n in (channels, 3))
    contract.check_round_trip(layer, x, context)
    contract.check_log_det(layer, x, context)
    contract.check_gradients(layer, x, context, context_matters=name != "MaskedHaar")
    contract.check_batch(layer, x, context)
    contract.check_state_dict(layer, x, context, build)
    contract.check_modes(layer, x, context)
    contract.check_refuses(layer, torch.zeros(3, 5, *sizes).double(), context, "expects")


@pytest.mark.parametrize("name", ["ContextGate", "CheckpointedChain"])
def test_is_the_identity_at_initialisation(name: str) -> None:
    x, context = torch.randn(3, 2, 4, 6), torch.randn(3, 3, 4, 6)
    z, log_det = LAYERS[name][1]((4, 6))(x, context)
    assert torch.equal(z, x) and bool((log_det == 0).all())


@pytest.mark.parametrize("space", [1, 2, 3])
def test_whole_cubes_have_the_haar_wavelet(space: int) -> None:
    sizes = (4,) * space
    x = torch.randn(2, 1, *sizes, dtype=torch.float64)
    haar = MaskedHaar(torch.ones(sizes, dtype=torch.bool)).double()
    torch.testing.assert_close(haar(x)[0], Haar(1, space).double()(x)[0])
    assert bool(haar.inside.all())


@pytest.mark.parametrize("kind", SIZES)
def test_inside_and_outside_do_not_mix(kind: str) -> None:
    """There are as many inside coefficients as inside voxels, and they depend on those voxels only."""
    mask = random_mask(SIZES[kind])
    haar = MaskedHaar(mask).double()
    x = torch.randn(2, 1, *mask.shape, dtype=torch.float64)
    assert haar.inside.sum() == mask.sum()
    z, z_outside = haar(x)[0], haar(x.masked_fill(mask, 0.0))[0]
    assert bool((z_outside[:, haar.inside].abs() < 1e-12).all())
    assert bool((haar(x.masked_fill(~mask, 0.0))[0][:, ~haar.inside].abs() < 1e-12).all())
    torch.testing.assert_close(z[:, haar.inside].norm(dim=1), x[:, 0, mask].norm(dim=1))


def test_the_first_coefficient_of_a_partial_cube_is_its_average() -> None:
    mask = torch.tensor([[True, True], [False, True]])
    z, _ = MaskedHaar(mask).double()(torch.tensor([[[[1.0, 2.0], [100.0, 6.0]]]]).double())
    torch.testing.assert_close(z[0, 0, 0, 0], torch.tensor(9.0).double() / 3**0.5)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"MaskedHaar has a mask for \[4, 6\] voxels, got \[4, 4\]"):
        MaskedHaar(random_mask((4, 6)))(torch.zeros(1, 1, 4, 4))


def test_autoregression_keeps_the_contract() -> None:
    mask = torch.tensor([1.0, 1.0, 0.0, 1.0])
    layer = VoxelAutoregression(mask).double()
    contract.perturb(layer)
    x, last, mean = torch.randn(3, 3, 4, dtype=torch.float64) * mask
    first = torch.tensor([[True], [False], [False]])
    past = VoxelPast(last * ~first, mean * ~first, torch.rand(3, 1).double() * ~first, first)
    z, log_det = layer(x, past)
    back, inverse_log_det = layer.inverse(z, past)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(inverse_log_det, -log_det)
    for row in range(3):
        own = VoxelPast(*(part[row : row + 1] for part in past))
        jacobian = torch.autograd.functional.jacobian(lambda v, own=own: layer(v[None], own)[0][0], x[row])
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det[row])


def test_a_voxel_that_never_changes_has_a_finite_forecast() -> None:
    sums = AutoregressionSums(2)
    first = torch.tensor([[True], [False]])
    constant = torch.zeros(2, 2)
    sums.add(constant, VoxelPast(constant, constant, torch.tensor([[0.0], [1.0]]), first))
    assert all(bool(parameter.isfinite().all()) for parameter in sums.fit().parameters())
