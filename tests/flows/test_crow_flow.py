"""CRow as a density of irregular sequences: exact, causal, blind to pads, and the mixed model before training."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from flows.random_sequences import fill_pads, random_flow, sequences
from torch import Tensor

from crow.bijections.innovation import MixedModelInnovation
from crow.bijections.innovation_fit import fit_mixed_model
from crow.bijections.priors import StandardPrior
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow, map_state
from crow.flows.crow_layers import BASE_STEPS

KINDS = [(start, base) for start in ("mixed_model", "standard") for base in ("standard", "conditional")]
KINDS.append(("mixed_model", "continuous"))
LENGTHS = (4, 1, 3, 2)


@pytest.fixture(params=KINDS, ids=" start, ".join, scope="module")
def kind(request: pytest.FixtureRequest) -> dict[str, str]:
    return dict(zip(("initialisation", "base"), request.param, strict=True))


@pytest.fixture(params=[1, 2, 5], ids="{} regions".format, scope="module")
def flow(request: pytest.FixtureRequest, kind: dict[str, str]) -> CRowFlow:
    return random_flow(request.param, **kind)


def test_starts_as_the_mixed_model() -> None:
    """Before training the flow's density is that of the mixed model, fitted apart from it."""
    data = sequences(40, 3, lengths=LENGTHS)
    torch.manual_seed(0)
    flow = CRowFlow(3, 2).double()
    flow.initialise(data)
    years = data.time[..., None] / flow.time_scale
    alone = MixedModelInnovation(3, [0, 1, 2], trends=[1, 2]).double()
    fit_mixed_model(alone, data.x, torch.cat([years, data.context], -1), data.mask)
    z, log_det, _ = alone(data.x, torch.cat([years, data.context], -1))
    expected = torch.where(data.mask, StandardPrior((3,)).log_prob(z) + log_det, 0.0)
    torch.testing.assert_close(flow.log_prob(data), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(flow.log_prob(data), flow.initial_log_prob(data), atol=1e-9, rtol=1e-9)


def test_starts_as_standard_normal() -> None:
    data = sequences(5, 3, lengths=LENGTHS)
    flow = CRowFlow(3, 2, initialisation="standard").double()
    flow.initialise(data)
    expected = torch.where(data.mask, StandardPrior((3,)).log_prob(data.x), 0.0)
    torch.testing.assert_close(flow.log_prob(data), expected, atol=1e-9, rtol=1e-9)


def test_loss_is_the_mean_over_visits(flow: CRowFlow) -> None:
    data = sequences(6, flow.features, lengths=LENGTHS)
    torch.testing.assert_close(flow.loss(data), -flow.log_prob(data)[data.mask].mean())


def test_round_trip(flow: CRowFlow) -> None:
    data = sequences(3, flow.features)
    z, log_det, state = flow.transform(data)
    x, inverse_log_det, inverse_state = flow.inverse(z, replace(data, x=torch.full_like(data.x, 9.0)))
    torch.testing.assert_close(x, data.x, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(inverse_log_det, -log_det, atol=1e-9, rtol=1e-9)
    map_state(lambda a, b: torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9), state, inverse_state)


def test_log_det_and_causality(flow: CRowFlow) -> None:
    """Against the autograd Jacobian of the whole sequence: its blocks of later visits are exactly zero."""
    data = sequences(1, flow.features)
    time = data.x.shape[1]
    jacobian = torch.autograd.functional.jacobian(lambda x: flow.transform(replace(data, x=x))[0], data.x)[0][:, :, 0]
    for t in range(time):
        assert bool((jacobian[t, :, t + 1 :] == 0).all())
    _, log_det, _ = flow.transform(data)
    blocks = torch.stack([torch.linalg.slogdet(jacobian[t, :, t]).logabsdet for t in range(time)])
    torch.testing.assert_close(log_det[0], blocks, atol=1e-8, rtol=1e-8)
    size = time * flow.features
    whole = torch.linalg.slogdet(jacobian.reshape(size, size)).logabsdet
    torch.testing.assert_close(log_det.sum(), whole, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("cuts", [(1,), (2,), (1, 2, 3)], ids=str)
def test_any_split_is_the_whole(flow: CRowFlow, cuts: tuple[int, ...]) -> None:
    data = sequences(3, flow.features)
    whole, log_det, last = flow.transform(data)
    zs, log_dets, xs, state, inverse_state = [], [], [], None, None
    for start, end in pairwise((0, *cuts, data.x.shape[1])):
        part = replace(data, **{k: getattr(data, k)[:, start:end] for k in ("x", "context", "time", "mask")})
        z, part_log_det, state = flow.transform(part, state)
        x, _, inverse_state = flow.inverse(z, part, inverse_state)
        zs.append(z)
        log_dets.append(part_log_det)
        xs.append(x)
    torch.testing.assert_close(torch.cat(zs, 1), whole, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(torch.cat(log_dets, 1), log_det, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(torch.cat(xs, 1), data.x, atol=1e-9, rtol=1e-9)
    map_state(lambda a, b: torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10), state, last)


def test_condition_is_each_subject_alone(flow: CRowFlow) -> None:
    """Subjects with 4, 1, 3 and 2 visits in one batch, with wild pads: the next visit is scored as for each alone."""
    history = sequences(4, flow.features, lengths=LENGTHS)
    ahead = sequences(4, flow.features, lengths=(1,), seed=1)
    ahead = replace(ahead, time=ahead.time + 9.0)
    z, log_det, _ = flow.transform(ahead, flow.condition(fill_pads(history, 50.0)))
    for i, n in enumerate(LENGTHS):
        alone = history[slice(i, i + 1)]
        assert alone.x.shape[1] == n
        z_alone, log_det_alone, _ = flow.transform(ahead.rows(slice(i, i + 1)), flow.transform(alone)[2])
        torch.testing.assert_close(z[i], z_alone[0], atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(log_det[i], log_det_alone[0], atol=1e-10, rtol=1e-10)


def test_pads_change_nothing(flow: CRowFlow) -> None:
    data = sequences(4, flow.features, lengths=LENGTHS)
    log_prob = flow.log_prob(data)
    assert bool((log_prob[~data.mask] == 0).all())
    torch.testing.assert_close(flow.log_prob(fill_pads(data, 50.0)), log_prob, atol=1e-12, rtol=1e-12)
    for i, n in enumerate(LENGTHS):
        alone = flow.log_prob(data[slice(i, i + 1)])
        torch.testing.assert_close(log_prob[i, :n], alone[0], atol=1e-12, rtol=1e-12)


def test_pads_send_no_gradient(flow: CRowFlow) -> None:
    data = sequences(4, flow.features, lengths=LENGTHS)
    for value in (0.0, 50.0):
        inputs = fill_pads(data, value)
        x, context = inputs.x.requires_grad_(), inputs.context.requires_grad_()
        for gradient in torch.autograd.grad(flow.log_prob(inputs).sum(), (x, context)):
            assert bool((gradient[~data.mask] == 0).all()) and bool((gradient[data.mask] != 0).any())


def test_gradients_reach_every_parameter(kind: dict[str, str]) -> None:
    """But for the mixed model's, which are held; its correlation is trained where the flow initialisations from it."""
    flow = random_flow(5, **kind)
    data = sequences(4, 5, lengths=LENGTHS)
    measured = torch.rand(data.x.shape, generator=torch.Generator().manual_seed(0)) > 0.3
    flow.loss(replace(data, measured=measured & data.mask[..., None])).backward()
    trained = {name for name, parameter in flow.named_parameters() if parameter.requires_grad}
    assert {name for name in flow.state_dict() if name.startswith("mixed.")} & trained == (
        {"mixed.correlation"} if kind["initialisation"] == "mixed_model" else set()
    )
    for name, parameter in flow.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


def test_a_saved_flow_is_the_same(kind: dict[str, str]) -> None:
    data = sequences(4, 3, lengths=LENGTHS)
    flow, other = random_flow(3, **kind), random_flow(3, seed=1, **kind)
    flow.time_scale.fill_(2.0)
    assert not torch.allclose(other.log_prob(data), flow.log_prob(data))
    other.load_state_dict(flow.state_dict())
    assert torch.equal(other.log_prob(data), flow.log_prob(data))


def test_the_past_of_many_regions_is_summarised() -> None:
    """With more raw past than the summary is wide, the flow is as causal and exact as before."""
    flow = random_flow(12, summary=8)
    data = sequences(2, 12)
    z, log_det, _ = flow.transform(data)
    torch.testing.assert_close(flow.inverse(z, data)[0], data.x, atol=1e-9, rtol=1e-9)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow.transform(replace(data, x=x))[0].sum(0), data.x)
    whole = jacobian[:, :, 0].reshape(48, 48)
    torch.testing.assert_close(torch.linalg.slogdet(whole).logabsdet, log_det[0].sum(), atol=1e-8, rtol=1e-8)


@torch.no_grad()
def test_density_integrates_to_one(kind: dict[str, str]) -> None:
    """A 2-region, 2-visit model: over the first visit, and over the second given each of several first ones."""
    flow = random_flow(2, seed=3, share=0.5, steps=BASE_STEPS, **kind)
    data = sequences(1, 2, lengths=(2,), seed=2)
    noise = torch.randn(1000, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first = data.visit(0).repeat(len(noise))
    draws = flow.sample(first, None, noise)
    assert _mass(flow, data.visit(0), draws) == pytest.approx(1.0, abs=1e-3)
    for x in draws[:3]:
        at = replace(first, x=x.expand_as(draws))
        second = flow.sample(data.visit(1).repeat(len(noise)), flow.transform(at)[2], noise)
        assert _mass(flow, replace(data, x=torch.cat([x, data.x[0, 1:]])[None]), second) == pytest.approx(1.0, abs=1e-3)


def _mass(flow: CRowFlow, data: Sequences, draws: Tensor) -> float:
    """The integral of the last visit's density given those before it, on a grid along the axes of its draws."""
    axes = torch.linalg.cholesky(draws[:, 0].T.cov())
    step = 0.1
    steps = torch.arange(-8, 8, step, dtype=torch.float64)
    grid = draws.mean(0) + torch.cartesian_prod(steps, steps) @ axes.T
    many = data.repeat(len(grid))
    x = torch.cat([many.x[:, :-1], grid.unsqueeze(1)], 1)
    density = flow.log_prob(replace(many, x=x))[:, -1].exp()
    return float(density.sum() * step**2 * axes.diagonal().prod())


def test_a_continuous_base_with_the_steps_that_it_takes() -> None:
    """With few steps the inverse is not exact, but no visit's answer depends on another visit or subject."""
    flow = random_flow(5, initialisation="mixed_model", base="continuous", share=0.5, steps=BASE_STEPS)
    data = sequences(4, 5, lengths=LENGTHS)
    z, log_det, _ = flow.transform(data)
    x, inverse_log_det, _ = flow.inverse(z, data)
    torch.testing.assert_close(x[data.mask], data.x[data.mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(inverse_log_det[data.mask], -log_det[data.mask], atol=1e-4, rtol=1e-4)
    earlier, _, _ = flow.transform(replace(data, x=torch.cat([data.x[:, :-1], 9 * data.x[:, -1:]], 1)))
    torch.testing.assert_close(earlier[:, :-1], z[:, :-1], atol=1e-12, rtol=1e-12)
    plain = random_flow(5, initialisation="mixed_model", base="standard", share=0.5)
    assert not torch.allclose(plain.log_prob(data), flow.log_prob(data))
