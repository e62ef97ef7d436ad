"""The flow over volumes is an exact, causal density of irregular sequences on a mask, and ignores pads."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from bijections import contract
from flows.random_sequences import sequences
from torch import Tensor

from crow.bijections.priors import StandardPrior
from crow.data.sequences import Sequences
from crow.flows.crow import map_state
from crow.flows.voxels import CHAINS, VoxelFlow
from crow.training.module import set_precision

SIZES = (4, 8, 4)
LENGTHS = (3, 1, 2)


def ball(sizes: tuple[int, ...] = SIZES) -> Tensor:
    """A mask that divides cubes of every level."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in sizes), indexing="ij")
    return sum((axis + 0.1).square() for axis in axes) < 1.2


def volumes(subjects: int, lengths: tuple[int, ...] = (3,), seed: int = 0) -> Sequences:
    data = sequences(subjects, torch.Size(SIZES).numel(), lengths=lengths, seed=seed)
    return replace(data, x=data.x.unflatten(2, (1, *SIZES)))


def random_flow(seed: int = 0, mask: Tensor | None = None, **settings: Any) -> VoxelFlow:
    torch.manual_seed(seed)
    settings = {"levels": 2, "depth": 3, "hidden": 4, **settings}
    flow = VoxelFlow(ball() if mask is None else mask, 2, **settings).double().eval()
    contract.perturb(flow, seed)
    return flow


def fill_pads(data: Sequences, value: float) -> Sequences:
    x = data.x.masked_fill(~data.mask[..., None, None, None, None], value)
    context = data.context.masked_fill(~data.mask[..., None], value)
    return Sequences(x, context, data.time.masked_fill(~data.mask, value), data.mask)


@pytest.fixture(params=["mask", "box"], scope="module")
def flow(request: pytest.FixtureRequest) -> VoxelFlow:
    return random_flow(mask=ball() if request.param == "mask" else torch.ones(SIZES, dtype=torch.bool))


def inside(flow: VoxelFlow, x: Tensor) -> Tensor:
    return x * flow.mask.view(SIZES)


def test_is_standard_normal_in_the_mask_at_initialisation() -> None:
    data = volumes(3, LENGTHS)
    flow = VoxelFlow(ball(), 2).double()
    values = data.x[..., ball()].squeeze(2)
    expected = torch.where(data.mask, StandardPrior((values.shape[-1],)).log_prob(values), 0.0)
    torch.testing.assert_close(flow.log_prob(data), expected, atol=1e-9, rtol=1e-9)


def test_initialise_fits_the_linear_forecast_of_each_voxel() -> None:
    """With many subjects the fit recovers the simulated coefficients."""
    g = torch.Generator().manual_seed(0)
    first = torch.randn(400, 1, 1, *SIZES, generator=g, dtype=torch.float64)
    gap = 0.5 + torch.rand(400, 1, generator=g, dtype=torch.float64)
    change = 0.3 * gap[..., None, None, None, None] + 0.1 * torch.randn(first.shape, generator=g, dtype=torch.float64)
    data = Sequences(
        torch.cat([first, 0.9 * first + change], 1), torch.zeros(400, 2, 2, dtype=torch.float64),
        torch.cat([0 * gap, gap], 1), torch.ones(400, 2, dtype=torch.bool),
    )  # fmt: skip
    flow = VoxelFlow(ball(), 2).double()
    flow.initialise(data, batch=150)
    kept = ball().flatten()
    last, mean, slope = flow.autoregression.coefficients[:, kept]
    torch.testing.assert_close(last + mean, torch.full_like(last, 0.9), atol=0.03, rtol=0)
    torch.testing.assert_close(slope / flow.time_scale, torch.full_like(last, 0.3), atol=0.03, rtol=0)
    torch.testing.assert_close(
        flow.autoregression.log_sd[:, kept].exp().mean(1), torch.tensor([1, 0.1]).double(), atol=0.02, rtol=0
    )
    assert bool((flow.autoregression.coefficients[:, ~kept] == 0).all())
    torch.testing.assert_close(flow.log_prob(data), flow.initial_log_prob(data), atol=1e-9, rtol=1e-9)


def test_round_trip(flow: VoxelFlow) -> None:
    data = volumes(2)
    z, log_det, state = flow.transform(data)
    x, inverse_log_det, inverse_state = flow.inverse(z, replace(data, x=torch.full_like(data.x, 9.0)))
    assert z.shape == data.x.shape and bool((z.flatten(2)[..., flow.inside == 0] == 0).all())
    torch.testing.assert_close(x, inside(flow, data.x), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(inverse_log_det, -log_det, atol=1e-9, rtol=1e-9)
    map_state(lambda a, b: torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9), state, inverse_state)


def test_log_det_and_causality(flow: VoxelFlow) -> None:
    """The autograd Jacobian of the voxels in the mask; blocks of later visits and outside voxels are zero."""
    data = volumes(1, (2,))
    jacobian = torch.autograd.functional.jacobian(lambda x: flow.transform(replace(data, x=x))[0], data.x)
    jacobian = jacobian.reshape(2, torch.Size(SIZES).numel(), 2, -1)
    assert bool((jacobian[0, :, 1] == 0).all())
    voxels, latents = flow.mask > 0, flow.inside > 0
    assert voxels.sum() == latents.sum()
    assert bool((jacobian[:, :, :, ~voxels] == 0).all()) and bool((jacobian[:, ~latents] == 0).all())
    _, log_det, _ = flow.transform(data)
    for t in range(2):
        block = jacobian[t, :, t][latents][:, voxels]
        torch.testing.assert_close(log_det[0, t], torch.linalg.slogdet(block).logabsdet, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("cuts", [(1,), (1, 2)], ids=str)
def test_any_split_equals_the_whole(flow: VoxelFlow, cuts: tuple[int, ...]) -> None:
    data = volumes(2)
    whole, log_det, last = flow.transform(data)
    zs, log_dets, state = [], [], None
    for start, end in pairwise((0, *cuts, data.x.shape[1])):
        part = replace(data, **{k: getattr(data, k)[:, start:end] for k in ("x", "context", "time", "mask")})
        z, part_log_det, state = flow.transform(part, state)
        zs.append(z)
        log_dets.append(part_log_det)
    torch.testing.assert_close(torch.cat(zs, 1), whole, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(torch.cat(log_dets, 1), log_det, atol=1e-10, rtol=1e-10)
    map_state(lambda a, b: torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10), state, last)


def test_condition_and_sample_treat_subjects_independently(flow: VoxelFlow) -> None:
    history = volumes(3, LENGTHS)
    ahead = volumes(3, (1,), seed=1)
    ahead = replace(ahead, time=ahead.time + 9.0)
    state = flow.condition(fill_pads(history, 50.0))
    z, log_det, _ = flow.transform(ahead, state)
    torch.testing.assert_close(flow.sample(ahead, state, z), inside(flow, ahead.x), atol=1e-9, rtol=1e-9)
    for i in range(3):
        alone = flow.transform(history[slice(i, i + 1)])[2]
        z_alone, log_det_alone, _ = flow.transform(ahead.rows(slice(i, i + 1)), alone)
        torch.testing.assert_close(z[i], z_alone[0], atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(log_det[i], log_det_alone[0], atol=1e-10, rtol=1e-10)


def test_pads_and_outside_voxels_have_no_effect(flow: VoxelFlow) -> None:
    data = volumes(3, LENGTHS)
    log_prob = flow.log_prob(data)
    z, log_det, _ = flow.transform(data)
    expected = torch.where(data.mask, flow._log_normal(z.flatten(2)) + log_det, 0.0)
    torch.testing.assert_close(log_prob, expected, atol=1e-9, rtol=1e-9)
    wild = fill_pads(data, 50.0)
    wild = replace(wild, x=torch.where(flow.mask.view(SIZES) > 0, wild.x, 7.0))
    torch.testing.assert_close(flow.log_prob(wild), log_prob, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(flow.loss(data), -log_prob[data.mask].mean())


def test_gradients_reach_every_parameter_and_the_context() -> None:
    flow, data = random_flow(), volumes(3, LENGTHS)
    context = data.context.requires_grad_()
    flow.loss(replace(data, context=context)).backward()
    assert context.grad is not None and bool((context.grad[data.mask] != 0).all())
    assert bool((context.grad[~data.mask] == 0).all())
    for name, parameter in flow.named_parameters():
        if name.startswith("autoregression."):  # fitted, then held
            assert parameter.grad is None
            continue
        assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


@pytest.mark.parametrize("memory", CHAINS)
def test_memory_savers_give_plain_gradients(memory: str) -> None:
    plain, other = random_flow(memory="plain"), random_flow(memory=memory)
    data = volumes(3, LENGTHS)
    for flow in (plain, other):
        flow.train().loss(data).backward()
    for (name, a), b in zip(plain.levels.named_parameters(), other.levels.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, atol=1e-9, rtol=1e-9, msg=name)


def test_a_saved_flow_is_the_same() -> None:
    data = volumes(3, LENGTHS)
    flow, other = random_flow(), random_flow(seed=1)
    flow.time_scale.fill_(2.0)
    assert not torch.allclose(other.log_prob(data), flow.log_prob(data))
    other.load_state_dict(flow.state_dict())
    assert torch.equal(other.log_prob(data), flow.log_prob(data))


def test_half_precision_is_for_training_only() -> None:
    whole = torch.ones(8, 8, 8, dtype=torch.bool)  # smaller levels are computed in float32
    full, half = (random_flow(mask=whole, levels=1).float() for _ in range(2))
    set_precision(half, "bf16-mixed")
    small = volumes(3, LENGTHS).to(dtype=torch.float32)
    data = replace(small, x=torch.randn(*small.x.shape[:3], 8, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(full.log_prob(data), half.log_prob(data))
    loss = half.train().loss(data)
    assert loss.dtype == torch.float32 and not torch.equal(loss, full.loss(data))
    torch.testing.assert_close(loss, full.loss(data), atol=0, rtol=0.05)


def test_refuses_levels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="divisible by 8, got"):
        VoxelFlow(ball(), 0, levels=3)


def test_refuses_another_box() -> None:
    data = volumes(1)
    with pytest.raises(ValueError, match=r"expects \[batch, time, 1, 4, 8, 4\]"):
        random_flow().log_prob(replace(data, x=data.x.transpose(3, 4)))
