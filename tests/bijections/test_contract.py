"""Every bijection x {context, none} x {vector, sequence, 1-D, 2-D, 3-D image} keeps the contract."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from bijections import contract
from torch import Tensor, nn

from crow.bijections.affine import ActNorm
from crow.bijections.base import Bijection
from crow.bijections.chain import Chain
from crow.bijections.coupling import AffineCoupling
from crow.bijections.discriminant import Discriminant
from crow.bijections.factor_out import FactorOut
from crow.bijections.haar import Haar
from crow.bijections.mixing import LU, Permutation, Rotation
from crow.bijections.regression import Regression
from crow.bijections.spline import SplineCoupling
from crow.bijections.squeeze import Flatten, Squeeze
from crow.networks.conditioning import ConditioningNetwork
from crow.networks.convolutional import ConvNet
from crow.networks.mlp import MLP

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
CONTEXT = 2
EVENTS = {"vector": (5,), "sequence": (5,), "1-D": (3, 6), "2-D": (3, 4, 4), "3-D": (2, 2, 4, 2)}
BATCH = {kind: (3, 4) if kind == "sequence" else (3,) for kind in EVENTS}


def subnet(space: int) -> Callable[[int, int], nn.Module]:
    return partial(ConvNet, space=space, hidden=4) if space else partial(MLP, hidden=8)


def conditioned_chain(event: tuple[int, ...], context: int) -> Chain:
    channels, space = event[0], len(event) - 1
    couplings = [AffineCoupling(channels, 3 * bool(context), subnet(space), space, swap=swap) for swap in (False, True)]
    if not context:
        return Chain(couplings)
    h = (
        ConditioningNetwork.of_images(context, 3, (0, 0), space, hidden=4)
        if space
        else ConditioningNetwork.of_vectors(context, 3, 2, hidden=4)
    )
    return Chain(couplings, h)


def multi_scale(event: tuple[int, ...], context: int) -> Bijection:
    channels, *sizes = event
    space = len(sizes)
    wide, small = channels * 2**space, tuple(size // 2 for size in sizes)
    inner = Chain([AffineCoupling(channels, context, subnet(space), space), Flatten((channels, *small))])
    return Chain([Haar(channels, space), FactorOut((wide, *small), channels, context, subnet(space), inner)])


ALWAYS = {
    "ActNorm": lambda event, context: ActNorm(event[0], len(event) - 1),
    "Permutation": lambda event, context: Permutation(event[0], len(event) - 1),
    "Rotation": lambda event, context: Rotation(event[0], len(event) - 1),
    "LU": lambda event, context: LU(event[0], len(event) - 1),
    "AffineCoupling": lambda event, context: AffineCoupling(event[0], context, subnet(len(event) - 1), len(event) - 1),
    "AffineCoupling swapped": lambda event, context: AffineCoupling(
        event[0], context, subnet(len(event) - 1), len(event) - 1, swap=True
    ),
    "SplineCoupling": lambda event, context: SplineCoupling(
        event[0], context, subnet(len(event) - 1), len(event) - 1, bins=4, bound=2.0
    ),
    "AffineCoupling two-sided": lambda event, context: AffineCoupling(
        event[0], context, subnet(len(event) - 1), len(event) - 1, two_sided=True
    ),
    "SplineCoupling two-sided": lambda event, context: SplineCoupling(
        event[0], context, subnet(len(event) - 1), len(event) - 1, swap=True, two_sided=True, bins=3, bound=2.0
    ),
    "Chain": lambda event, context: Chain(
        [ActNorm(event[0], len(event) - 1), Rotation(event[0], len(event) - 1),
         SplineCoupling(event[0], context, subnet(len(event) - 1), len(event) - 1)]
    ),
    "Chain with conditioning network": conditioned_chain,
    "FactorOut": lambda event, context: FactorOut(event, 1, context, subnet(len(event) - 1)),
}  # fmt: skip
IMAGES = {
    "Squeeze": lambda event, context: Squeeze(event[0], len(event) - 1),
    "Haar": lambda event, context: Haar(event[0], len(event) - 1),
    "Flatten": lambda event, context: Flatten(event),
    "Haar, FactorOut, AffineCoupling": multi_scale,
}
VECTORS = {
    "Regression": lambda event, context: Regression(event[0], context),
    "Discriminant": lambda event, context: Discriminant(event[0], context),
}
CONDITIONAL = {
    "Regression",
    "Discriminant",
    *("AffineCoupling", "AffineCoupling swapped", "AffineCoupling two-sided"),
    *("SplineCoupling", "SplineCoupling two-sided", "Chain", "Chain with conditioning network"),
    *("FactorOut", "Haar, FactorOut, AffineCoupling"),
}
MIXES = {"Permutation", "Rotation", "LU", "Chain"}
REARRANGES = {"Squeeze", "Haar", "Flatten", "Haar, FactorOut, AffineCoupling", "FactorOut"}


class Case:
    """A bijection away from its initial parameters, in float64, with an input and a context."""

    def __init__(self, name: str, kind: str, conditioned: str) -> None:
        self.name, self.event, batch = name, EVENTS[kind], BATCH[kind]
        self.channels = CONTEXT if conditioned != "none" else 0
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(*batch, *self.event, generator=generator, dtype=torch.float64)
        space = self.event[1:]
        if name == "Haar, FactorOut, AffineCoupling" or conditioned == "vector":
            space = ()
        shape = (*batch, CONTEXT, *space)
        self.context: Tensor | None = None
        if self.channels:
            self.context = torch.randn(shape, generator=generator, dtype=torch.float64)
        torch.manual_seed(2)
        self.initial = self.build().double()
        self.bijection = self.build().double()
        self.bijection(self.x, self.context)
        contract.perturb(self.bijection)

    def build(self) -> Bijection:
        return {**ALWAYS, **IMAGES, **VECTORS}[self.name](self.event, self.channels)


def cases() -> Iterator[tuple[str, str, str]]:
    for kind, event in EVENTS.items():
        for name in {**ALWAYS, **(IMAGES if len(event) > 1 else {})}:
            yield name, kind, "none"
            yield name, kind, "context"
        for name in VECTORS if len(event) == 1 else ():
            yield name, kind, "context"
    for kind in ("1-D", "2-D", "3-D"):
        for name in ("AffineCoupling", "SplineCoupling", "FactorOut"):
            yield name, kind, "vector"


@pytest.fixture(params=list(cases()), ids=" / ".join, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


def test_round_trip(case: Case) -> None:
    contract.check_round_trip(case.bijection, case.x, case.context)


def test_an_inexact_inverse_is_found(case: Case) -> None:
    """An error of 1e-3 of each value, in float32 too, is larger than rounding if the map is well conditioned."""
    bijection = case.build()
    bijection.load_state_dict(case.bijection.state_dict())
    exact = bijection.inverse
    bijection.inverse = lambda z, context=None: (exact(z, context)[0] * 1.001, exact(z, context)[1])  # type: ignore
    x, context = case.x.float(), None if case.context is None else case.context.float()
    if float(contract.rounding(bijection, x, context).x.min()) < 1e-4:
        with pytest.raises(AssertionError, match="x after a round trip"):
            contract.check_round_trip(bijection, x, context)


def test_round_trip_in_float32(case: Case) -> None:
    bijection = case.build()
    bijection.load_state_dict(case.bijection.state_dict())
    context = None if case.context is None else case.context.float()
    contract.check_round_trip(bijection, case.x.float(), context)


def test_log_det(case: Case) -> None:
    contract.check_log_det(case.bijection, case.x, case.context)


def test_gradients(case: Case) -> None:
    contract.check_gradients(case.bijection, case.x, case.context, case.name in CONDITIONAL)


def test_batch(case: Case) -> None:
    contract.check_batch(case.bijection, case.x, case.context)


@pytest.mark.parametrize("device", DEVICES)
def test_device(case: Case, device: str) -> None:
    contract.check_device(case.bijection, case.x, case.context, device)


def test_state_dict(case: Case) -> None:
    contract.check_state_dict(case.bijection, case.x, case.context, case.build)


def test_modes(case: Case) -> None:
    contract.check_modes(case.bijection, case.x, case.context)


def test_initial_map(case: Case) -> None:
    """The identity before any data. Mixing and rearranging keep the norm, so N(0, I) does not change."""
    z, log_det = case.initial.eval()(case.x, case.context)
    batch = log_det.dim()
    torch.testing.assert_close(log_det, torch.zeros_like(log_det), atol=1e-9, rtol=0)
    torch.testing.assert_close(z.flatten(batch).norm(dim=-1), case.x.flatten(batch).norm(dim=-1))
    if case.name not in MIXES | REARRANGES:
        torch.testing.assert_close(z, case.x, atol=1e-9, rtol=1e-9)


def test_refuses_bad_shapes(case: Case) -> None:
    names = {
        "AffineCoupling swapped": "AffineCoupling",
        "AffineCoupling two-sided": "AffineCoupling",
        "SplineCoupling two-sided": "SplineCoupling",
        "Chain": "ActNorm",
        "Chain with conditioning network": "AffineCoupling",
        "Haar, FactorOut, AffineCoupling": "Haar",
    }
    axis = -len(case.event)
    wider = torch.cat([case.x, case.x.narrow(axis, 0, 1)], axis)
    contract.check_refuses(case.bijection, wider, case.context, names.get(case.name, case.name))


def test_refuses_a_missing_context(case: Case) -> None:
    if case.channels and case.name in CONDITIONAL:
        contract.check_refuses(case.bijection, case.x, None, "context")


def test_refuses_a_wrong_context(case: Case) -> None:
    if case.context is not None and case.name in CONDITIONAL - {"Chain with conditioning network"}:
        contract.check_refuses(case.bijection, case.x, case.context[:-1], "context of 2 channels")
