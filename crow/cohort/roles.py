"""Which columns are covariates, which are regions, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from crow.cohort import catalogue, names
from crow.cohort.columns import Columns
from crow.cohort.facts import Facts
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.options import NO_SITE, ReadOptions, listed, one_column, some_columns
from crow.cohort.parameters import MAX_LEVELS
from crow.cohort.role_detector import EMPTY, FUTURE, SAME, UNREAD, RoleDetector, Roles, kind_of
from crow.cohort.timeline import Timeline
from crow.cohort.times import AGES_PER_YEAR, years_between
from crow.errors import CohortError

LOOK_AGAIN = (
    "measured at one visit of a subject only", "paths and notes by its name", "a row number", "times and ages",
    "an identity: each level belongs to one subject or row", "a number of visits, instances or repeats",
)  # fmt: skip
"""Reasons that a region may have by mistake."""


def find_roles(
    columns: Columns,
    layout: Layout,
    timeline: Timeline,
    options: ReadOptions,
    repeated: set[str],
    findings: Findings,
    scan: str | None = None,
    group: str | None = None,
) -> Roles:
    """Sort the columns into roles.

    ``repeated`` are the measures of a wide table, ``scan`` the column of scans, ``group`` the one of families. Columns
    that flags name are used, or refused with a CohortError if they cannot be (text as a region, a column without
    values); the others are detected.
    """
    taken = {timeline.subject, timeline.time, timeline.session, timeline.age, scan, group} - {None}
    free = [name for name in columns.names if name not in taken]
    asked_regions = _asked(columns, "regions", options.regions, free, findings)
    asked_covariates = _asked(columns, "covariates", options.covariates, free, findings)
    asked_sites = _asked(columns, "site", None if options.site == NO_SITE else options.site, free, findings)
    _refuse_both(columns.path, "covariate", asked_covariates, asked_regions)
    _refuse_both(columns.path, "site", asked_sites, asked_regions)
    asked = {*(asked_regions or []), *(asked_covariates or []), *(asked_sites or [])}
    facts = Facts(columns, columns.cells(timeline.subject), _years(columns, timeline))
    candidates = [name for name in free if name not in asked]
    if asked_regions is not None and asked_covariates is not None:
        found = Roles(left_out=dict.fromkeys(candidates, "not named by a flag"))
    else:
        many_sites = options.site is None and scan is None and not options.one_visit
        found = RoleDetector(facts, layout, repeated, bool(scan), many_sites).detect(
            candidates, taken | asked, _ages(columns, timeline, facts)
        )
    if layout.name == "bids":
        found.covariates |= dict.fromkeys(found.regions, "numeric")
        found.regions = []
    roles = Roles(left_out=found.left_out, reasons=found.reasons)
    roles.regions = asked_regions if asked_regions is not None else found.regions
    chosen = (
        asked_covariates if asked_covariates is not None else [n for n in found.covariates if n not in roles.regions]
    )
    chosen = [*chosen, *(asked_sites or [])]
    roles.covariates = {name: kind_of(facts, name, options) for name in free if name in set(chosen)}
    roles.covariates |= dict.fromkeys(asked_sites or [], "categorical")
    if options.site is None:
        labels = [name for name, kind in roles.covariates.items() if kind == "categorical"]
        roles.sites = [name for name in labels if names.matches(names.SITE, name)]
    else:
        roles.sites = asked_sites or []
    for name in asked:
        roles.reasons[name] = "named by a flag"
    _leave_all(roles, "not among the regions asked for", found.regions if asked_regions is not None else ())
    _leave_all(roles, "not among the covariates asked for", found.covariates if asked_covariates is not None else ())
    _report(roles, facts, findings)
    if not roles.regions and scan is None:
        raise CohortError(
            f"{columns.path}: no column is a repeated measure in numbers, so there is nothing to model. "
            "Name the measures with --regions, for instance --regions Hippocampus,Ventricles, or a column with the "
            "paths of scans with --scan."
        )
    return roles


def never_changes(columns: Columns, name: str, who: pd.Series) -> bool:
    """Whether a covariate is constant within a subject, such as sex; a state may change though it did not yet."""
    facts = Facts(columns, who)
    state = names.matches(names.DIAGNOSIS, name) or names.matches(names.CLINICAL, name)
    current = state and not names.normal(name).endswith("_bl")
    of_subject = names.matches(names.COVARIATE, name) or not columns.is_number(name)
    if names.matches(names.CONSTANT, name):
        return facts.mostly_constant(name)
    return not current and facts.constant(name) and (of_subject or not facts.once(name))


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
        findings.add(catalogue.SIZE_COLUMNS, count=len(sizes), names=listed(sizes, 3))
    for name in chosen:
        if columns.is_empty(name):
            raise CohortError(f"{columns.path}, column {name}: has no value at all; remove it from --{flag}.")
        if columns.filled(name).nunique() < 2:
            raise CohortError(
                f"{columns.path}, column {name}: has the same value in every row; remove it from --{flag}."
            )
        if flag == "regions" and not columns.is_number(name):
            text = columns.numbers(name).text
            raise CohortError(
                f"{columns.at(columns.lines[text.index[0]])}, column {name}: found {text.iloc[0]!r}, "
                "but a region holds numbers; remove it from --regions, or name it with --covariates."
            )
    return chosen


def _refuse_both(path: str, role: str, chosen: list[str] | None, regions: list[str] | None) -> None:
    if both := sorted(set(chosen or ()) & set(regions or ())):
        raise CohortError(f"{path}: {listed(both)} cannot be {role} and region at once; remove it from one flag.")


def _years(columns: Columns, timeline: Timeline) -> pd.Series:
    own = columns.times(timeline.time, timeline.kind, timeline.date_order, timeline.visit_codes, timeline.age_unit)
    return years_between(pd.Series(own.min(), own.index), own, timeline.kind)


def _ages(columns: Columns, timeline: Timeline, facts: Facts) -> pd.Series | None:
    """The age at every row, in years; None if there is no age."""
    if timeline.age is None or facts.years is None:
        return None
    ages = columns.numbers(timeline.age).values / AGES_PER_YEAR[timeline.age_unit]
    if not timeline.age_is_baseline:
        return ages
    return ages + facts.years - facts.years.groupby(facts.who).transform("min")


def _leave_all(roles: Roles, reason: str, left: Iterable[str]) -> None:
    for name in left:
        if name not in roles.regions and name not in roles.covariates:
            roles.left_out[name] = reason


def _report(roles: Roles, facts: Facts, findings: Findings) -> None:
    """A warning for what knows the future or looks like a region, one line per reason for the others."""
    by_reason: dict[tuple[str, bool], list[str]] = {}
    for name, reason in roles.left_out.items():
        if reason.startswith(FUTURE):
            findings.add(catalogue.FUTURE_COLUMN, name, name=name, reason=reason.removeprefix(FUTURE))
        elif names.matches(names.SITE, name) and "different levels" in reason:
            findings.add(catalogue.MANY_SITES, name, levels=facts.columns.words(name).nunique(), most=MAX_LEVELS)
        else:
            alike = reason in LOOK_AGAIN or reason.endswith("are text")
            region = reason.startswith(UNREAD) or (alike and facts.is_region_like(name))
            by_reason.setdefault((reason, region), []).append(name)
    for (reason, region), left in by_reason.items():
        kind = (
            catalogue.REGION_LEFT_OUT
            if region
            else catalogue.EMPTY_COLUMN
            if reason in (EMPTY, SAME)
            else catalogue.LEFT_OUT
        )
        findings.add(kind, left[0] if len(left) == 1 else None, reason=reason, names=listed(left))
