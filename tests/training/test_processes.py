"""One training in several processes: the batches are those of one process, and only the first process writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stub_flow import invented, new_flow

from crow.errors import ConfigError
from crow.files import write_text
from crow.models.training_report import require_one_device
from crow.run.config import TrainingSettings
from crow.training.checkpoint import read_checkpoint
from crow.training.fit import train

STEPS, EPOCHS = 5, 6
SETTINGS = TrainingSettings(
    max_epochs=EPOCHS, steps_per_epoch=STEPS, batch_size=25, learning_rate=0.01, visit_dropout=0.0, value_dropout=0.0,
    ema_decay=0.9, threads=1,
)  # fmt: skip


@pytest.mark.parametrize("strategy", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp"])
def test_two_processes_train_as_one_and_one_continues(tmp_path: Path, strategy: str) -> None:
    torch.set_num_threads(1)
    data = invented(60, 1), invented(20, 2)
    alone = new_flow(0.0)
    history = train(alone, *data, SETTINGS, seed=3).history
    (tmp_path / "checkpoints").mkdir()
    several = SETTINGS.model_copy(update={"strategy": strategy})
    words = [str(Path(__file__).with_name("interrupted_processes.py")), str(tmp_path), several.model_dump_json()]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, *words, str(3 * STEPS + 2)], capture_output=True, text=True, check=False)
    assert "exitcode  : 3" in done.stderr, done.stderr[-3000:]
    assert ("FSDPStoppedFlow" in done.stdout) == (strategy == "fsdp")
    path = tmp_path / "checkpoints" / "member-1.ckpt"
    rows = read_checkpoint(path, "callbacks", "best_checkpoint")["history"]
    assert len(rows) == 4  # the start, and three epochs
    for name in ("train", "validation", "learning_rate"):
        expected = history[name][1:4].tolist()
        assert [row[name] for row in rows[1:]] == pytest.approx(expected, rel=1e-5), name
    rest = new_flow(0.0)
    resumed = train(rest, *data, SETTINGS, seed=3, folder=tmp_path, resume=True).history
    assert resumed["validation"].tolist() == pytest.approx(history["validation"].tolist(), rel=1e-4)
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(rest.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    write_text(tmp_path / "a.txt", "second")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="without torchrun"):
        require_one_device(SETTINGS)
    monkeypatch.setenv("RANK", "0")
    write_text(tmp_path / "a.txt", "first")
    assert (tmp_path / "a.txt").read_text() == "first"


@pytest.mark.parametrize("change", [{"devices": 2}, {"num_nodes": 2}, {"precision": "bf16-mixed"}])
def test_members_of_an_ensemble_need_one_device(change: dict[str, object]) -> None:
    require_one_device(SETTINGS)
    with pytest.raises(ConfigError, match="together on one device"):
        require_one_device(SETTINGS.model_copy(update=change))
