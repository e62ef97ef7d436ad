"""Flows of volumes that are trained on patches: their answers are for whole volumes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_stores
import torch
from bijections import contract
from paired_stores import paired_stores
from small_cohorts import small_cohort

import crow
from crow.bijections.checkpointed import CheckpointedChain
from crow.bijections.dequantize import MARGIN
from crow.bijections.principal import PrincipalComponents
from crow.data.examples import Examples
from crow.data.sequences import Sequences
from crow.errors import ConfigError
from crow.flows.local_glow import LocalGlow
from crow.flows.voxels import VoxelFlow
from crow.models.base import Model
from crow.training.calibrate import calibrate_components
from crow.training.module import set_precision

TRAINING = {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 8}
FLOW = {"levels": 1, "depth": 1, "hidden": 4}
VOXELS = {"size": None, "levels": 1, "depth": 2, "hidden": 4}


def translator(folder: Path, **changes: Any) -> tuple[Model, Callable[[Any], np.ndarray]]:
    pet, t1w = paired_stores(folder)
    settings = {"training": TRAINING, "flow": FLOW, "images": {"size": None, "patch": 4}, "pretrain_epochs": 1}
    model = crow.Translator(seed=1, **(settings | changes)).fit(pet, t1w, out=folder / "run")
    return model, lambda one: one.sample(t1w.subset(np.arange(1)), 3, seed=1)[:, 0]


def synthesizer(folder: Path, **changes: Any) -> tuple[Model, Callable[[Any], np.ndarray]]:
    settings = {"training": TRAINING, "flow": FLOW, "images": {"size": None, "patch": 4}}
    model = crow.Synthesizer(seed=1, **(settings | changes)).fit(small_store(folder), ["sex"], out=folder / "run")
    return model, lambda one: one.sample("sex=F", 3, seed=1)[1]


def voxels(folder: Path, **changes: Any) -> tuple[Model, Callable[[Any], np.ndarray]]:
    store, training = small_store(folder), changes.pop("training", TRAINING)
    settings = VOXELS | {"patch": 4} | changes
    model = crow.VoxelModel(seed=1, training=training, scans={"representation": "voxels", "voxels": settings})
    past = store.cohort().visits.iloc[:2]
    return model.fit(store, out=folder / "run"), lambda one: one._draw(store, past[:1], past[1:], 3, 1)[:, 0].numpy()


def small_store(folder: Path) -> Any:
    mask = np.ones(small_stores.SHAPE, bool)
    mask[0] = False
    return small_stores.with_files(small_stores.make_store(folder / "store", mask))


@pytest.mark.parametrize("made", [translator, synthesizer, voxels])
def test_a_flow_that_saw_patches_draws_whole_volumes(made: Callable[..., Any], tmp_path: Path) -> None:
    model, draws = made(tmp_path)
    drawn = draws(model)
    assert drawn.shape[0] == 3 and min(drawn.shape[1:]) > 4 and np.isfinite(drawn).all()
    assert (drawn.std(0) > 0).any((1, 2)).sum() >= drawn.shape[1] - 3  # all but the outer planes
    np.testing.assert_array_equal(draws(crow.load(tmp_path / "run")), drawn)
    name = "validation_nll_per_visit" if made is voxels else "validation_bits_per_dim"
    assert np.isfinite(model.metrics[name])


def test_the_density_of_a_glow_by_patches_is_exact() -> None:
    torch.manual_seed(0)
    flow = LocalGlow((1, 4, 4, 4), 1, 1, 4, 16, 2).double()
    x, c = torch.randn(2, 1, 4, 4, 4).double(), torch.randn(2, 2).double()
    contract.perturb(flow.f)
    e = flow.expected(c)
    contract.check_round_trip(flow.f, x, e)
    contract.check_log_det(flow.f, x, e)


def test_the_log_density_of_a_glow_by_patches_is_that_of_the_change_of_variables() -> None:
    torch.manual_seed(0)
    flow = LocalGlow((1, 4, 4, 4), 1, 1, 4, 16, 2).double().eval()
    contract.perturb(flow.f)
    assert flow.linear is not None and flow.dequantizer is not None
    contract.perturb(flow.linear.bijections[0])
    x, c = torch.randint(16, (2, 1, 4, 4, 4)).double(), torch.randn(2, 2).double()
    torch.manual_seed(1)
    found = flow.log_prob(x, c)
    torch.manual_seed(1)
    continuous = flow.dequantizer(x)[0]
    for k in range(2):
        one = c[k : k + 1]

        def latent(values: torch.Tensor, one: torch.Tensor = one) -> torch.Tensor:
            assert flow.linear is not None
            return flow.f(flow.linear(values.reshape(1, 1, 4, 4, 4), one)[0], flow.expected(one))[0].flatten()

        values = continuous[k].flatten()
        jacobian = torch.autograd.functional.jacobian(latent, values)
        normal = torch.distributions.Normal(0, 1).log_prob(latent(values)).sum()
        expected = normal + torch.linalg.slogdet(jacobian)[1] - 64 * np.log(16 / (1 - 2 * MARGIN))
        torch.testing.assert_close(found[k], expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("memory", ["plain", "checkpoint", "reversible"])
def test_a_box_of_the_flow_is_the_flow_of_the_whole(memory: Any) -> None:
    """It shares the weights, which its loss trains; in its middle it gives the latents of the whole volume."""
    torch.manual_seed(0)
    mask = torch.rand(40, 8, 8) > 0.1
    flow = VoxelFlow(mask, 1, levels=1, depth=2, hidden=4, memory=memory, patch=8)
    contract.perturb(flow)
    x = torch.randn(2, 2, 1, 40, 8, 8)
    data = Sequences(x, torch.zeros(2, 2, 1), torch.tensor([[0.0, 1], [0, 2]]), torch.ones(2, 2, dtype=torch.bool))
    part = flow.cut((4, 0, 0), (32, 8, 8))
    box = Sequences(part.crop(x, (4, 0, 0)), data.context, data.time, data.mask)
    whole, own = flow.transform(data)[0], part.transform(box)[0]
    averages = [z.flatten(2)[..., -(z.numel() // 32) :].unflatten(2, (-1, 4, 4)) for z in (whole, own)]
    torch.testing.assert_close(averages[1][:, :, 7:9], averages[0][:, :, 9:11], atol=1e-4, rtol=1e-4)
    assert {id(p) for p in part.levels.parameters()} == {id(p) for p in flow.levels.parameters()}
    flow.train().loss(data).backward()
    assert all(p.grad is not None for p in flow.levels.parameters())
    flow.eval()
    with torch.no_grad():
        assert float(flow.loss(data)) == float(flow.loss(data))
    assert isinstance(part._levels()[0].couplings, CheckpointedChain) == (memory == "checkpoint")


@pytest.mark.parametrize("side", [4, 8])
def test_bfloat16_trains_and_is_never_the_precision_of_a_density(side: int) -> None:
    """Also at a side of 4: its second level has volumes that are smaller than the kernel."""
    torch.manual_seed(0)
    mask = torch.ones(side, side, side, dtype=torch.bool)
    flow = VoxelFlow(mask, 1, 1, 2, 4, "checkpoint", patch=side)
    set_precision(flow, "bf16-mixed")
    contract.perturb(flow)
    x = torch.randn(2, 1, 1, side, side, side)
    data = Sequences(x, torch.zeros(2, 1, 1), torch.zeros(2, 1), torch.ones(2, 1) > 0)
    rough = flow.train().loss(data)
    rough.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in flow.levels.parameters())
    exact = VoxelFlow(mask, 1, 1, 2, 4)
    exact.load_state_dict(flow.state_dict())
    assert torch.equal(flow.eval().log_prob(data), exact.eval().log_prob(data))
    rounding = abs(float(rough.detach()) - float(exact.loss(data).detach()))
    assert rounding < 0.01 * abs(float(rough.detach())) and (rounding > 0) == (side > 4)


@pytest.mark.parametrize("made", [translator, synthesizer, voxels])
def test_models_of_patches_take_bfloat16(made: Callable[..., Any], tmp_path: Path) -> None:
    """At this size most networks stay in float32; the test above sees rounding. The losses are close."""
    rough, exact = (
        made(tmp_path / name, training=TRAINING | {"max_epochs": 2, "precision": name})[0]
        for name in ("bf16-mixed", "32-true")
    )
    losses = [model.log["validation"].to_numpy() for model in (rough, exact)]
    assert losses[0][0] == losses[1][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)


def test_bfloat16_is_refused_where_it_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Use scans\.voxels\.memory=checkpoint"):
        voxels(tmp_path / "b", memory="reversible", training=TRAINING | {"precision": "bf16-mixed"})
    model = crow.Synthesizer(training=TRAINING | {"precision": "bf16-mixed"})
    with pytest.raises(ConfigError, match="for models of scans"):
        model.fit(small_cohort(), ["sex"])


@pytest.mark.parametrize(
    ("made", "changes", "message"),
    [
        (translator, {"images": {"size": None, "patch": 6}, "flow": FLOW | {"levels": 2}}, "divisible by 4"),
        (translator, {"images": {"size": None, "patch": 64}}, "at most 6"),
        (translator, {"images": {"slice": "axial", "position": 12, "patch": 4}}, "patches are for volumes"),
        (synthesizer, {"architecture": "caglow"}, "not for architecture caglow"),
        (voxels, {"patch": 5}, "scans.voxels.patch 5"),
    ],
)
def test_patches_that_cannot_be_are_refused(
    made: Callable[..., Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        made(tmp_path, **changes)
    assert not (tmp_path / "run").exists()


def test_what_a_stack_does_to_the_components_of_a_volume_is_undone() -> None:
    """A stack that adds 0.3 to every voxel adds 1.2 to the component of 16 voxels, and 1.5 times their noise.

    The seed of torch is 0 before every batch, as it is for scans in order: draws for all of them must not be the same.
    """

    class Flow(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.components = PrincipalComponents((16,), 2)
            self.components.directions[0] = 0.25
            self.components.log_sd[0] = 2.0

        def sample(self, context: torch.Tensor, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
            noise = torch.randn(n * len(context), 16, generator=generator)
            return self.components.inverse(1.5 * noise + 0.3)[0].unflatten(0, (n, -1))

    torch.manual_seed(0)
    flow, batch = Flow(), Examples(torch.zeros(4000, 16), torch.zeros(4000, 1))

    def in_order() -> Iterator[Examples]:
        for row in torch.arange(1000):
            torch.manual_seed(0)
            yield batch[row[None]]

    before = flow.components.along(flow.sample(batch.context, 1)[0])[:, 0]
    calibrate_components(flow, in_order(), [flow.components.log_sd.clone()])
    after = flow.components.along(flow.sample(batch.context, 1)[0])[:, 0]
    assert before.mean() > 8 and before.std() > 10  # 1.2 e^2 and 1.5 e^2
    assert abs(after.mean()) < 0.5 and after.std() == pytest.approx(np.exp(2.0), rel=0.05)
    assert "inverse" not in vars(flow.components)
