import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from stub_flow import GaussianFlow, invented, new_flow
from torch import Tensor, nn

from crow.data.sequences import Sequences
from crow.errors import RunError
from crow.run.config import TrainingSettings
from crow.training import checkpoint
from crow.training.fit import train
from crow.training.module import FlowModule

TRAIN, HELD_OUT = invented(60, 1), invented(20, 2)
SETTINGS = TrainingSettings(
    max_epochs=8, steps_per_epoch=6, batch_size=32, learning_rate=0.01, visit_dropout=0.4, ema_decay=0.9
)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)


@pytest.fixture(scope="module")
def undisturbed() -> tuple[GaussianFlow, pd.DataFrame]:
    torch.set_num_threads(1)
    flow = new_flow()
    return flow, train(flow, TRAIN, HELD_OUT, SETTINGS, seed=3).history


def test_training_leaves_the_best_weights(undisturbed: tuple[GaussianFlow, pd.DataFrame]) -> None:
    flow, history = undisturbed
    assert list(history["epoch"]) == list(range(9))
    assert history["validation"].min() < history["validation"][0] - 0.1
    assert not flow.training
    assert flow.loss(HELD_OUT).item() == pytest.approx(history["validation"].min(), rel=1e-6)


@pytest.mark.parametrize("rate", [3.0, 1e30])
def test_the_untouched_start_is_a_candidate(rate: float) -> None:
    flow, harmful = new_flow(), SETTINGS.model_copy(update={"learning_rate": rate, "ema_decay": 0.0})
    start = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
    fitted = train(flow, TRAIN, HELD_OUT, harmful, seed=3)
    assert fitted.epoch == 0
    assert fitted.validation_loss == pytest.approx(new_flow().eval().loss(HELD_OUT).item(), rel=1e-6)
    assert not (fitted.history["validation"][1:] <= fitted.validation_loss).any()
    _assert_equal(flow.state_dict(), start)


def test_patience_ends_training() -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 30.0, "patience": 2})
    fitted = train(new_flow(), TRAIN, HELD_OUT, settings, 3)
    warm_up = 4  # a fifth of 8 epochs until the rate has risen, and 1 / (1 - 0.9) steps of the average
    assert len(fitted.history) == 1 + max(fitted.epoch, warm_up) + 2


def test_out_of_sample_evaluates_each_half_at_the_epoch_that_the_other_chooses() -> None:
    fitted = train(new_flow(), TRAIN, HELD_OUT, SETTINGS, seed=3)
    first, second = (fitted.history[f"validation_half_{k}"] for k in (1, 2))
    visits = HELD_OUT.mask.sum(1)
    share = float(visits[::2].sum() / visits.sum())
    found = share * first + (1 - share) * second
    assert found.to_numpy() == pytest.approx(fitted.history["validation"].to_numpy(), rel=1e-5)
    expected = share * first[second.idxmin()] + (1 - share) * second[first.idxmin()]
    assert fitted.out_of_sample == pytest.approx(expected) and fitted.out_of_sample >= fitted.validation_loss - 1e-6


def test_no_epochs_leave_the_start() -> None:
    fitted = train(new_flow(), TRAIN, HELD_OUT, SETTINGS.model_copy(update={"max_epochs": 0}), seed=3)
    assert (fitted.epoch, len(fitted.history)) == (0, 1)


@pytest.mark.parametrize(
    ("step", "average"),
    [
        pytest.param(20, 0.9, id="in a step, averaged"),
        pytest.param(20, 0.0, id="in a step", marks=pytest.mark.slow),
        pytest.param(24, 0.0, id="in evaluation", marks=pytest.mark.slow),
    ],
)
def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path, step: int, average: float) -> None:
    settings = SETTINGS.model_copy(update={"ema_decay": average})
    flow = new_flow()
    history = train(flow, TRAIN, HELD_OUT, settings, seed=3).history

    script = Path(__file__).with_name("killed_training.py")
    command = [sys.executable, script, tmp_path, settings.model_dump_json(), str(step)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL

    resumed = new_flow()
    fitted = train(resumed, TRAIN, HELD_OUT, settings, seed=3, folder=tmp_path, resume=True)
    assert 0 < resumed.steps <= 30 < flow.steps, "went on from the third epoch or later"
    _assert_equal(resumed.state_dict(), flow.state_dict())
    pd.testing.assert_frame_equal(fitted.history, history, check_exact=True)


def test_a_finished_training_is_not_repeated(tmp_path: Path, undisturbed: tuple[GaussianFlow, pd.DataFrame]) -> None:
    train(new_flow(), TRAIN, HELD_OUT, SETTINGS, seed=3, folder=tmp_path)
    again = new_flow()
    fitted = train(again, TRAIN, HELD_OUT, SETTINGS, seed=3, folder=tmp_path, resume=True)
    assert again.steps == 0
    _assert_equal(again.state_dict(), undisturbed[0].state_dict())
    pd.testing.assert_frame_equal(fitted.history, undisturbed[1], check_exact=True)


def test_a_training_that_ran_out_of_patience_is_not_taken_up_again(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 30.0, "patience": 2})
    first = train(new_flow(), TRAIN, HELD_OUT, settings, 3, folder=tmp_path)
    again = train(new_flow(), TRAIN, HELD_OUT, settings, 3, folder=tmp_path, resume=True)
    pd.testing.assert_frame_equal(first.history, again.history, check_exact=True)


def test_nothing_around_a_training_changes_it(undisturbed: tuple[GaussianFlow, pd.DataFrame]) -> None:
    torch.manual_seed(99)
    flow = new_flow()
    before = torch.get_rng_state()
    train(flow, TRAIN, HELD_OUT, SETTINGS, seed=3)
    assert torch.get_rng_state().equal(before)
    _assert_equal(flow.state_dict(), undisturbed[0].state_dict())
    other = new_flow()
    train(other, TRAIN, HELD_OUT, SETTINGS, seed=4)
    assert not other.head.weight.equal(flow.head.weight)


def test_ctrl_c_keeps_the_best_weights_and_can_be_resumed(
    tmp_path: Path, undisturbed: tuple[GaussianFlow, pd.DataFrame]
) -> None:
    class Interrupted(GaussianFlow):
        def loss(self, batch: Sequences) -> Tensor:
            if self.training and self.steps == 27:
                signal.raise_signal(signal.SIGINT)
            return super().loss(batch)

    handler = signal.getsignal(signal.SIGINT)
    flow = Interrupted()
    flow.load_state_dict(new_flow().state_dict())
    fitted = train(flow, TRAIN, HELD_OUT, SETTINGS, seed=3, folder=tmp_path)
    assert fitted.interrupted
    assert signal.getsignal(signal.SIGINT) is handler
    assert flow.loss(HELD_OUT).item() == pytest.approx(fitted.history["validation"].min(), rel=1e-6)
    pd.testing.assert_frame_equal(fitted.history, undisturbed[1][:5], check_exact=True)

    resumed = new_flow()
    train(resumed, TRAIN, HELD_OUT, SETTINGS, seed=3, folder=tmp_path, resume=True)
    _assert_equal(resumed.state_dict(), undisturbed[0].state_dict())


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"max_epochs": 1})
    train(new_flow(), TRAIN, HELD_OUT, short, seed=3, folder=tmp_path)
    with pytest.raises(RunError, match=r"training\.max_epochs was 1, now 8; seed was 3, now 4"):
        train(new_flow(), TRAIN, HELD_OUT, SETTINGS, seed=4, folder=tmp_path, resume=True)
    with pytest.raises(RunError, match=r"training subjects was 60, now 20"):
        train(new_flow(), HELD_OUT, HELD_OUT, short, seed=3, folder=tmp_path, resume=True)
    mended = replace(TRAIN, x=TRAIN.x.clone())
    mended.x[0, 0, 0] += 0.1
    with pytest.raises(RunError, match=r"another training: the training values are others\. Go on"):
        train(new_flow(), mended, HELD_OUT, short, seed=3, folder=tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "code"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    short = SETTINGS.model_copy(update={"max_epochs": 1})
    train(new_flow(), TRAIN, HELD_OUT, short, seed=3, folder=tmp_path)
    (path,) = (tmp_path / "checkpoints").iterdir()
    data = path.read_bytes()
    if damage == "code":
        torch.save({"callbacks": {"best_checkpoint": nn.Linear(1, 1)}}, path)
    else:
        path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(RunError, match=r"member-1\.ckpt: damaged"):
        train(new_flow(), TRAIN, HELD_OUT, short, seed=3, folder=tmp_path, resume=True)


def test_weights_decay_and_gains_do_not() -> None:
    flow = nn.ModuleDict({"gru": nn.GRU(2, 3), "norm": nn.LayerNorm(3), "linear": nn.Linear(3, 3)})
    flow.register_parameter("correlation", nn.Parameter(torch.eye(2)))
    flow["linear"].bias.requires_grad_(False)
    optimizer = FlowModule(flow, SETTINGS, 8, 0).configure_optimizers()["optimizer"]
    names = {id(parameter): name for name, parameter in flow.named_parameters()}
    decayed, kept = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert decayed == {"gru.weight_ih_l0", "gru.weight_hh_l0", "linear.weight"}
    assert kept == {"gru.bias_ih_l0", "gru.bias_hh_l0", "norm.weight", "norm.bias", "correlation"}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [SETTINGS.weight_decay, 0.0]


def test_a_terminal_hears_nothing_of_lightning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    short = SETTINGS.model_copy(update={"max_epochs": 1})
    for resume in (False, True):
        train(new_flow(), TRAIN, HELD_OUT, short, seed=3, folder=tmp_path, resume=resume, progress=True)
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []


def test_events_are_written_for_tensorboard(tmp_path: Path) -> None:
    train(new_flow(), TRAIN, HELD_OUT, SETTINGS.model_copy(update={"max_epochs": 2}), 3, tmp_path, label="member-2")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "logs" / "member-2")).Reload()
    assert [event.step for event in events.Scalars("validation")] == [0, 1, 2]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["member-2.ckpt"]


def _assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].equal(tensor), name
