"""Which columns are covariates, which are regions, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from crow.cohort import names
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.options import ReadOptions, listed, one_column, some_columns
from crow.cohort.timeline import Timeline
from crow.errors import CohortError

Kind = Literal["numeric", "categorical"]
MOST_LEVELS = 20


@dataclass
class Roles:
    """Covariates with their kind, regions, and the columns left out, by reason."""

    covariates: dict[str, Kind] = field(default_factory=dict)
    regions: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave(self, reason: str, name: str) -> None:
        self.left_out.setdefault(reason, []).append(name)


def find_roles(
    columns: Columns,
    layout: Layout,
    timeline: Timeline,
    options: ReadOptions,
    repeated: set[str],
    findings: Findings,
    scan: str | None = None,
) -> Roles:
    """Sort the columns into roles; ``repeated`` are the measures of a wide table, ``scan`` the column of scans.

    What the flags name is taken as it is, or refused with a CohortError where it cannot be (text as a region, a column
    without values); the rest is detected.
    """
    taken = {timeline.subject, timeline.time, timeline.session, timeline.age, scan} - {None}
    free = [name for name in columns.names if name not in taken]
    asked_regions = _asked(columns, "regions", options.regions, free, findings)
    asked_covariates = _asked(columns, "covariates", options.covariates, free, findings)
    _refuse_both(columns.path, asked_covariates, asked_regions)
    roles = Roles()
    who = columns.cells(timeline.subject)
    asked = {*(asked_regions or []), *(asked_covariates or [])}
    candidates = [name for name in free if name not in asked]
    found = _preset(columns, layout, candidates, taken | asked, roles) or _detect(
        columns, candidates, who, repeated, roles, bool(scan)
    )
    if layout.name == "bids":
        found.covariates |= dict.fromkeys(found.regions, "numeric")
        found.regions = []
    roles.regions = asked_regions if asked_regions is not None else found.regions
    chosen = (
        asked_covariates if asked_covariates is not None else [n for n in found.covariates if n not in roles.regions]
    )
    roles.covariates = {name: _kind(columns, name) for name in free if name in set(chosen)}
    if asked_regions is not None:
        _leave_all(roles, "not among the regions asked for", found.regions)
    if asked_covariates is not None:
        _leave_all(roles, "not among the covariates asked for", found.covariates)
    _say(roles, findings)
    if not roles.regions and scan is None:
        raise CohortError(
            f"{columns.path}: no column is a repeated measure in numbers, so there is nothing to model. "
            "Name the measures with --regions, for instance --regions Hippocampus,Ventricles, or a column with the "
            "paths of scans with --scan."
        )
    return roles


def never_changes(columns: Columns, name: str, who: pd.Series) -> bool:
    """Whether a covariate is one thing per subject, such as sex; a state may change though it did not yet."""
    state = names.matches(names.DIAGNOSIS, name) or names.matches(names.CLINICAL, name)
    current = state and not names.normal(name).endswith("_bl")
    person = names.matches(names.COVARIATE, name) or not columns.is_number(name)
    return not current and _still(columns, name, who) and (person or not _once(columns, name, who))


def _asked(
    columns: Columns, flag: str, patterns: list[str] | None, free: list[str], findings: Findings
) -> list[str] | None:
    if patterns is None:
        return None
    for pattern in patterns:
        if pattern in columns.names and pattern not in free:
            one_column(flag, pattern, free, f"{columns.path}: {pattern} has another role already")
    chosen, sizes = some_columns(flag, patterns, free, columns.path)
    if sizes:
        findings.info(
            "size-columns",
            f"{len(sizes)} _SIZE_ columns ({listed(sizes, 3)}) are volumes, not uptake, and were not taken by the "
            "pattern; name them with SIZE to have them.",
        )
    for name in chosen:
        if columns.is_empty(name):
            raise CohortError(f"{columns.path}, column {name}: has no value at all; take it out of --{flag}.")
        if columns.filled(name).nunique() < 2:
            raise CohortError(
                f"{columns.path}, column {name}: has the same value in every row; take it out of --{flag}."
            )
        if flag == "regions" and not columns.is_number(name):
            text = columns.numbers(name).text
            raise CohortError(
                f"{columns.at(columns.lines[text.index[0]])}, column {name}: found {text.iloc[0]!r}, "
                "but a region holds numbers; take it out of --regions, or name it with --covariates."
            )
    return chosen


def _refuse_both(path: str, covariates: list[str] | None, regions: list[str] | None) -> None:
    if both := sorted(set(covariates or ()) & set(regions or ())):
        raise CohortError(f"{path}: {listed(both)} cannot be covariate and region at once; take it out of one flag.")


def _preset(
    columns: Columns, layout: Layout, candidates: list[str], taken: set[str | None], roles: Roles
) -> Roles | None:
    if not layout.regions:
        return None
    usable = [
        name for name in candidates if name in {*layout.covariates, *layout.regions} and _usable(columns, name, roles)
    ]
    _leave_all(roles, f"not among the usual columns of {layout.name}", [n for n in layout.others if n not in taken])
    return Roles(
        {name: _kind(columns, name) for name in usable if name in layout.covariates},
        [name for name in usable if name in layout.regions],
    )


def _detect(
    columns: Columns, candidates: list[str], who: pd.Series, repeated: set[str], roles: Roles, has_scans: bool
) -> Roles:
    found = Roles()
    measures: list[str] = []
    clinical: list[str] = []
    for name in candidates:
        if not _usable(columns, name, roles):
            continue
        if names.is_age(name) or names.is_date(name) or _is_time(name) or columns.is_dates(name):
            roles.leave("times and ages", name)
        elif names.matches(names.COVARIATE, name):
            _add_covariate(columns, name, found, roles)
        elif names.matches(names.LEFT_OUT, name):
            roles.leave("ids, paths and notes", name)
        elif not columns.is_number(name):
            if _still(columns, name, who) and columns.words(name).nunique() <= MOST_LEVELS:
                found.covariates[name] = "categorical"
            else:
                roles.leave("free text", name)
        elif name not in repeated and _once(columns, name, who):
            roles.leave("measured at one visit of a subject only", name)
        elif name not in repeated and _still(columns, name, who):
            found.covariates[name] = "numeric"
        else:
            (clinical if names.matches(names.CLINICAL, name) else measures).append(name)
    if has_scans or len(clinical) < len(measures):
        found.covariates |= dict.fromkeys(clinical, "numeric")
        found.regions = measures
    else:
        found.regions = [name for name in candidates if name in {*measures, *clinical}]
    return found


def _usable(columns: Columns, name: str, roles: Roles) -> bool:
    if columns.is_empty(name):
        roles.leave("without any value", name)
        return False
    if columns.filled(name).nunique() < 2:
        roles.leave("the same in every row", name)
        return False
    return True


def _add_covariate(columns: Columns, name: str, found: Roles, roles: Roles) -> None:
    kind = _kind(columns, name)
    if kind == "categorical" and columns.words(name).nunique() > MOST_LEVELS:
        roles.leave(f"with more than {MOST_LEVELS} different words", name)
    else:
        found.covariates[name] = kind


def _kind(columns: Columns, name: str) -> Kind:
    if not columns.is_number(name):
        return "categorical"
    return "categorical" if names.matches(names.CATEGORY, name) and _few_whole(columns, name) else "numeric"


def _few_whole(columns: Columns, name: str) -> bool:
    values = columns.numbers(name).values.dropna()
    return bool((values % 1 == 0).all()) and values.nunique() <= MOST_LEVELS


def _is_time(name: str) -> bool:
    return any(names.matches(p, name) for p in (names.YEARS, names.MONTHS, names.DAYS, names.SESSION))


def _still(columns: Columns, name: str, who: pd.Series) -> bool:
    """Whether no subject has two different values."""
    values = columns.filled(name)
    return bool((values == values.groupby(who[values.index]).transform("first")).all())


def _once(columns: Columns, name: str, who: pd.Series) -> bool:
    values = columns.filled(name)
    several = who.duplicated(keep=False).any()
    return bool(several) and bool((values.groupby(who[values.index]).size() <= 1).all())


def _leave_all(roles: Roles, reason: str, left: Iterable[str]) -> None:
    for name in left:
        if name not in roles.regions and name not in roles.covariates:
            roles.leave(reason, name)


def _say(roles: Roles, findings: Findings) -> None:
    for reason, left in roles.left_out.items():
        say = findings.warning if reason in ("without any value", "the same in every row") else findings.info
        noun = "1 column is" if len(left) == 1 else f"{len(left)} columns are"
        say("left-out", f"{noun} left out, {reason}: {listed(left)}.", left[0] if len(left) == 1 else None)
