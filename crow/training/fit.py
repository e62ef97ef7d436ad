"""Training of one flow on one split, from its start to its best held-out weights."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import nn

from crow.errors import RunError
from crow.run.config import Optimisation

if TYPE_CHECKING:
    from crow.training.data import Source


@dataclass(frozen=True)
class Fitted:
    """What training came to: the best validation loss, its epoch (0 is the start) and one row per epoch of history.

    The validation subjects chose the epoch, so ``validation_loss`` flatters it. ``out_of_sample`` does not: each half
    of them is evaluated at the epoch that the other half would have chosen.
    """

    validation_loss: float
    epoch: int
    history: pd.DataFrame
    interrupted: bool = False
    out_of_sample: float = math.nan


def train(
    flow: nn.Module,
    train: Source,
    validation: Source,
    settings: Optimisation,
    seed: int,
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    label: str = "member-1",
) -> Fitted:
    """Train ``flow`` in place and leave it with the weights of its best epoch, in evaluation mode.

    ``flow.loss(batch)`` is the mean loss per visit; in evaluation mode it decides which weights are kept. With a
    ``folder``, ``checkpoints/<label>.ckpt`` is kept up to date (``resume`` continues from it, with the same result bit
    for bit) and ``logs/<label>`` gets TensorBoard events. Ctrl-C ends training early with what it has. Raises RunError
    for a checkpoint that is damaged or of another training.
    """
    # Lightning takes seconds to import, and a forecast needs none of it.
    from crow.training.best_checkpoint import BestCheckpoint
    from crow.training.data import BatchData
    from crow.training.module import FlowModule
    from crow.training.trainer import make_trainer, quiet, run_trainer

    if (max_epochs := settings.max_epochs) is None:
        raise ValueError("training.max_epochs has to be chosen for the cohort before training")
    checkpoint = folder / "checkpoints" / f"{label}.ckpt" if folder else None
    facts = _facts(train, validation, settings, seed)
    warm_up = _warm_up(settings, max_epochs)
    best_checkpoint = BestCheckpoint(settings.patience, max_epochs, checkpoint, facts, warm_up)
    if resume := bool(resume and checkpoint and checkpoint.exists()):
        assert checkpoint is not None
        best_checkpoint.load_state_dict(_read_checkpoint(checkpoint, facts))
    interrupted = False
    if not (resume and best_checkpoint.done):
        with quiet(), _threads(settings.threads), torch.random.fork_rng(range(torch.cuda.device_count())):
            module = FlowModule(flow.train(), settings, max_epochs, seed)
            data = BatchData(train, validation, settings.batch_size, settings.steps_per_epoch, seed)
            trainer = make_trainer(best_checkpoint, settings, folder, label, progress)
            interrupted = run_trainer(trainer, module, data, checkpoint if resume else None)
    if best_checkpoint.best:
        flow.load_state_dict(best_checkpoint.best)
    flow.zero_grad()
    flow.eval()
    loss = best_checkpoint.best_loss if best_checkpoint.history else math.nan
    history = pd.DataFrame(best_checkpoint.history)
    other = _out_of_sample(history, validation) if len(history) else math.nan
    return Fitted(loss, best_checkpoint.best_epoch, history, interrupted, other)


def _warm_up(settings: Optimisation, max_epochs: int) -> int:
    """Epochs until the rate has risen and the averaged weights have left their start behind."""
    rising = settings.pct_start * max_epochs if settings.schedule == "one-cycle" else 0.0
    averaged = 1 / ((1 - settings.ema_decay) * settings.steps_per_epoch) if settings.ema_decay else 0.0
    return math.ceil(rising + averaged)


def _out_of_sample(history: pd.DataFrame, validation: Source) -> float:
    """The mean loss of the validation subjects, each half at the epoch that is best for the other."""
    first, second = (history[f"validation_half_{k}"].fillna(math.inf) for k in (1, 2))
    if len(validation) < 2:
        return float(history["validation"].min())
    mask = getattr(validation, "mask", torch.ones(len(validation), 1))
    share = float(mask[::2].sum() / mask.sum())
    one, two = first.to_numpy(float), second.to_numpy(float)
    return share * float(one[two.argmin()]) + (1 - share) * float(two[one.argmin()])


def _facts(train: Source, validation: Source, settings: Optimisation, seed: int) -> dict[str, Any]:
    """What must be the same for a checkpoint to be gone on with."""
    chosen = settings.model_dump(exclude={"threads", "accelerator"})
    sizes = {"training subjects": len(train), "held-out subjects": len(validation), "visits": train.count}
    values = {"training values": train.digest(), "held-out values": validation.digest()}
    return {**{f"training.{key}": value for key, value in chosen.items()}, **sizes, **values, "seed": seed}


def _read_checkpoint(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")["callbacks"]["best_checkpoint"]
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise RunError(f"{path}: damaged ({type(error).__name__}). Remove it and run --resume again.") from None
    changed = {key: value for key, value in facts.items() if state["facts"].get(key) != value}
    if changed:
        said = [
            f"the {key} are others" if key.endswith(" values") else f"{key} was {state['facts'].get(key)}, now {value}"
            for key, value in changed.items()
        ]
        raise RunError(
            f"{path}: belongs to another training: {'; '.join(said)}. Go on with the cohort and the flags (--label, "
            "--source, --masks, --factor, ... where the command has them) it was started with, or start again without "
            "--resume."
        )
    return state


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
