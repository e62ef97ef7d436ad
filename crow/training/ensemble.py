"""The fitted model of a cohort: several flows trained on different subjects, pooled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from crow.cohort.split import validation_folds
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.flows.ensemble import FlowEnsemble
from crow.flows.published import PublishedCRow
from crow.run.config import Config
from crow.seeds import SeedStream, derived_seed
from crow.training.build import Initialisation, build_flow, build_published
from crow.training.fit import Fitted, train

Echo = Callable[[str], None]


@dataclass(frozen=True)
class TrainedEnsemble:
    """The ensemble, its history (one row per member and epoch), and the result of each member."""

    flow: FlowEnsemble
    history: pd.DataFrame
    members: list[dict[str, Any]]
    interrupted: bool


def fit_ensemble(
    config: Config,
    data: Sequences,
    names: Sequence[str],
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    echo: Echo = lambda line: None,
) -> TrainedEnsemble:
    """Train the members of a resolved ``config``, each with another part of the subjects held out, and pool them.

    The mixed model is fitted once, to all of ``data``; a held-out part only decides how far its member moves away from
    it, and since it was fitted to that part too, the comparison is in its favour. With ``start: auto`` the first two
    members are one of each start on the same split, and the mixture of the two that maximises that split's likelihood
    decides how many of the ensemble's members start in which way; a start whose share rounds to none is left out.
    """
    features, context = data.x.shape[2], data.context.shape[2]
    mixed = build_flow(config.model, features, context, "mixed_model")
    mixed.initialise(data)
    parts = _validation_rows(names, config)
    count = config.model.members
    auto = config.model.initialise == "auto" and count > 1
    only: Initialisation = "mixed_model" if config.model.initialise == "auto" else config.model.initialise
    plan: list[tuple[Initialisation, int]] = [("mixed_model", 0), ("standard", 0)] if auto else [(only, f) for f in range(count)]
    left_out: set[Initialisation] = set()
    flows: list[CRowFlow] = []
    fits: list[Fitted] = []
    of_mixed: list[float] = []
    while len(flows) < len(plan) and not (fits and fits[-1].interrupted):
        k = len(flows)
        initialisation, fold = plan[k]
        validation = parts[fold % len(parts)]
        with seeded(config.seed, k):
            flow = build_flow(config.model, features, context, initialisation)
        flow.mixed.load_state_dict(mixed.mixed.state_dict())
        flow.time_scale.copy_(mixed.time_scale)
        kept, seed = _without(data, validation), derived_seed(config.seed, k)
        fit = train(flow, kept, data[validation], config.training, seed, folder, resume, progress, f"member-{k + 1}")
        flows.append(flow)
        fits.append(fit)
        of_mixed.append(_initial_loss(mixed, data[validation]))
        echo(
            f"member {k + 1} ({initialisation}): held-out loss {fit.validation_loss:.3f} at epoch {fit.epoch}, "
            f"mixed model {of_mixed[k]:.3f}"
        )
        if auto and len(flows) == 2:
            share = _share_of_second(flows, data[validation])
            echo(f"best mixture on the held-out subjects: {1 - share:.0%} mixed, {share:.0%} standard start")
            others, left_out = _others(share, count)
            plan += zip(others, range(1, count), strict=False)
    initialisations = [initialisation for initialisation, _ in plan[: len(flows)]]
    begun = [k for k, fit in enumerate(fits) if len(fit.history)] or [0]
    used = [k for k in begun if initialisations[k] not in left_out]
    members = [
        {
            "initialisation": initialisations[k],
            "included": k in used,
            "epoch": fit.epoch,
            "validation": fit.validation_loss,
            "mixed_model": of_mixed[k],
        }
        for k, fit in enumerate(fits)
    ]
    history = pd.concat([fit.history.assign(member=k + 1) for k, fit in enumerate(fits)])
    return TrainedEnsemble(FlowEnsemble([flows[k] for k in used]).eval(), history, members, fits[-1].interrupted)


def fit_published(
    config: Config,
    data: Sequences,
    names: Sequence[str],
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> tuple[PublishedCRow, Fitted]:
    """Train the published flow on a resolved ``config``; the objective on held-out subjects decides when to stop."""
    validation = _validation_rows(names, config)[0]
    with seeded(config.seed, 0):
        flow = build_published(config.model, data.x.shape[2], data.context.shape[2])
    kept, seed = _without(data, validation), derived_seed(config.seed, 0)
    return flow, train(flow, kept, data[validation], config.training, seed, folder, resume, progress, "published")


@contextmanager
def seeded(seed: int, member: int) -> Iterator[None]:
    """Initial weights of a member come from the run's seed, and leave torch's generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(seed, member, SeedStream.INITIAL_WEIGHTS))
        yield


def _validation_rows(names: Sequence[str], config: Config) -> list[Tensor]:
    fraction = config.training.validation_fraction
    assert fraction is not None
    return [torch.from_numpy(part) for part in validation_folds(names, fraction, config.seed)]


def _without(data: Sequences, validation: Tensor) -> Sequences:
    return data[~torch.isin(torch.arange(len(data)), validation)]


@torch.no_grad()
def _initial_loss(flow: CRowFlow, validation: Sequences) -> float:
    return -float(flow.initial_log_prob(validation).sum() / validation.mask.sum())


def _others(share: float, count: int) -> tuple[list[Initialisation], set[Initialisation]]:
    """Starts of the members after the first two, and the initialisations that are left out."""
    standard = round(share * count)
    if standard == 0:
        return ["mixed_model"] * (count - 2), {"standard"}
    if standard == count:
        return ["standard"] * (count - 2), {"mixed_model"}
    return ["standard" if k < standard - 1 else "mixed_model" for k in range(count - 2)], set()


@torch.no_grad()
def _share_of_second(flows: list[CRowFlow], validation: Sequences, visits: float = 5.0) -> float:
    """Its weight in the mixture of two that maximises the likelihood, with ``visits`` imagined ones for the first."""
    log_p = torch.stack([flow.log_prob(validation)[validation.mask] for flow in flows], 1).double()
    w = torch.tensor([0.5, 0.5], dtype=torch.double)
    for _ in range(500):
        counts = torch.softmax(log_p + w.log(), 1).sum(0)
        w = torch.stack([counts[0] + visits, counts[1]]) / (counts.sum() + visits)
    return float(w[1])
