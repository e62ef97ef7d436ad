"""The state of a training: the best weights, the history, and the checkpoint to resume from."""

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
    """Keeps the history and the weights with the best validation loss, stops early, and writes the checkpoint.

    The initial weights are epoch 0, a candidate like any other. Lightning's EarlyStopping and ModelCheckpoint never
    evaluate them, so they are not used. History, best weights and early stopping are part of one checkpoint, so a
    resumed run knows them.

    Parameters
    ----------
    patience : int
        Number of epochs without improvement after which training stops.
    max_epochs : int
        Largest number of epochs.
    checkpoint : Path or None
        Where the checkpoint goes, if anywhere.
    warm_up : int
        Epochs before patience begins to count.
    facts : dict
        Settings and data that a resumed run must share with the checkpoint.
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
        """Whether the last epoch is reached, or ``patience`` epochs after the warm-up have brought no improvement."""
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
            self.best = {name: tensor.detach().clone() for name, tensor in module.evaluated.state_dict().items()}
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
    """Writes a checkpoint to a temporary file and renames it, so that no partial checkpoint exists.

    It goes through memory, because the error of torch's own writer does not identify a full disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        memory = io.BytesIO()
        torch.save(checkpoint, memory)
        with writing(path, overwrite=True) as temporary:
            temporary.write_bytes(memory.getbuffer())
