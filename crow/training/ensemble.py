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

from crow.bijections.soft_bounds import Bounds
from crow.cohort.split import validation_folds
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.flows.ensemble import FlowEnsemble
from crow.flows.gross_errors import without
from crow.flows.published import PublishedCRow
from crow.run.config import Config
from crow.seeds import SeedStream, derived_seed
from crow.training.build import Initialisation, build_flow, build_published, members_at_once
from crow.training.fit import Fitted, train
from crow.training.gross_errors import gross_errors_of_training
from crow.training.together import Member, train_together

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
    time 0, and these are the regions on the other side of the brain (`CRowFlow.initialise`).
    """
    features, context = data.x.shape[2], data.context.shape[2]
    gross, reference = gross_errors_of_training(
        lambda some: _mixed_model(config, some, bounds, changes=changes), data, bounds
    )
    data = without(data, gross)
    error_rate = (float(gross.sum()) + PRIOR_ERRORS) / (float(data.values().sum() + gross.sum()) + PRIOR_VALUES)
    parts = _validation_rows(names, config)
    count = config.model.members
    auto = config.model.initialise == "auto" and count > 1
    kind: Initialisation = "mixed_model" if config.model.initialise == "auto" else config.model.initialise
    plan: list[tuple[Initialisation, int]] = [(kind, fold) for fold in range(count)]
    if auto:
        plan = [("mixed_model", 0), ("standard", 0)]
    left_out: set[Initialisation] = set()
    starts: dict[int, CRowFlow] = {}
    own_data: dict[int, Sequences] = {}
    trained: list[Member] = []
    fits: list[Fitted] = []
    members: list[dict[str, Any]] = []
    most = members_at_once(config, data)
    while len(trained) < len(plan) and not (fits and fits[-1].interrupted):
        group: list[Member] = []
        for k, (initialisation, fold) in enumerate(plan[len(trained) :][:most], len(trained)):
            fold %= len(parts)
            if fold not in own_data:
                own_data[fold] = data if cross_fitted is None else without(cross_fitted(parts[fold]), gross)
            own = own_data[fold]
            validation, kept = own[parts[fold]], _without(own, parts[fold])
            if fold not in starts:
                starts[fold] = _mixed_model(config, kept, bounds, reference, changes)
            with seeded(config.seed, k):
                flow = build_flow(config.model, features, context, initialisation)
            flow.start_at(starts[fold])
            group.append(Member(flow, kept, validation, derived_seed(config.seed, k), f"member-{k + 1}"))
        trained += group
        fits += train_together(group, config.training, folder, resume, progress)
        for k, each in enumerate(group, len(members)):
            initialisation, fit = plan[k][0], fits[k]
            member = {
                "initialisation": initialisation, "included": True, "epoch": fit.epoch,
                "validation": fit.validation_loss, "out_of_sample": fit.out_of_sample,
                "mixed_model": _initial_loss(starts[plan[k][1] % len(parts)], each.validation, each.seed),
                "visits": each.validation.count,
            }  # fmt: skip
            members.append(member)
            echo(
                f"member {k + 1} ({initialisation}): validation loss {fit.validation_loss:.3f} at epoch {fit.epoch}, "
                f"mixed model {member['mixed_model']:.3f}"
            )
        if auto and len(plan) == 2 == len(trained):
            share = _share_of_second([each.flow for each in trained], trained[0].validation)
            echo(f"best mixture on the validation subjects: {1 - share:.0%} mixed model, {share:.0%} standard")
            others, left_out = _others(share, count)
            plan += zip(others, range(1, count), strict=False)
    begun = [k for k, fit in enumerate(fits) if len(fit.history)] or [0]
    for k, member in enumerate(members):
        member["included"] = k in begun and member["initialisation"] not in left_out
    history = pd.concat([fit.history.assign(member=k + 1) for k, fit in enumerate(fits)])
    ensemble = [each.flow for each, member in zip(trained, members, strict=True) if member["included"]]
    ours, mixed = (_mean(members, name) for name in ("out_of_sample", "mixed_model"))
    if config.model.initialise != "standard" and not ours < mixed:
        ours, ensemble = mixed, [_mixed_model(config, data, bounds, reference, changes)]
        for k, member in enumerate(members):
            member["included"] = k == 0
        members[0] |= {"initialisation": "mixed_model", "epoch": 0}
    whole = FlowEnsemble(ensemble, error_rate=error_rate).eval()
    return TrainedEnsemble(whole, history, members, fits[-1].interrupted, ours, mixed, gross)


def _mean(members: list[dict[str, Any]], name: str) -> float:
    """Per visit, over the validation subjects of all included members."""
    kept = [member for member in members if member["included"]]
    return float(sum(member[name] * member["visits"] for member in kept) / sum(member["visits"] for member in kept))


def _mixed_model(
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
def _initial_loss(flow: CRowFlow, validation: Sequences, seed: int) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # as before every validation epoch: scores with levels get the same noise
        return float(flow.initial_loss(validation))


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
