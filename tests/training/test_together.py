"""Members that are trained at once become what they become alone, and each keeps its own state."""

import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_cohorts import small_cohort
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from crow.bijections.soft_bounds import Bounds
from crow.data.sequences import Sequences
from crow.errors import RunError
from crow.flows.crow import CRowFlow
from crow.representation.regions import RegionTable
from crow.run.config import TrainingSettings
from crow.training import checkpoint
from crow.training.batches import drop_values
from crow.training.stack import Batch, FlowStack
from crow.training.together import Member, train_together

SETTINGS = TrainingSettings(
    max_epochs=8, steps_per_epoch=4, batch_size=16, learning_rate=0.01, patience=2, ema_decay=0.5, value_dropout=0.0
)
PUBLISHED = {"schedule": "published", "ema_decay": 0.0, "learning_rate": 0.002}
KINDS = ("mixed_model", "standard", "standard", "mixed_model")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)


def cohort(missing: float = 0.0) -> Sequences:
    table = small_cohort(40, 3)
    data = RegionTable.fit(table).encode(table.visits).to(dtype=torch.float64)
    return drop_values(data, missing, torch.Generator().manual_seed(0)) if missing else data


def new_members(data: Sequences, levels: bool = False, count: int = 4, **settings: Any) -> list[Member]:
    """Of both kinds, with different numbers of subjects."""
    members = []
    for k, kind in enumerate(KINDS[:count]):
        with torch.random.fork_rng():
            torch.manual_seed(k)
            flow = CRowFlow(3, data.context.shape[2], kind, blocks=2, hidden=6, dropout=0.2, **settings)  # type: ignore[arg-type]
        flow.double()
        validation = torch.arange(len(data)) % (4 + k) == 0
        bounds = Bounds.none(3)
        flow.initialise(data[~validation], bounds._replace(step=torch.tensor([0.0, 0.1, 0.0])) if levels else bounds)
        members.append(Member(flow, data[~validation], data[validation], 10 + k, f"member-{k + 1}"))
    return members


def assert_same(found: list[Member], expected: list[Member], rtol: float = 0.0, atol: float = 0.0) -> None:
    for one, other in zip(found, expected, strict=True):
        for name, tensor in other.flow.state_dict().items():
            torch.testing.assert_close(one.flow.state_dict()[name], tensor, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("missing", "levels", "changes"),
    [
        pytest.param(0.5, False, {}, id="missing values"),
        pytest.param(0.0, False, {}, id="complete", marks=pytest.mark.slow),
        pytest.param(0.0, True, {"value_dropout": 0.5}, id="levels and dropped values", marks=pytest.mark.slow),
        pytest.param(0.0, False, PUBLISHED, id="published schedule", marks=pytest.mark.slow),
    ],
)
def test_members_become_what_they_become_alone(missing: float, levels: bool, changes: dict[str, Any]) -> None:
    settings = SETTINGS.model_copy(update=changes)
    together, alone = (new_members(cohort(missing), levels) for _ in range(2))
    fits = train_together(together, settings)
    expected = [fit for member in alone for fit in train_together([member], settings)]
    for fit, other in zip(fits, expected, strict=True):
        pd.testing.assert_frame_equal(fit.history, other.history, rtol=1e-5)
        assert fit.epoch == other.epoch
    assert any(fit.epoch > 0 for fit in fits)
    assert_same(together, alone, rtol=1e-5, atol=1e-6)


def test_a_member_that_stops_does_not_change_the_others() -> None:
    settings = SETTINGS.model_copy(update={"max_epochs": 40, "pct_start": 0.05, "ema_decay": 0.0})
    fits = train_together(new_members(cohort()), settings)
    counts = [len(fit.history) for fit in fits]
    last = counts.index(max(counts))
    assert min(counts) < max(counts) < 41
    (alone,) = train_together([new_members(cohort())[last]], settings)
    pd.testing.assert_frame_equal(fits[last].history, alone.history, rtol=1e-5)


@pytest.mark.parametrize("base", ["standard", "conditional", "continuous"])
@pytest.mark.parametrize("missing", [0.0, 0.6])
def test_the_packed_density_is_that_of_the_flow(base: str, missing: float) -> None:
    count = 1 if base == "continuous" else 4
    members = new_members(cohort(missing), count=count, base=base)
    for member in members:
        for weight in member.flow.parameters():
            weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
        member.flow.eval()
    data = [member.validation for member in members]
    batch, stack = Batch.of(data, torch.device("cpu")), FlowStack([member.flow for member in members], "cpu")
    found, visits = batch.total(stack.log_prob(stack.trained, batch, *stack.prepared([batch])))
    expected = torch.stack([m.flow.log_prob(own).sum() for m, own in zip(members, data, strict=True)])
    torch.testing.assert_close(found, expected)
    assert visits.tolist() == [own.count for own in data]
    found.sum().backward()
    for k, (member, own) in enumerate(zip(members, data, strict=True)):
        member.flow.log_prob(own).sum().backward()
        for name, weight in member.flow.named_parameters():
            if weight.grad is not None:
                torch.testing.assert_close(stack.trained[name].grad[k], weight.grad)


def interrupt(member: Member, step: int) -> None:
    """Ctrl-C in a training step of a member."""
    real, calls = member.flow.dequantised, []

    def dequantised(*args: Any, **options: Any) -> Sequences:
        calls.append(args)
        if len(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return real(*args, **options)

    member.flow.dequantised = dequantised  # type: ignore[method-assign]


def test_an_interrupted_training_is_usable_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"patience": 3, "learning_rate": 0.03})
    whole = new_members(cohort())
    histories = [fit.history for fit in train_together(whole, settings)]
    stopped = new_members(cohort())
    interrupt(stopped[1], 2 + 4 * settings.steps_per_epoch + 2)
    fits = train_together(stopped, settings, tmp_path)
    assert all(fit.interrupted for fit in fits) and [len(fit.history) for fit in fits] == [5] * 4
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["member-1-to-4.ckpt"]
    resumed = new_members(cohort())
    for fit, history in zip(train_together(resumed, settings, tmp_path, resume=True), histories, strict=True):
        assert not fit.interrupted
        pd.testing.assert_frame_equal(fit.history, history, check_exact=True)
    assert_same(resumed, whole)
    again = new_members(cohort())
    interrupt(again[0], 3)  # which a finished training does not reach
    assert not any(fit.interrupted for fit in train_together(again, settings, tmp_path, resume=True))
    assert_same(again, whole)


def test_a_checkpoint_of_other_members_is_refused(tmp_path: Path) -> None:
    members, short = new_members(cohort()), SETTINGS.model_copy(update={"max_epochs": 1})
    train_together(members, short, tmp_path)
    with pytest.raises(RunError, match=r"member-1-to-4\.ckpt: belongs to another training: training\.max_epochs was 1"):
        train_together(members, SETTINGS, tmp_path, resume=True)
    (path,) = (tmp_path / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"member-1-to-4\.ckpt: damaged"):
        train_together(members, short, tmp_path, resume=True)


def test_the_generator_of_torch_is_left_alone_and_events_are_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_rng_state()
    train_together(new_members(cohort(), count=2), SETTINGS.model_copy(update={"max_epochs": 2}), tmp_path, False, True)
    assert torch.get_rng_state().equal(before)
    assert capfd.readouterr() == ("", "")
    for label in ("member-1", "member-2"):
        events = EventAccumulator(str(tmp_path / "logs" / label)).Reload()
        assert [event.step for event in events.Scalars("validation")] == [0, 1, 2]
