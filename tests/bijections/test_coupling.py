"""Couplings: the active half, the clamp, and the compiled graph."""

from functools import partial

import pytest
import torch
from bijections.contract import perturb
from torch import nn

from crow.bijections.coupling import AffineCoupling, soft_clamp
from crow.networks.mlp import MLP


@pytest.mark.parametrize(("swap", "kept"), [(False, slice(0, 2)), (True, slice(2, 5))])
def test_only_the_active_half_changes(swap: bool, kept: slice) -> None:
    coupling = AffineCoupling(5, 0, partial(MLP, hidden=8), swap=swap)
    perturb(coupling)
    x = torch.randn(7, 5)
    same = coupling(x)[0] == x
    assert bool(same[:, kept].all()) and int(same.sum()) == 7 * (kept.stop - kept.start)


def test_two_sided_equals_two_one_sided() -> None:
    both = AffineCoupling(5, 2, partial(MLP, hidden=8), two_sided=True)
    perturb(both)
    first, second = (
        AffineCoupling(5, 2, partial(MLP, hidden=8)),
        AffineCoupling(5, 2, partial(MLP, hidden=8), swap=True),
    )
    first.subnets[0], second.subnets[0] = both.subnets
    x, context = torch.randn(7, 5), torch.randn(7, 2)
    half, log_det_first = first(x, context)
    z, log_det_second = second(half, context)
    torch.testing.assert_close(both(x, context), (z, log_det_first + log_det_second))
    assert bool((z != x).all())


def test_the_clamp_bounds_the_scale() -> None:
    s = torch.linspace(-1e6, 1e6, 101)
    assert float(soft_clamp(s, 1.5).abs().max()) <= 1.5
    torch.testing.assert_close(soft_clamp(torch.tensor([1.5, -1.5]), 1.5), torch.tensor([0.75, -0.75]))
    coupling = AffineCoupling(4, 0, lambda inputs, outputs: _Huge(outputs), clamp=0.5)
    _, log_det = coupling(torch.randn(3, 4))
    torch.testing.assert_close(log_det, torch.full((3,), 1.0), atol=1e-4, rtol=0)


def test_one_channel_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="AffineCoupling needs at least 2 channels"):
        AffineCoupling(1, 0, MLP)


def test_it_compiles_to_one_graph() -> None:
    coupling = AffineCoupling(4, 2, partial(MLP, hidden=8))
    perturb(coupling)
    x, context = torch.randn(6, 4), torch.randn(6, 2)
    compiled = torch.compile(coupling, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, context), coupling(x, context))
    (expected,) = torch.autograd.grad(coupling(x, context)[0].square().sum(), [coupling.subnets[0].last.weight])
    (found,) = torch.autograd.grad(compiled(x, context)[0].square().sum(), [coupling.subnets[0].last.weight])
    torch.testing.assert_close(found, expected)


class _Huge(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), self.outputs), 1e6)
