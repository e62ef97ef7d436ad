"""One progress line per training in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crow.training.history import History


class EpochLine:
    """Epochs, validation loss and remaining time, updated once per epoch; silent if stderr is not a terminal.

    Of flows that are trained together it shows those that are furthest, and the mean of their losses.

    Parameters
    ----------
    label : str
        What is trained.
    histories : list of History
        One per flow.
    """

    def __init__(self, label: str, histories: list[History]) -> None:
        self.label, self.histories = label, histories
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

    def start(self) -> None:
        self.progress.start()
        self.task = self.progress.add_task(self.label, total=self.histories[0].max_epochs, validation="")
        self.show()

    def show(self) -> None:
        count = len(self.histories)
        last = sum(history.rows[-1]["validation"] for history in self.histories) / count
        best = sum(history.best_loss for history in self.histories) / count
        done = max(len(history.rows) for history in self.histories) - 1
        self.progress.update(self.task, completed=done, validation=f"{last:.4g} (best {best:.4g})")

    def stop(self) -> None:
        self.progress.stop()
