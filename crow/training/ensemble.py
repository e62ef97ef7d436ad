"""The fitted model of a cohort: several flows trained on different subjects, pooled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from crow.bijections.soft_bounds import Bounds
from crow.cohort.split import validation_folds
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.flows.ensemble import FlowEnsemble
from crow.flows.gross_errors import without
from crow.flows.published import PublishedCRow
from crow.run.config import Config
from crow.seeds import derived_seed
from crow.training.build import Initialisation, build_published, members_at_once
from crow.training.fit import Fitted, train
from crow.training.gross_errors import gross_errors_of_training
from crow.training.members import (
    EnsembleData,
    Planned,
    TrainedMember,
    mixed_model,
    seeded,
    train_members,
    without_rows,
)

PRIOR_ERRORS, PRIOR_VALUES = 0.1, 1000  # what is known of the rate of gross errors before a cohort is seen

Echo = Callable[[str], None]


@dataclass(frozen=True)
class TrainedEnsemble:
    """The ensemble, its history (one row per member and epoch), and the result of each member.

    ``out_of_sample`` is the negative log-likelihood per visit of subjects that the members were not fitted to, and
    ``mixed_model`` that of mixed models that were not fitted to them either. ``gross_errors [batch, time, region]`` are
    values of the training visits that count as missing.
    """

    flow: FlowEnsemble
    history: pd.DataFrame
    members: list[dict[str, Any]]
    interrupted: bool
    out_of_sample: float
    mixed_model: float
    gross_errors: Tensor


def fit_ensemble(
    config: Config,
    data: Sequences,
    names: Sequence[str],
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    echo: Echo = lambda line: None,
    bounds: Bounds | None = None,
    cross_fitted: Callable[[Tensor], Sequences] | None = None,
    changes: Sequence[int] | None = None,
    jobs: int = 1,
) -> TrainedEnsemble:
    """Train the members of a resolved ``config``, each with its own validation subjects, and combine them.

    A member's validation subjects touch nothing of it but its last epoch, and how bounds are softened and gross errors
    found: the mixed model that it starts at is fitted without them. With ``initialise: auto`` the first two members are
    one of each kind on the same split, and the mixture of the two that maximises that split's likelihood decides how
    many of the ensemble's members start in which way; a kind whose share rounds to none is left out. If the members do
    not improve on their mixed models out of sample (``Fitted.out_of_sample``), the ensemble is the mixed model of all
    subjects.

    ``cross_fitted`` gives ``data`` as it is if nothing is learned from some of its rows: members whose validation
    subjects these are use it. ``changes``: x are changes since a subject's first visit, which is at
    time 0, and these are the regions on the other side of the brain (`CRowFlow.initialise`). ``jobs`` processes, or the
    workers of a cluster, train groups of members; the groups and the result do not depend on their number.
    """
    gross, reference = gross_errors_of_training(
        lambda some: mixed_model(config, some, bounds, changes=changes), data, bounds
    )
    data = without(data, gross)
    error_rate = (float(gross.sum()) + PRIOR_ERRORS) / (float(data.values().sum() + gross.sum()) + PRIOR_VALUES)
    common = EnsembleData(
        config, data, gross, _validation_rows(names, config), reference, bounds, changes, cross_fitted
    )
    count, folds = config.model.members, len(common.parts)
    auto = config.model.initialise == "auto" and count > 1
    kind: Initialisation = "mixed_model" if config.model.initialise == "auto" else config.model.initialise
    plan = [Planned(number, kind, number % folds) for number in range(count)]
    if auto:
        plan = [Planned(0, "mixed_model", 0), Planned(1, "standard", 0)]
    train_some = partial(
        train_members, common, size=members_at_once(config, data), folder=folder, resume=resume, progress=progress,
        jobs=jobs, echo=echo,
    )  # fmt: skip
    trained = train_some(plan)
    left_out: set[Initialisation] = set()
    if auto and len(trained) == len(plan):
        share = _share_of_second([each.flow for each in trained], common.of_fold(0)[1])
        echo(f"best mixture on the validation subjects: {1 - share:.0%} mixed model, {share:.0%} standard")
        others, left_out = _others(share, count)
        if not _interrupted(trained):
            plan = [Planned(number, each, (number - 1) % folds) for number, each in enumerate(others, 2)]
            trained += train_some(plan)
    begun = [each.plan.number for each in trained if len(each.fit.history)] or [0]
    members: list[dict[str, Any]] = [
        {
            "initialisation": each.plan.initialisation, "epoch": each.fit.epoch,
            "included": each.plan.number in begun and each.plan.initialisation not in left_out,
            "validation": each.fit.validation_loss, "out_of_sample": each.fit.out_of_sample,
            "mixed_model": each.mixed_model, "visits": data[common.parts[each.plan.fold]].count,
        }
        for each in trained
    ]  # fmt: skip
    history = pd.concat([each.fit.history.assign(member=each.plan.number + 1) for each in trained])
    ensemble = [each.flow for each, member in zip(trained, members, strict=True) if member["included"]]
    ours, mixed = (_mean(members, name) for name in ("out_of_sample", "mixed_model"))
    if config.model.initialise != "standard" and not ours < mixed:
        ours, ensemble = mixed, [common.mixed_model(data)]
        for k, member in enumerate(members):
            member["included"] = k == 0
        members[0] |= {"initialisation": "mixed_model", "epoch": 0}
    whole = FlowEnsemble(ensemble, error_rate=error_rate).eval()
    return TrainedEnsemble(whole, history, members, _interrupted(trained), ours, mixed, gross)


def _interrupted(trained: list[TrainedMember]) -> bool:
    return any(each.fit.interrupted for each in trained)


def _mean(members: list[dict[str, Any]], name: str) -> float:
    """Per visit, over the validation subjects of all included members."""
    kept = [member for member in members if member["included"]]
    return float(sum(member[name] * member["visits"] for member in kept) / sum(member["visits"] for member in kept))


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
    kept, seed = without_rows(data, validation), derived_seed(config.seed, 0)
    return flow, train(flow, kept, data[validation], config.training, seed, folder, resume, progress, "published")


def _validation_rows(names: Sequence[str], config: Config) -> list[Tensor]:
    fraction = config.training.validation_fraction
    assert fraction is not None
    return [torch.from_numpy(part) for part in validation_folds(names, fraction, config.seed)]


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
