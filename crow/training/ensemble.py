"""The fitted model of a cohort: several flows trained on different subjects, pooled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from crow.config import Config
from crow.flows.crow import CRowFlow
from crow.flows.pool import FlowPool
from crow.flows.published import PublishedCRow
from crow.seeds import derived_seed
from crow.sequences import Sequences
from crow.training.build import Start, build_flow, build_published
from crow.training.fit import Fitted, train

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ensemble:
    """The pool, one row a member and epoch of history, and what each member came to."""

    pool: FlowPool
    history: pd.DataFrame
    members: list[dict[str, Any]]
    interrupted: bool


def fit_ensemble(
    config: Config,
    data: Sequences,
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    say: Say = lambda line: None,
) -> Ensemble:
    """Train the members of a resolved ``config``, each with another part of the subjects held out, and pool them.

    The mixed model is fitted once, to all of ``data``; a held-out part only decides how far its member moves away from
    it, and since it was fitted to that part too, the comparison is in its favour. With ``start: auto`` the first two
    members are one of each start on the same split, and the mixture of the two that maximises that split's likelihood
    decides how many of the pool's members start in which way; a start whose share rounds to none is left out.
    """
    features, context = data.x.shape[2], data.context.shape[2]
    mixed = build_flow(config.model, features, context, "mixed")
    mixed.fit_start(data)
    parts = folds(len(data), config.training.held_out, config.seed)
    count = config.model.members
    auto = config.model.start == "auto" and count > 1
    only: Start = "mixed" if config.model.start == "auto" else config.model.start
    plan: list[tuple[Start, int]] = [("mixed", 0), ("standard", 0)] if auto else [(only, f) for f in range(count)]
    left_out: set[Start] = set()
    flows: list[CRowFlow] = []
    fits: list[Fitted] = []
    of_mixed: list[float] = []
    while len(flows) < len(plan) and not (fits and fits[-1].interrupted):
        k = len(flows)
        start, fold = plan[k]
        held_out = parts[fold % len(parts)]
        with seeded(config.seed, k):
            flow = build_flow(config.model, features, context, start)
        flow.mixed.load_state_dict(mixed.mixed.state_dict())
        flow.time_scale.copy_(mixed.time_scale)
        kept, seed = _without(data, held_out), derived_seed(config.seed, k)
        fit = train(flow, kept, data[held_out], config.training, seed, folder, resume, progress, f"member-{k + 1}")
        flows.append(flow)
        fits.append(fit)
        of_mixed.append(_start_loss(mixed, data[held_out]))
        say(
            f"member {k + 1} ({start} start): held-out loss {fit.held_out:.3f} at epoch {fit.epoch}, "
            f"mixed model {of_mixed[k]:.3f}"
        )
        if auto and len(flows) == 2:
            share = _share_of_second(flows, data[held_out])
            say(f"best mixture on the held-out subjects: {1 - share:.0%} mixed, {share:.0%} standard start")
            others, left_out = _others(share, count)
            plan += zip(others, range(1, count), strict=False)
    starts = [start for start, _ in plan[: len(flows)]]
    begun = [k for k, fit in enumerate(fits) if len(fit.history)] or [0]
    used = [k for k in begun if starts[k] not in left_out]
    members = [
        {
            "start": starts[k],
            "pooled": k in used,
            "epoch": fit.epoch,
            "held_out": fit.held_out,
            "mixed_model": of_mixed[k],
        }
        for k, fit in enumerate(fits)
    ]
    history = pd.concat([fit.history.assign(member=k + 1) for k, fit in enumerate(fits)])
    return Ensemble(FlowPool([flows[k] for k in used]).eval(), history, members, fits[-1].interrupted)


def fit_published(
    config: Config, data: Sequences, folder: Path | None = None, resume: bool = False, progress: bool = False
) -> tuple[PublishedCRow, Fitted]:
    """Train the published flow on a resolved ``config``; the objective on held-out subjects decides when to stop."""
    held_out = folds(len(data), config.training.held_out, config.seed)[0]
    with seeded(config.seed, 0):
        flow = build_published(config.model, data.x.shape[2], data.context.shape[2])
    kept, seed = _without(data, held_out), derived_seed(config.seed, 0)
    return flow, train(flow, kept, data[held_out], config.training, seed, folder, resume, progress, "published")


@contextmanager
def seeded(seed: int, member: int) -> Iterator[None]:
    """Initial weights of a member come from the run's seed, and leave torch's generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(seed, member, 2))
        yield


def _without(data: Sequences, held_out: Tensor) -> Sequences:
    return data[~torch.isin(torch.arange(len(data)), held_out)]


@torch.no_grad()
def _start_loss(flow: CRowFlow, held_out: Sequences) -> float:
    return -float(flow.start_log_prob(held_out).sum() / held_out.mask.sum())


def _others(share: float, count: int) -> tuple[list[Start], set[Start]]:
    """Starts of the members after the first two, and the starts that are left out."""
    standard = round(share * count)
    if standard == 0:
        return ["mixed"] * (count - 2), {"standard"}
    if standard == count:
        return ["standard"] * (count - 2), {"mixed"}
    return ["standard" if k < standard - 1 else "mixed" for k in range(count - 2)], set()


def folds(subjects: int, share: float | None, seed: int) -> list[Tensor]:
    """Disjoint held-out rows, each about ``share`` of the subjects."""
    assert share is not None
    order = torch.randperm(subjects, generator=torch.Generator().manual_seed(derived_seed(seed, 3)))
    return list(order.tensor_split(max(2, min(subjects, round(1 / share)))))


@torch.no_grad()
def _share_of_second(flows: list[CRowFlow], held_out: Sequences, visits: float = 5.0) -> float:
    """Its weight in the mixture of two that maximises the likelihood, with ``visits`` imagined ones for the first."""
    log_p = torch.stack([flow.log_prob(held_out)[held_out.mask] for flow in flows], 1).double()
    w = torch.tensor([0.5, 0.5], dtype=torch.double)
    for _ in range(500):
        counts = torch.softmax(log_p + w.log(), 1).sum(0)
        w = torch.stack([counts[0] + visits, counts[1]]) / (counts.sum() + visits)
    return float(w[1])
