"""Training of one flow on one split, from its start to its best held-out weights."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd
import torch
from torch import nn

from crow.run.config import Optimisation
from crow.training.checkpoint import read_checkpoint, require_facts, training_facts
from crow.training.history import History

if TYPE_CHECKING:
    from crow.training.data import Source

Settings = TypeVar("Settings", bound=Optimisation)


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

    @classmethod
    def of(cls, history: History, validation: Source, interrupted: bool) -> Fitted:
        """What a ``history`` came to."""
        table = history.table
        other = _out_of_sample(table, validation) if len(table) else math.nan
        return cls(history.best_loss, history.best_epoch, table, interrupted, other)


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

    path = folder / "checkpoints" / f"{label}.ckpt" if folder else None
    facts, history = training_facts(train, validation, settings, seed), History.of(settings)
    best_checkpoint = BestCheckpoint(history, path, facts)
    if resume := bool(resume and path and path.exists()):
        assert path is not None
        state = read_checkpoint(path, "callbacks", best_checkpoint.state_key)
        require_facts(path, state["facts"], facts)
        history.load_state_dict(state)
    interrupted = False
    if not (resume and history.done):
        with quiet(), threads(settings.threads), torch.random.fork_rng(range(torch.cuda.device_count())):
            # A copy, since with `strategy: fsdp` each process has only a part of the weights.
            trained = deepcopy(flow) if settings.strategy == "fsdp" else flow
            module = FlowModule(trained.train(), settings, history.max_epochs, seed)
            data = BatchData(train, validation, settings.batch_size, settings.steps_per_epoch, seed)
            trainer = make_trainer(best_checkpoint, settings, folder, label, progress)
            interrupted = run_trainer(trainer, module, data, path if resume else None)
    if history.best:
        flow.load_state_dict(history.best)
    flow.zero_grad()
    flow.eval()
    return Fitted.of(history, validation, interrupted)


def _out_of_sample(history: pd.DataFrame, validation: Source) -> float:
    """The mean loss of the validation subjects, each half at the epoch that is best for the other."""
    first, second = (history[f"validation_half_{k}"].fillna(math.inf) for k in (1, 2))
    if len(validation) < 2:
        return float(history["validation"].min())
    mask = getattr(validation, "mask", torch.ones(len(validation), 1))
    share = float(mask[::2].sum() / mask.sum())
    one, two = first.to_numpy(float), second.to_numpy(float)
    return share * float(one[two.argmin()]) + (1 - share) * float(two[one.argmin()])


def free_threads() -> int:
    """Threads of torch, at most one per core that nobody else uses now.

    The threads of one step wait for each other, so that two on one free core are slower than one. Results depend on the
    number of threads by rounding only; ``training.threads`` fixes it.
    """
    most = torch.get_num_threads()
    try:
        cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    except (AttributeError, OSError):  # not on this system
        return most
    return max(1, min(most, round(cores - load)))


def with_threads(settings: Settings) -> Settings:
    """The settings with a number of threads, which a resumed training keeps."""
    return settings if settings.threads is not None else settings.model_copy(update={"threads": free_threads()})


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """So many processor threads; None leaves their number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
