"""The description, settings and metrics of a run without paths, names, and values of few subjects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crow.models.base import REPRESENTATION, TEST
from crow.representation.attributes import Attribute, AttributeTable
from crow.representation.classes import Classes
from crow.representation.covariate import Covariate
from crow.representation.covariate_support import Bins, CovariateSupport
from crow.representation.masks import around_masks
from crow.representation.regions import RegionTable
from crow.representation.site_effects import SiteEffects
from crow.run.folder import Run
from crow.sharing.disclosure import ROUNDED, TOP_AGE, Disclosure

WITHHELD = "withheld"  # the name of a rare level: its channel stays, and no value selects it
DIGITS_OF_SHARES = 3
OF_VALUES = ("gross_errors",)  # metrics that count single values
Json = Any


def shared_run(run: Run, disclosure: Disclosure) -> Run:
    """The run with what may leave: see `docs/safety.md`. The weights of its flow are the same."""
    description: dict[str, Any] = {**run.description, "cohort": {}, TEST: None}
    for place in ("representation", "inputs.table", "source.table"):
        _change(description, place, lambda table: _table(RegionTable.model_validate(table), disclosure).model_dump())
    for place in ("inputs", "source"):
        _change(description, place, _greys)
    _change(description, "attributes", lambda found: _attributes(AttributeTable.model_validate(found), disclosure))
    _change(description, "classes", lambda found: _classes(Classes.model_validate(found), disclosure))
    config = run.config.model_copy(update={"cohort": {}})
    metrics = {name: value for name, value in run.metrics.items() if name not in OF_VALUES}
    log = run.log.select_dtypes("number")
    return replace(
        run, config=config, description=without_paths(description), metrics=without_paths(metrics), log=log,
        findings=[], tensors=_tensors(run, disclosure),
    )  # fmt: skip


def _tensors(run: Run, disclosure: Disclosure) -> dict[str, Tensor]:
    """The tensors; of a segmentation, how often masks hold a voxel is 0 if those of too few subjects do."""
    if run.description["kind"] != "segment":
        return run.tensors
    prior, region = (run.tensors[f"{REPRESENTATION}{name}"] for name in ("prior", "region"))
    least = disclosure.min_count / int(run.metrics.get("subjects", len(disclosure.cohort.subjects)))
    kept = torch.where(prior < least, 0.0, prior)
    around = torch.from_numpy(around_masks(kept.numpy() > 0))
    return {**run.tensors, f"{REPRESENTATION}prior": kept, f"{REPRESENTATION}region": region & around}


def _greys(inputs: dict[str, Any]) -> dict[str, Any]:
    """The range of grey levels, whose ends are those of single scans, with three digits."""
    return inputs | {end: float(f"{inputs[end]:.3g}") for end in ("low", "high") if end in inputs}


def without_paths(value: Json) -> Json:
    """JSON values with the last name of every absolute path in its place."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items() if key != "cohort_path"}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and any(kind(value).is_absolute() for kind in (PurePosixPath, PureWindowsPath)):
        return PurePosixPath(value.replace("\\", "/")).name
    return value


def _change(description: dict[str, Any], place: str, change: Callable[[Any], Any]) -> None:
    """Replace what is at a place such as ``inputs.table``, if there is something."""
    first, _, rest = place.partition(".")
    found = description.get(first)
    if rest and isinstance(found, dict):
        description[first] = found = dict(found)
        _change(found, rest, change)
    elif not rest and isinstance(found, dict):
        description[first] = change(found)


def _table(table: RegionTable, disclosure: Disclosure) -> RegionTable:
    medians = [disclosure.apart(value, name) for value, name in zip(table.median, table.regions, strict=False)]
    return table.model_copy(update={
        "covariates": [_covariate(one, disclosure) for one in table.covariates],
        "median": medians,
        "follow_up": disclosure.apart(table.follow_up, "time", 2),
        "drift": table.drift and table.drift.model_copy(
            update={"longest": disclosure.apart(table.drift.longest, "time", 2)}
        ),
        "support": None if table.support is None else _support(table.support, disclosure),
        "sites": None if table.sites is None else _sites(table.sites, disclosure),
    })  # fmt: skip


def _covariate(one: Covariate, disclosure: Disclosure) -> Covariate:
    levels, shares = _levels(one.name, one.levels, one.shares, disclosure)
    return one.model_copy(update={"levels": levels, "shares": shares})


def _attributes(table: AttributeTable, disclosure: Disclosure) -> dict[str, Any]:
    def shown(one: Attribute) -> Attribute:
        levels, shares = _levels(one.name, one.levels, one.shares, disclosure)
        ends = {end: disclosure.top_coded(getattr(one, end), one.name) for end in ("low", "high")}
        return one.model_copy(update={"levels": levels, "shares": shares, **ends})

    return AttributeTable(attributes=[shown(one) for one in table.attributes]).model_dump()


def _classes(classes: Classes, disclosure: Disclosure) -> dict[str, Any]:
    levels, shares = _levels(classes.label, classes.levels, classes.shares, disclosure)
    return classes.model_copy(update={"levels": levels, "shares": shares}).model_dump()


def _levels(name: str, levels: list[str], shares: list[float], disclosure: Disclosure) -> tuple[list[str], list[float]]:
    """Levels with rare ones renamed, and shares without theirs, rounded so that no count can be read from them."""
    shown = [disclosure.is_shown(name, level) for level in levels]
    kept = [level for level, show in zip(levels, shown, strict=True) if show]
    renamed, number = list[str](), 0
    for level, show in zip(levels, shown, strict=True):
        while not show and (number == 0 or f"{WITHHELD} {number}" in [*kept, *renamed]):
            number += 1
        renamed.append(level if show else f"{WITHHELD} {number}")
    if not shares or not any(shown):
        return renamed, shares and [1 / len(shares)] * len(shares)
    known = np.where(shown, shares, 0.0)
    rounded = np.round(known / known.sum(), DIGITS_OF_SHARES)
    rounded[rounded.argmax()] += 1 - rounded.sum()
    return renamed, [float(share) for share in rounded]


def _support(support: CovariateSupport, disclosure: Disclosure) -> CovariateSupport:
    """Counted again with safe edges, and with the smallest count that may be shown."""
    bins = {name: _bins(name, one, disclosure) for name, one in support.bins.items() if name in disclosure.visits}
    bins = {name: one for name, one in bins.items() if len(one) > 1}
    found = CovariateSupport.counted(disclosure.cohort, bins, disclosure.min_count)
    pairs = {
        first: {second: [[_rounded(n) for n in row] for row in counts] for second, counts in others.items()}
        for first, others in found.pairs.items()
    }
    return found.model_copy(update={"pairs": pairs, "subjects": _rounded(found.subjects)})


def _rounded(count: int) -> int:
    return count // ROUNDED * ROUNDED


def _bins(name: str, bins: Bins, disclosure: Disclosure) -> Bins:
    if bins.levels:
        return Bins(levels=[level for level in bins.levels if disclosure.is_shown(name, level)])
    edges = bins.edges
    if disclosure.is_age(name):
        edges = [float(round(edge)) for edge in edges if edge <= TOP_AGE]
    return Bins(edges=sorted({disclosure.apart(edge, name) for edge in edges}))


def _sites(sites: SiteEffects, disclosure: Disclosure) -> SiteEffects:
    """Without the levels of few subjects, which are then unseen sites; one without effects stays if none is left."""
    factors, rows, first = [], list[int](), 0
    for factor in sites.factors:
        kept = [k for k, count in enumerate(factor.subjects) if count >= disclosure.min_count]
        chosen = kept or [0]
        factors.append(factor.model_copy(update={
            "levels": [factor.levels[k] for k in kept] or [WITHHELD],
            "subjects": [_rounded(factor.subjects[k]) for k in kept] or [0],
        }))  # fmt: skip
        rows += [first + k if kept else -1 for k in chosen]
        first += len(factor.levels)
    update: dict[str, Any] = {"factors": factors}
    for name in ("level", "level_sd", "log_scale", "log_scale_sd"):
        effects: list[list[float]] = getattr(sites, name)
        update[name] = [effects[k] if k >= 0 else [0.0] * len(effects[0]) for k in rows]
    return sites.model_copy(update=update)
