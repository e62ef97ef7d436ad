"""Lightning's part of keeping a training: the rows of its epochs, the best weights, and the checkpoint."""

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.distributed.tensor import DTensor

from crow.training import checkpoint
from crow.training.history import History
from crow.training.module import FlowModule


class BestCheckpoint(pl.Callback):
    """Keeps a `History`, stops early, and writes the checkpoint.

    Lightning's EarlyStopping and ModelCheckpoint never evaluate the initial weights, so they are not used. History,
    best weights and early stopping are part of one checkpoint, so a resumed run knows them.

    Parameters
    ----------
    history : History
        Is continued.
    path : Path or None
        Where the checkpoint goes, if anywhere.
    facts : dict
        Settings and data that a resumed run must share with the checkpoint.
    """

    def __init__(self, history: History, path: Path | None, facts: dict[str, Any]) -> None:
        self.history, self.path, self.facts = history, path, facts
        self.timetable = checkpoint.Timetable()

    @property
    def state_key(self) -> str:
        return "best_checkpoint"

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, FlowModule)
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else 0.0
        halves = {f"validation_half_{k}": half.take() for k, half in enumerate(module.validation_halves, 1)}
        row = {"train": module.train_loss.take(), "validation": module.validation_loss.take(), **halves}
        row["learning_rate"] = float(rate)
        if trainer.world_size > 1:  # all processes evaluate the same weights; their training losses are parts of one
            train = torch.tensor(row["train"], device=trainer.strategy.root_device)
            row["train"] = float(trainer.strategy.reduce(train, reduce_op="mean"))
            row = trainer.strategy.broadcast(row)
        if self.history.is_better(row["validation"]):
            state = module.evaluated.state_dict()
            self.history.best = {name: _whole(tensor.detach()) for name, tensor in state.items()}
        self.history.add(row)
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in row.items() if v == v}, step=len(self.history.rows) - 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        done = trainer.should_stop = self.history.done
        if self.path is not None and trainer.strategy.broadcast(done or self.timetable.due()):
            began = time.monotonic()
            trainer.save_checkpoint(self.path)
            self.timetable.written(began)

    def state_dict(self) -> dict[str, Any]:
        return {"facts": self.facts, **self.history.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history.load_state_dict(state_dict)


def _whole(tensor: Tensor) -> Tensor:
    """A copy; of weights that processes share, all of them."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole (`crow.training.checkpoint.save_checkpoint`)."""

    def save_checkpoint(self, checkpoint_state: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint.save_checkpoint(checkpoint_state, Path(path))
