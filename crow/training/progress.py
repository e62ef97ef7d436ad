"""One line a member in the terminal."""

from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crow.training.keeper import Keeper


class EpochBar(pl.Callback):
    """Epochs done, held-out loss and time, redrawn once an epoch; silent where nobody watches a terminal."""

    def __init__(self, keeper: Keeper, label: str) -> None:
        self.keeper, self.label = keeper, label
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(16),
            MofNCompleteColumn(),
            TextColumn("epochs, held-out {task.fields[held_out]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=2,
        )

    def on_train_start(self, *_: Any) -> None:
        self.progress.start()
        self.task = self.progress.add_task(self.label, total=self.keeper.max_epochs, held_out="")
        self._show()

    def on_train_epoch_end(self, *_: Any) -> None:
        self._show()

    def on_train_end(self, *_: Any) -> None:
        self.progress.stop()

    def on_exception(self, *_: Any) -> None:
        self.progress.stop()

    def _show(self) -> None:
        last, best = self.keeper.history[-1]["held_out"], self.keeper.best_loss
        held_out = f"{last:.4g} (best {best:.4g})"
        self.progress.update(self.task, completed=len(self.keeper.history) - 1, held_out=held_out)
