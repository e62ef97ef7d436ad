"""Training of several flows at once, each as if it were alone."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from crow.data.sequences import Sequences
from crow.extras import installed
from crow.flows.crow import BeforeLayers, CRowFlow
from crow.run.config import TrainingSettings
from crow.seeds import SeedStream, derived_seed
from crow.training import checkpoint
from crow.training.batches import Shuffles, drop_values, drop_visits
from crow.training.fit import Fitted, threads
from crow.training.history import History
from crow.training.optimiser import make_optimiser, make_schedule
from crow.training.progress import EpochLine
from crow.training.stack import Batch, FlowStack

VALIDATED = 256  # subjects that are evaluated at once
PREPARED = 2**20  # values of regions that are prepared at once


@dataclass(frozen=True)
class Member:
    """A flow to train, its training and validation subjects, its seed and its name."""

    flow: CRowFlow
    train: Sequences
    validation: Sequences
    seed: int
    label: str


def train_together(
    members: Sequence[Member],
    settings: TrainingSettings,
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    begin: bool = True,
) -> list[Fitted]:
    """Train flows of one architecture in place, and leave each with the weights of its best epoch, in evaluation mode.

    Each has its own batches, random numbers, early stopping and best weights, so it becomes what it becomes alone, up
    to rounding; one forward and backward pass is for all (`FlowStack`). ``folder``, ``resume`` and Ctrl-C are as in
    `crow.training.fit.train`; there is one checkpoint. Without ``begin`` nothing is trained: the flows are those of the
    checkpoint, and count as interrupted.
    """
    labels = [member.label for member in members]
    path = checkpoint_of(folder, labels)
    facts = [checkpoint.training_facts(m.train, m.validation, settings, m.seed) for m in members]
    histories = [History.of(settings) for _ in members]
    state = checkpoint.read_checkpoint(path) if resume and path is not None and path.exists() else None
    if state is not None:
        assert path is not None
        checkpoint.require_facts(path, state["facts"], _of_all(facts))
        for history, kept in zip(histories, state["histories"], strict=True):
            history.load_state_dict(kept)
    interrupted = not begin
    try:
        if begin and not all(history.rows and history.done for history in histories):
            with threads(settings.threads), ExitStack() as stack:
                log = _Log(stack, folder, labels, EpochLine(_label(labels), histories) if progress else None)
                _Training(members, histories, settings, state).run(log, path, _of_all(facts))
    except KeyboardInterrupt:
        interrupted = True
    for member, history in zip(members, histories, strict=True):
        if history.best:
            member.flow.load_state_dict(history.best)
        member.flow.eval()
    return [Fitted.of(h, m.validation, interrupted) for m, h in zip(members, histories, strict=True)]


def checkpoint_of(folder: Path | None, labels: Sequence[str]) -> Path | None:
    """That of members with these labels."""
    return folder / "checkpoints" / f"{_label(labels)}.ckpt" if folder else None


def _label(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]}-to-{labels[-1].rpartition('-')[2]}"


class _Training:
    """The flows that are not done: their weights, averages and optimiser."""

    def __init__(
        self,
        members: Sequence[Member],
        histories: Sequence[History],
        settings: TrainingSettings,
        state: dict[str, Any] | None,
    ) -> None:
        self.members, self.histories, self.settings = members, histories, settings
        self.active = list(range(len(members)))
        self.device = _device(settings)
        self.stack = FlowStack([member.flow for member in members], self.device)
        self.average = {name: weight.detach().clone() for name, weight in self.stack.trained.items()}
        self.optimiser = make_optimiser(self.stack.trained.items(), settings, stacked=True)
        self.schedule = make_schedule(self.optimiser, settings, histories[0].max_epochs)
        step = len(members) * min(settings.batch_size, max(len(m.train) for m in members))
        self.steps_at_once = max(1, PREPARED // (step * max(m.train.x[0].numel() for m in members)))
        self.missing = bool(settings.value_dropout) or any(m.train.measured is not None for m in members)
        if state is not None:
            self._keep(state["active"])
            for name, weight in self.stack.trained.items():
                weight.data.copy_(state["trained"][name])
                self.average[name].copy_(state["average"][name])
            self.optimiser.load_state_dict(state["optimiser"])
            self.schedule.load_state_dict(state["schedule"])
        self.validation = self._validation_batches()

    def run(self, log: _Log, path: Path | None, facts: dict[str, Any]) -> None:
        """Train until all flows are done, and keep the checkpoint up to date."""
        if not self.histories[0].rows:
            self._validate([math.nan] * len(self.active), log)
        log.start()
        timetable = checkpoint.Timetable()
        while self.active:
            if path is not None and timetable.due():
                began = time.monotonic()
                checkpoint.save_checkpoint({"facts": facts, **self._state()}, path)
                timetable.written(began)
            self._keep([k for k in self.active if not self.histories[k].done])
            if self.active:
                self._validate(self._train(), log)
                log.show()
        if path is not None:
            checkpoint.save_checkpoint({"facts": facts, **self._state()}, path)

    @torch.enable_grad()
    def _train(self) -> list[float]:
        """An epoch; returns the mean losses."""
        total = torch.zeros(len(self.active), device=self.device)
        epoch = len(self.histories[self.active[0]].rows) - 1
        batches = [_batches(self.members[k], self.settings, epoch) for k in self.active]
        ema = get_ema_multi_avg_fn(self.settings.ema_decay)
        weights = list(self.stack.trained.values())
        for batch, before, dropout in self._prepared(zip(*batches, strict=True)):
            log_prob, visits = batch.total(self.stack.log_prob(self.stack.trained, batch, before, dropout))
            losses = -log_prob / visits
            losses.sum().backward()
            _clip(weights, self.settings.gradient_clip)
            self.optimiser.step()
            self.optimiser.zero_grad()
            if self.settings.schedule == "one-cycle":
                self.schedule.step()
            ema(list(self.average.values()), [weight.detach() for weight in weights], None)
            total += losses.detach()
        if self.settings.schedule == "published":
            self.schedule.step()
        return (total / self.settings.steps_per_epoch).tolist()

    def _prepared(
        self, drawn: Iterator[tuple[tuple[Sequences, torch.Generator], ...]]
    ) -> Iterator[tuple[Batch, BeforeLayers, Tensor | None]]:
        """The batches of some steps at a time: what does not depend on the trained weights is computed at once."""
        while True:
            batches, dropouts = [], []
            for each in islice(drawn, self.steps_at_once):  # one after the other, as their random numbers are
                batches.append(self._batch([part for part, _ in each]))
                dropouts.append(self.stack.draw_dropout(batches[-1], [generator for _, generator in each]))
            if not batches:
                return
            yield from zip(batches, self.stack.prepared(batches), dropouts, strict=True)

    @torch.no_grad()
    def _validate(self, train_losses: list[float], log: _Log) -> None:
        """Evaluate the flows and keep the weights of those that are better than ever."""
        weights = self.average if self.settings.ema_decay else dict(self.stack.trained)
        sums, counts = torch.zeros(2, len(self.active)), torch.zeros(2, len(self.active))
        for batch, before in self.validation:
            log_prob = self.stack.log_prob(weights, batch, before)
            for half in (0, 1):  # each is evaluated at the epoch that the other would choose
                found, visits = batch.total(log_prob, batch.subject % 2 == half)
                sums[half] -= found.cpu()
                counts[half] += visits.cpu()
        halves, whole = (sums / counts).tolist(), (sums.sum(0) / counts.sum(0)).tolist()
        rate = float(self.optimiser.param_groups[0]["lr"])
        for i, k in enumerate(self.active):
            row = {"train": train_losses[i], "validation": whole[i]}
            row |= {f"validation_half_{half}": values[i] for half, values in enumerate(halves, 1)}
            history = self.histories[k]
            if history.is_better(row["validation"]):
                state = {**self.stack.fixed, **self.stack.trained, **weights}
                names = self.members[k].flow.state_dict()
                history.best = {name: state[name][i].detach().cpu().clone() for name in names}
            history.add({**row, "learning_rate": rate})
            log.write(k, history)

    def _keep(self, left: list[int]) -> None:
        """Go on with some of the flows."""
        if left == self.active:
            return
        rows = torch.tensor([self.active.index(k) for k in left], dtype=torch.long, device=self.device)
        before = len(self.active)
        self.stack.keep(rows)
        self.average = {name: weight[rows] for name, weight in self.average.items()}
        for state in self.optimiser.state.values():
            state |= {name: v[rows] for name, v in state.items() if v.ndim and len(v) == before}
        self.active = left
        self.validation = self._validation_batches()

    def _validation_batches(self) -> list[tuple[Batch, BeforeLayers]]:
        """The same in every epoch, each with an even number of subjects."""
        size = 2 * (max(self.settings.batch_size, VALIDATED) // 2)
        members = [self.members[k] for k in self.active]
        nothing = [m.validation.rows(torch.arange(0)) for m in members]
        parts = zip_longest(*(_validation(m, size) for m in members))
        batches = [self._batch([own or none for own, none in zip(drawn, nothing, strict=True)]) for drawn in parts]
        return [(batch, self.stack.prepared([batch])[0]) for batch in batches]

    def _batch(self, parts: list[Sequences]) -> Batch:
        if self.missing:
            parts = [replace(part, measured=part.values()) for part in parts]
        return Batch.of(parts, self.device)

    def _state(self) -> dict[str, Any]:
        trained = {name: weight.detach() for name, weight in self.stack.trained.items()}
        return {
            "histories": [history.state_dict() for history in self.histories], "active": self.active,
            "trained": trained, "average": self.average, "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }  # fmt: skip


def _batches(member: Member, settings: TrainingSettings, epoch: int) -> Iterator[tuple[Sequences, torch.Generator]]:
    """The batches of an epoch, and the generator of all that is random about it."""
    shuffles = Shuffles(len(member.train), settings.batch_size, settings.steps_per_epoch, member.seed)
    shuffles.set_epoch(epoch)
    generator = torch.Generator().manual_seed(derived_seed(member.seed, epoch, SeedStream.TRAINING_NOISE))
    for rows in shuffles:
        batch = member.train[rows]
        if settings.visit_dropout:
            batch = drop_visits(batch, settings.visit_dropout, generator)
        if settings.value_dropout and batch.x.shape[2] > 1:
            batch = drop_values(batch, settings.value_dropout, generator)
        yield member.flow.dequantised(batch, generator=generator), generator


def _validation(member: Member, size: int) -> Iterator[Sequences]:
    """Batches of its validation subjects."""
    generator = torch.Generator().manual_seed(member.seed)
    for start in range(0, len(member.validation), size):
        yield member.flow.dequantised(member.validation[start : start + size], generator=generator)


def _clip(weights: list[torch.nn.Parameter], largest: float) -> None:
    """Scale the gradient of each flow to a norm of at most ``largest``."""
    grads = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()
    scale = (largest / (norm + 1e-6)).clamp_max(1.0)
    if bool((scale == 1).all()):
        return
    for grad in grads:
        grad.mul_(scale.view(-1, *[1] * (grad.ndim - 1)))


def _device(settings: TrainingSettings) -> torch.device:
    found = torch.accelerator.current_accelerator(check_available=True) if settings.accelerator != "cpu" else None
    return found or torch.device("cpu")


def _of_all(facts: list[dict[str, Any]]) -> dict[str, Any]:
    """One value for what all flows share, else that of each."""
    return {key: facts[0][key] if all(f[key] == facts[0][key] for f in facts) else [f[key] for f in facts]
            for key in facts[0]}  # fmt: skip


class _Log:
    """Events of each flow in ``folder``, if there is one and TensorBoard is installed; the progress line, if any."""

    def __init__(self, stack: ExitStack, folder: Path | None, labels: list[str], line: EpochLine | None) -> None:
        self.line, self.writers = line, []
        if folder is not None and installed("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            paths = [str(folder / "logs" / label) for label in labels]
            self.writers = [stack.enter_context(SummaryWriter(path)) for path in paths]
        if line is not None:
            stack.callback(line.stop)

    def start(self) -> None:
        if self.line is not None:
            self.line.start()

    def show(self) -> None:
        if self.line is not None:
            self.line.show()

    def write(self, k: int, history: History) -> None:
        """The last row of flow k."""
        if self.writers:
            for name, value in history.rows[-1].items():
                if value == value:
                    self.writers[k].add_scalar(name, value, len(history.rows) - 1)
