"""Ensemble members in groups, each a task that has the same result wherever it runs (`crow.tasks`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from crow.bijections.soft_bounds import Bounds
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.flows.gross_errors import without
from crow.run.config import Config
from crow.seeds import SeedStream, derived_seed
from crow.tasks import in_parallel, run_tasks
from crow.training.build import Initialisation, build_flow
from crow.training.fit import Fitted, threads
from crow.training.together import Member, checkpoint_of, train_together


class Planned(NamedTuple):
    """A member to train: its number from 0, its initialisation, and the fold of its validation subjects."""

    number: int
    initialisation: Initialisation
    fold: int


@dataclass(frozen=True)
class TrainedMember:
    """A member, its training, and ``mixed_model``: the loss of its mixed model on its validation subjects.

    It travels between processes and holds no values of subjects.
    """

    plan: Planned
    flow: CRowFlow
    fit: Fitted
    mixed_model: float


@dataclass(frozen=True)
class EnsembleData:
    """What the members of an ensemble share.

    ``data`` are all training visits without their gross errors ``gross``, ``parts`` the rows of the validation subjects
    of each fold. For the other arguments see `crow.training.ensemble.fit_ensemble`.
    """

    config: Config
    data: Sequences
    gross: Tensor
    parts: list[Tensor]
    reference: CRowFlow
    bounds: Bounds | None
    changes: Sequence[int] | None
    cross_fitted: Callable[[Tensor], Sequences] | None

    def mixed_model(self, data: Sequences) -> CRowFlow:
        """That of ``data``, with the softness of bounds and the spread of the reference."""
        return mixed_model(self.config, data, self.bounds, self.reference, self.changes)

    def of_fold(self, fold: int) -> tuple[Sequences, Sequences]:
        """Training and validation subjects."""
        own, part = self.data, self.parts[fold]
        if self.cross_fitted is not None:
            own = without(self.cross_fitted(part), self.gross)
        return without_rows(own, part), own[part]


def train_members(
    common: EnsembleData,
    plan: Sequence[Planned],
    size: int,
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    jobs: int = 1,
    echo: Callable[[str], None] = lambda line: None,
) -> list[TrainedMember]:
    """Train members in groups of ``size``, which does not depend on ``jobs``, as tasks of `crow.tasks.run_tasks`.

    After Ctrl-C the members are those that have begun; the fit of at least one is ``interrupted``.
    """
    groups = [list(plan[k : k + size]) for k in range(0, len(plan), size)]
    parallel = in_parallel(jobs, len(groups))
    tasks = [(common, group, folder, resume, progress and not parallel) for group in groups]
    results = run_tasks(train_group, tasks, jobs)
    bar = Console(stderr=True)
    shown = track(results, "Groups of members", len(tasks), console=bar, transient=True, disable=not bar.is_terminal)
    found: dict[int, list[TrainedMember]] = {}
    interrupted = False
    try:
        for number, members in shown if parallel and progress else results:
            found[number] = members
            for member in members:
                echo(_result(member))
            if interrupted := any(member.fit.interrupted for member in members):
                break
    except KeyboardInterrupt:
        if not parallel:
            raise
        interrupted = True
    if interrupted and parallel:
        for number in set(range(len(groups))) - set(found):
            if (path := checkpoint_of(folder, _labels(groups[number]))) is not None and path.exists():
                found[number] = train_group(common, groups[number], folder, True, begin=False)
                for member in found[number]:
                    echo(_result(member))
        if not found:
            raise KeyboardInterrupt  # no member has begun
    return [member for number in sorted(found) for member in found[number]]


def train_group(
    common: EnsembleData,
    group: Sequence[Planned],
    folder: Path | None,
    resume: bool,
    progress: bool = False,
    begin: bool = True,
) -> list[TrainedMember]:
    """Train members together; without ``begin`` they are what their checkpoint holds."""
    config = common.config
    features, context = common.data.x.shape[2], common.data.context.shape[2]
    with threads(config.training.threads):
        data = {fold: common.of_fold(fold) for fold in {planned.fold for planned in group}}
        mixed = {fold: common.mixed_model(kept) for fold, (kept, _) in data.items()}
        members = []
        for planned, label in zip(group, _labels(group), strict=True):
            with seeded(config.seed, planned.number):
                flow = build_flow(config.model, features, context, planned.initialisation)
            flow.start_at(mixed[planned.fold])
            members.append(Member(flow, *data[planned.fold], derived_seed(config.seed, planned.number), label))
        fits = train_together(members, config.training, folder, resume, progress, begin)
        return [
            TrainedMember(p, m.flow, fit, _initial_loss(mixed[p.fold], m.validation, m.seed))
            for p, m, fit in zip(group, members, fits, strict=True)
        ]


def mixed_model(
    config: Config,
    data: Sequences,
    bounds: Bounds | None,
    reference: CRowFlow | None = None,
    changes: Sequence[int] | None = None,
) -> CRowFlow:
    """A flow that is the mixed model of ``data``, with the softness of bounds and the spread of a ``reference``."""
    with seeded(config.seed, 0):
        flow = build_flow(config.model, data.x.shape[2], data.context.shape[2], "mixed_model")
    flow.initialise(data, bounds, None if reference is None else reference.bounds.softness, changes)
    if reference is not None:
        flow.spread.copy_(reference.spread)
    return flow.eval()


@contextmanager
def seeded(seed: int, member: int) -> Iterator[None]:
    """Initial weights of a member come from the run's seed, and leave torch's generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(seed, member, SeedStream.INITIAL_WEIGHTS))
        yield


def without_rows(data: Sequences, left_out: Tensor) -> Sequences:
    """The other subjects."""
    return data[~torch.isin(torch.arange(len(data)), left_out)]


def _labels(group: Sequence[Planned]) -> list[str]:
    return [f"member-{planned.number + 1}" for planned in group]


def _result(member: TrainedMember) -> str:
    fit, (number, initialisation, _) = member.fit, member.plan
    return (
        f"member {number + 1} ({initialisation}): validation loss {fit.validation_loss:.3f} at epoch {fit.epoch}, "
        f"mixed model {member.mixed_model:.3f}"
    )


@torch.no_grad()
def _initial_loss(flow: CRowFlow, validation: Sequences, seed: int) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # as before every validation epoch: scores with levels get the same noise
        return float(flow.initial_loss(validation))
