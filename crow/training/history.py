"""What is kept of a training: one row per epoch, the best weights, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import Tensor

from crow.run.config import Optimisation

LEAST_PATIENCE, MOST_PATIENCE = 5, 10  # epochs
LEAST_RISES = 3


def usual_patience(epochs: int) -> int:
    """A sixth of the epochs, 5 to 10: averaged weights improve steadily, and a short training needs less."""
    return min(max(LEAST_PATIENCE, epochs // 6), MOST_PATIENCE)


@dataclass(eq=False)
class History:
    """The rows of all epochs and the weights with the best validation loss.

    The initial weights are epoch 0, a candidate like any other.

    Parameters
    ----------
    patience : int
        Number of epochs without improvement after which training stops. Half as many, and at least 3, stop it if each
        of them raised the loss, even in the warm-up: averaged weights move smoothly, so that is overfitting and no
        noise (Prechelt 1998, "Early stopping - but when?", criterion UP).
    max_epochs : int
        Largest number of epochs.
    warm_up : int
        Epochs before patience begins to count.
    """

    patience: int
    max_epochs: int
    warm_up: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0

    @classmethod
    def of(cls, settings: Optimisation) -> History:
        """An empty one; raises ValueError if ``max_epochs`` has not been chosen."""
        if settings.max_epochs is None:
            raise ValueError("training.max_epochs has to be chosen for the cohort before training")
        patience = usual_patience(settings.max_epochs) if settings.patience is None else settings.patience
        return cls(patience, settings.max_epochs, _warm_up(settings, settings.max_epochs))

    @property
    def best_loss(self) -> float:
        return self.rows[self.best_epoch]["validation"] if self.rows else math.nan

    @property
    def done(self) -> bool:
        """Whether the last epoch is reached, or more of them have no prospect of an improvement."""
        epoch = len(self.rows) - 1
        waited = epoch - max(self.best_epoch, self.warm_up) >= self.patience
        return epoch >= self.max_epochs or waited or self._rises >= max(LEAST_RISES, math.ceil(self.patience / 2))

    @property
    def _rises(self) -> int:
        """How many of the last epochs in a row raised the validation loss."""
        losses = [row["validation"] for row in self.rows]
        rises = 0
        while rises + 1 < len(losses) and losses[-1 - rises] > losses[-2 - rises]:
            rises += 1
        return rises

    def is_better(self, loss: float) -> bool:
        """Whether a validation loss is the best so far; the first is."""
        return loss < self.best_loss or math.isnan(self.best_loss)

    def add(self, row: dict[str, float]) -> None:
        """Add an epoch's losses: ``train``, ``validation`` and others."""
        if self.is_better(row["validation"]):
            self.best_epoch = len(self.rows)
        self.rows.append({"epoch": len(self.rows), **row})

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.rows, "best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.best, self.best_epoch = state["history"], state["best"], state["best_epoch"]


def _warm_up(settings: Optimisation, max_epochs: int) -> int:
    """Epochs until the rate has risen and the averaged weights have left their start behind."""
    rising = settings.pct_start * max_epochs if settings.schedule == "one-cycle" else 0.0
    averaged = 1 / ((1 - settings.ema_decay) * settings.steps_per_epoch) if settings.ema_decay else 0.0
    return math.ceil(rising + averaged)
