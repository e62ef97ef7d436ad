"""Every recurrent bijection x {context, none} x {1, 2, 5 or 6 features} keeps the contract, and that of time."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from bijections import contract
from torch import Tensor, nn

from crow.bijections.base import RecurrentBijection
from crow.bijections.innovation import MixedModelInnovation
from crow.bijections.published import PublishedBlock
from crow.bijections.recurrent import RecurrentCoupling, TemporalContextGate

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
BATCH, TIME, CONTEXT, HIDDEN = 3, 5, 3, 4
BUILD: dict[str, Callable[[int, int], RecurrentBijection]] = {
    "MixedModelInnovation": lambda features, context: MixedModelInnovation(features, [0, 1, 2], [1, 2]),
    "MixedModelInnovation shared": lambda features, context: sharing(MixedModelInnovation(features, [0, 1, 2])),
    "TemporalContextGate": lambda features, context: TemporalContextGate(features, context, HIDDEN),
    "RecurrentCoupling": lambda features, context: RecurrentCoupling(features, context, HIDDEN),
    "RecurrentCoupling swapped": lambda features, context: RecurrentCoupling(features, context, HIDDEN, swap=True),
    "PublishedBlock": lambda features, context: PublishedBlock(features),
}
FEATURES = {"RecurrentCoupling": (2, 5), "RecurrentCoupling swapped": (2, 5), "PublishedBlock": (2, 6)}
CONTEXTS = {"MixedModelInnovation": (CONTEXT,), "MixedModelInnovation shared": (CONTEXT,), "PublishedBlock": (0,)}
CASES = [
    (name, features, context)
    for name in BUILD
    for features in FEATURES.get(name, (1, 2, 5))
    for context in CONTEXTS.get(name, (CONTEXT, 0))
]


def sharing(model: MixedModelInnovation) -> MixedModelInnovation:
    """The same model with random effects that regions share."""
    model.loadings.copy_(0.6 / max(1, model.loadings.shape[2]) ** 0.5 * torch.randn_like(model.loadings).sign())
    return model


class Case:
    """A recurrent bijection off its initial parameters, in float64, with sequences and their context."""

    def __init__(self, name: str, features: int, context: int) -> None:
        self.name, self.features, self.channels = name, features, context
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(BATCH, TIME, features, generator=generator, dtype=torch.float64)
        channels = torch.randn(BATCH, TIME, CONTEXT, generator=generator, dtype=torch.float64)
        channels[..., 0] = channels[..., 0].abs().cumsum(1)
        self.context = channels if context else None
        torch.manual_seed(19)  # one of the seeds for which the published block's ReLU gates are not dead
        self.initial = self.build().double()
        self.bijection = self.build().double()
        contract.perturb(self.bijection)

    def build(self) -> RecurrentBijection:
        return BUILD[self.name](self.features, self.channels)

    def ways(self) -> Iterator[tuple[Callable[..., tuple[Tensor, Tensor, Any]], Tensor]]:
        """Both directions, each with its input."""
        yield self.bijection, self.x
        yield self.bijection.inverse, self.bijection(self.x, self.context)[0].detach()


@pytest.fixture(params=CASES, ids=lambda case: " / ".join(map(str, case)), scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


def test_round_trip(case: Case) -> None:
    contract.check_round_trip(case.bijection, case.x, case.context)


def test_round_trip_in_float32(case: Case) -> None:
    bijection = case.build()
    bijection.load_state_dict(case.bijection.state_dict())
    context = None if case.context is None else case.context.float()
    contract.check_round_trip(bijection, case.x.float(), context)


def test_log_det_of_the_whole_sequence(case: Case) -> None:
    contract.check_log_det(case.bijection, case.x, case.context)


def test_log_det_of_each_visit(case: Case) -> None:
    """Each is that of the diagonal block of its visit."""
    for way, at in case.ways():
        jacobian = torch.autograd.functional.jacobian(lambda v, way=way: _first(case, way, v), at[:1])[:, :, 0]
        expected = [torch.linalg.slogdet(jacobian[t, :, t]).logabsdet for t in range(TIME)]
        torch.testing.assert_close(way(at, case.context)[1][0], torch.stack(expected), atol=1e-8, rtol=1e-8)


def test_causality(case: Case) -> None:
    """The Jacobian block of a visit by a later one is exactly zero, and by an earlier one it is not."""
    for way, at in case.ways():
        jacobian = torch.autograd.functional.jacobian(lambda v, way=way: _first(case, way, v), at[:1])[:, :, 0]
        for t in range(TIME):
            assert bool((jacobian[t, :, t + 1 :] == 0).all())
        assert all(bool((jacobian[t, :, t - 1] != 0).any()) for t in range(1, TIME))


def test_later_contexts_do_not_matter(case: Case) -> None:
    if case.context is not None:
        changed = case.context.clone()
        changed[:, 3:] += 1
        for way, at in case.ways():
            (y, log_det, _), (y_changed, log_det_changed, _) = way(at, case.context), way(at, changed)
            assert torch.equal(y[:, :3], y_changed[:, :3]) and torch.equal(log_det[:, :3], log_det_changed[:, :3])
            assert not torch.allclose(y[:, 3:], y_changed[:, 3:])


@pytest.mark.parametrize("cuts", [(1,), (3,), (2, 4), (1, 2, 3, 4)], ids=str)
def test_any_split_is_the_whole(case: Case, cuts: tuple[int, ...]) -> None:
    for way, at in case.ways():
        whole, log_det, last = way(at, case.context)
        parts, log_dets, state = [], [], None
        for start, end in pairwise((0, *cuts, TIME)):
            context = None if case.context is None else case.context[:, start:end]
            part, part_log_det, state = way(at[:, start:end], context, state)
            parts.append(part)
            log_dets.append(part_log_det)
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(torch.cat(log_dets, 1), log_det, atol=1e-12, rtol=1e-12)
        for found, expected in zip(_tensors(state), _tensors(last), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_pads_change_nothing(case: Case) -> None:
    """Subjects of 1, 3 and 5 visits in one batch, with wild pads, come out as each does alone."""
    lengths = (1, 3, 5)
    pad = torch.arange(TIME) >= torch.tensor(lengths)[:, None]
    wild = None if case.context is None else case.context.masked_fill(pad[..., None], -50.0)
    for way, at in case.ways():
        y, log_det, _ = way(at.masked_fill(pad[..., None], 1e3), wild)
        for i, n in enumerate(lengths):
            context = None if case.context is None else case.context[i : i + 1, :n]
            alone, log_det_alone, _ = way(at[i : i + 1, :n], context)
            torch.testing.assert_close(y[i, :n], alone[0], atol=1e-12, rtol=1e-12)
            torch.testing.assert_close(log_det[i, :n], log_det_alone[0], atol=1e-12, rtol=1e-12)


def test_one_recurrent_call_a_sequence(case: Case) -> None:
    calls: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.update({name: calls.get(name, 0) + 1}))
        for name, module in case.bijection.named_modules()
        if isinstance(module, nn.GRU)
    ]
    case.bijection(case.x, case.context)
    for hook in hooks:
        hook.remove()
    assert list(calls.values()) == [1] * len(hooks)


def test_gradients(case: Case) -> None:
    contract.check_gradients(case.bijection, case.x, case.context, context_matters=True)


def test_batch(case: Case) -> None:
    contract.check_batch(case.bijection, case.x, case.context)


@pytest.mark.parametrize("device", DEVICES)
def test_device(case: Case, device: str) -> None:
    contract.check_device(case.bijection, case.x, case.context, device)


def test_state_dict(case: Case) -> None:
    contract.check_state_dict(case.bijection, case.x, case.context, case.build)


def test_modes(case: Case) -> None:
    contract.check_modes(case.bijection, case.x, case.context)


def test_start_is_the_identity(case: Case) -> None:
    """But for the published block, which was not started there."""
    z, log_det, _ = case.initial(case.x, case.context)
    if case.name == "PublishedBlock":
        assert not torch.allclose(z, case.x)
    else:
        torch.testing.assert_close(z, case.x, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(log_det, torch.zeros_like(log_det), atol=1e-12, rtol=0)


@pytest.mark.parametrize("build", [lambda: RecurrentCoupling(1, 0, 4), lambda: PublishedBlock(5)])
def test_refuses_features_it_cannot_halve(build: Callable[[], RecurrentBijection]) -> None:
    with pytest.raises(ValueError, match=r"needs (at least 2|an even number of) features, got"):
        build()


def test_mixed_model_needs_its_times() -> None:
    with pytest.raises(ValueError, match="context"):
        MixedModelInnovation(2, [0])(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match=r"trends \[2\] are not in the design"):
        MixedModelInnovation(2, [0, 1], [1, 2])


def _first(case: Case, way: Callable[..., tuple[Tensor, Tensor, Any]], x: Tensor) -> Tensor:
    """The first subject's sequence ``[time, features]``."""
    return way(x, None if case.context is None else case.context[:1])[0][0]


def _tensors(state: Any) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else list(state)
