"""One progress line per ensemble member in the terminal."""

from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crow.training.best_checkpoint import BestCheckpoint


class EpochBar(pl.Callback):
    """Epochs, validation loss and remaining time, updated once per epoch; silent if stderr is not a terminal."""

    def __init__(self, best_checkpoint: BestCheckpoint, label: str) -> None:
        self.best_checkpoint, self.label = best_checkpoint, label
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(16),
            MofNCompleteColumn(),
            TextColumn("epochs, validation loss {task.fields[validation]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=2,
        )

    def on_train_start(self, *_: Any) -> None:
        self.progress.start()
        self.task = self.progress.add_task(self.label, total=self.best_checkpoint.max_epochs, validation="")
        self._show()

    def on_train_epoch_end(self, *_: Any) -> None:
        self._show()

    def on_train_end(self, *_: Any) -> None:
        self.progress.stop()

    def on_exception(self, *_: Any) -> None:
        self.progress.stop()

    def _show(self) -> None:
        last, best = self.best_checkpoint.history[-1]["validation"], self.best_checkpoint.best_loss
        validation = f"{last:.4g} (best {best:.4g})"
        self.progress.update(self.task, completed=len(self.best_checkpoint.history) - 1, validation=validation)
