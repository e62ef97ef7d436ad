"""What training must not forget: the best weights, the history, and where to go on."""

import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from torch import Tensor

from crow.files import writing
from crow.training.module import FlowModule

SECONDS_BETWEEN_CHECKPOINTS = 2.0


@dataclass(eq=False)
class BestCheckpoint(pl.Callback):
    """Keeps the best held-out weights and the history, stops when patience ends, and writes the checkpoint.

    The untouched start is epoch 0 and a candidate like any other. All of it is part of the one checkpoint, so a resumed
    run knows its best weights and that it had stopped: this is why Lightning's EarlyStopping and ModelCheckpoint,
    which never see the start, are not used. ``facts`` tell which run a checkpoint belongs to. Patience begins after
    ``warm_up`` epochs.
    """

    patience: int
    max_epochs: int
    checkpoint: Path | None
    facts: dict[str, Any]
    warm_up: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    saved: float = field(default_factory=time.monotonic)

    @property
    def state_key(self) -> str:
        return "best_checkpoint"

    @property
    def best_loss(self) -> float:
        return self.history[self.best_epoch]["validation"]

    @property
    def done(self) -> bool:
        """Whether the last epoch is reached, or ``patience`` epochs after the warm-up have brought nothing better."""
        epoch = len(self.history) - 1
        return epoch >= self.max_epochs or epoch - max(self.best_epoch, self.warm_up) >= self.patience

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, FlowModule)
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else 0.0
        halves = {f"validation_half_{k}": half.take() for k, half in enumerate(module.validation_halves, 1)}
        row = {"train": module.train_loss.take(), "validation": module.validation_loss.take(), **halves}
        row["learning_rate"] = float(rate)
        self.history.append({"epoch": len(self.history), **row})
        if len(self.history) == 1 or row["validation"] < self.best_loss or self.best_loss != self.best_loss:
            self.best_epoch = len(self.history) - 1
            self.best = {name: tensor.detach().clone() for name, tensor in module.judged.state_dict().items()}
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in row.items() if v == v}, step=len(self.history) - 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = self.done
        due = self.done or time.monotonic() - self.saved > SECONDS_BETWEEN_CHECKPOINTS
        if self.checkpoint is not None and due:
            trainer.save_checkpoint(self.checkpoint)
            self.saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"facts": self.facts, "history": self.history, "best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history, self.best = state_dict["history"], state_dict["best"]
        self.best_epoch = state_dict["best_epoch"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it, so there is never half of one.

    It goes through memory, because torch's own writer tells of a full disk in no words that can be recognised.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        memory = io.BytesIO()
        torch.save(checkpoint, memory)
        with writing(path, overwrite=True) as temporary:
            temporary.write_bytes(memory.getbuffer())
