"""Reversible back-propagation equals plain back-propagation and stores no activations."""

import pytest
import torch
from bijections.contract import perturb
from torch import Tensor, nn

from crow.bijections.affine import ActNorm
from crow.bijections.chain import Chain
from crow.bijections.coupling import AffineCoupling
from crow.bijections.mixing import LU, Permutation
from crow.bijections.recurrent import RecurrentCoupling
from crow.bijections.reversible import ReversibleChain
from crow.bijections.spline import SplineCoupling
from crow.networks.conditioning import ConditioningNetwork
from crow.networks.mlp import MLP


def subnet(inputs: int, outputs: int) -> MLP:
    return MLP(inputs, outputs, hidden=16)


def couplings() -> list[nn.Module]:
    return [
        ActNorm(6), Permutation(6), AffineCoupling(6, 3, subnet, two_sided=True), LU(6),
        SplineCoupling(6, 3, subnet, swap=True), AffineCoupling(6, 0, subnet),
    ]  # fmt: skip


def recurrent() -> list[nn.Module]:
    return [RecurrentCoupling(6, 3, 8), Permutation(6), RecurrentCoupling(6, 3, 8, swap=True)]


def conditioned() -> tuple[list[nn.Module], nn.Module]:
    return [AffineCoupling(6, 3, subnet, swap=swap) for swap in (False, True)], ConditioningNetwork.of_vectors(3, 3, 2)


CHAINS = {"vectors": lambda: (couplings(), None), "sequences": lambda: (recurrent(), None), "conditioned": conditioned}


@pytest.mark.parametrize("kind", CHAINS)
def test_values_and_gradients_equal_plain_back_propagation(kind: str) -> None:
    torch.manual_seed(0)
    bijections, conditioning = CHAINS[kind]()
    plain, reversible = Chain(bijections, conditioning).double(), ReversibleChain(bijections, conditioning).double()
    shape = (4, 5) if kind == "sequences" else (4,)
    x, context = (torch.randn(*shape, n, dtype=torch.float64, requires_grad=True) for n in (6, 3))
    plain(x, context)
    perturb(plain)
    expected, found = (_run(chain, x, context) for chain in (plain, reversible))
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-10, rtol=1e-10, msg=name)


def test_gradient_of_the_log_det_alone() -> None:
    bijections = [AffineCoupling(4, 0, subnet, swap=swap) for swap in (False, True)]
    plain, reversible = Chain(bijections).double(), ReversibleChain(bijections).double()
    perturb(plain)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    expected, found = (torch.autograd.grad(chain(x)[1].sum(), x)[0] for chain in (plain, reversible))
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


def test_the_callers_tensors_are_not_changed() -> None:
    chain = ReversibleChain(couplings())
    x, context = torch.randn(4, 6), torch.randn(4, 3)
    before = x.clone(), context.clone()
    z, log_det = chain(x, context)
    values = z.detach().clone()
    (z.square().sum() - log_det.sum()).backward()
    for tensor, kept in zip((x, context, z), (*before, values), strict=True):
        assert torch.equal(tensor, kept)


def test_saved_bytes_do_not_grow_with_depth() -> None:
    plain, reversible = ([_saved(chain, depth) for depth in (2, 8)] for chain in (Chain, ReversibleChain))
    assert plain[1] > 3 * plain[0]
    assert reversible[1] == reversible[0]


def test_a_parameter_changed_before_backward_is_refused() -> None:
    chain = ReversibleChain([AffineCoupling(4, 0, subnet)])
    z, _ = chain(torch.randn(3, 4))
    with torch.no_grad():
        next(chain.parameters()).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


@pytest.mark.parametrize(
    "coupling",
    [AffineCoupling(4, 0, lambda i, o: MLP(i, o, dropout=0.1)), RecurrentCoupling(4, 0, 8, dropout=0.1)],
)
def test_dropout_is_refused(coupling: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"dropout.*0\.1"):
        ReversibleChain([coupling])


def _run(chain: Chain, x: Tensor, context: Tensor) -> dict[str, Tensor]:
    z, log_det = chain(x, context)
    weights = torch.linspace(0.5, 1.5, z.numel(), dtype=z.dtype).view_as(z)
    names = ["x", "context", *(name for name, _ in chain.named_parameters())]
    loss = (weights * z.square()).sum() + (log_det.cos()).sum()
    gradients = torch.autograd.grad(loss, [x, context, *chain.parameters()])
    return {"z": z, "log_det": log_det} | dict(zip(names, gradients, strict=True))


def _saved(kind: type[Chain], depth: int) -> int:
    """Bytes that autograd stores for the backward pass, without parameters."""
    chain = kind(AffineCoupling(6, 0, subnet, two_sided=True) for _ in range(depth))
    parameters = {p.untyped_storage().data_ptr() for p in chain.parameters()}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = chain(torch.randn(32, 6))
    assert kept[0].requires_grad
    return sum(sizes.values())
