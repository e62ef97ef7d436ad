"""Which columns are covariates, which are regions, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from crow.cohort import catalogue, names
from crow.cohort.columns import Columns
from crow.cohort.facts import Facts
from crow.cohort.findings import Findings
from crow.cohort.future_columns import future_columns
from crow.cohort.layout import Layout
from crow.cohort.options import NO_SITE, ReadOptions, listed, one_column, some_columns
from crow.cohort.parameters import MAX_LEVELS
from crow.cohort.timeline import Timeline
from crow.cohort.times import AGES_PER_YEAR, years_between
from crow.errors import CohortError

Kind = Literal["numeric", "categorical"]
EMPTY, SAME = "no value", "the same in every row"
LOOK_AGAIN = (
    "measured at one visit of a subject only", "paths and notes by its name", "a row number", "times and ages",
    "an identity: each level belongs to one subject or row", "a number of visits, instances or repeats",
)  # fmt: skip
"""Reasons that a region may have by mistake."""


@dataclass
class Roles:
    """Covariates with their kind, regions, and the columns left out; ``reasons`` of all three.

    ``sites`` are the covariates that are sites or scanners.
    """

    covariates: dict[str, Kind] = field(default_factory=dict)
    regions: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    sites: list[str] = field(default_factory=list)


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
        found = _Detector(facts, layout, repeated, bool(scan), many_sites).detect(
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
    roles.covariates = {name: _kind(facts, name, options) for name in free if name in set(chosen)}
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


class _Detector:
    """Sorts columns by their values and names; a name alone never decides against the values."""

    def __init__(self, facts: Facts, layout: Layout, repeated: set[str], has_scans: bool, many_sites: bool) -> None:
        self.facts = facts
        self.columns = facts.columns
        self.layout = layout
        self.repeated = repeated
        self.has_scans = has_scans
        self.many_sites = many_sites
        self.roles = Roles()
        self.measures: list[str] = []
        self.clinical: list[str] = []

    def detect(self, candidates: list[str], taken: set[str | None], ages: pd.Series | None) -> Roles:
        usable = [name for name in candidates if self._usable(name)]
        future = future_columns(self.facts, usable, ages)
        for name, reason in future.items():
            self._leave(name, f"it knows the future: {reason}")
        rest = [name for name in usable if name not in future]
        if self.layout.regions:
            self._preset(rest, taken)
            return self.roles
        for name in rest:
            self._sort(name)
        anatomy = any(names.matches(names.ANATOMY, name) for name in self.measures)
        many = len(self.clinical) >= len(self.measures) + anatomy and not self.has_scans
        if many:
            measured = {*self.measures, *self.clinical}
            self.roles.regions = [name for name in candidates if name in measured]
        else:
            self.roles.covariates |= dict.fromkeys(self.clinical, "numeric")
            self.roles.regions = self.measures
        self.roles.reasons |= dict.fromkeys(self.roles.regions, "numbers that change within subjects")
        self.roles.reasons |= dict.fromkeys(
            () if many else self.clinical, "a clinical score by its name, beside regions"
        )
        return self.roles

    def _preset(self, usable: list[str], taken: set[str | None]) -> None:
        known = {*self.layout.covariates, *self.layout.regions}
        for name in usable:
            if name in self.layout.regions:
                self.roles.regions.append(name)
            elif name in self.layout.covariates:
                self.roles.covariates[name] = _kind(self.facts, name)
            elif names.matches(names.SITE, name):
                self._add_covariate(name, "a site or scanner by its name")
        self.roles.reasons |= dict.fromkeys(known & set(usable), f"a usual column of {self.layout.name}")
        for name in self.layout.others:
            if name not in taken and name not in self.roles.covariates:
                self.roles.left_out.setdefault(name, f"not among the usual columns of {self.layout.name}")

    def _usable(self, name: str) -> bool:
        if self.columns.is_empty(name):
            self._leave(name, EMPTY)
        elif self.columns.is_same(name):
            self._leave(name, SAME)
        else:
            return True
        return False

    def _sort(self, name: str) -> None:
        facts, columns = self.facts, self.columns
        number = columns.is_number(name)
        if reason := self._bookkeeping(name):
            self._leave(name, reason)
        elif names.matches(names.QUALITY, name) and number:
            self._cover(name, "numeric", "motion, image quality or head scaling by its name")
        elif names.matches(names.SITE, name):
            self._add_covariate(name, "a site or scanner by its name")
        elif names.matches(names.COVARIATE, name) and not self._is_measure(name):
            self._add_covariate(name, "a covariate by its name")
        elif facts.is_identity(name):
            self._leave(name, "an identity: each level belongs to one subject or row")
        elif names.matches(names.NOTES, name) and not (number and facts.is_region_like(name)):
            self._leave(name, "paths and notes by its name")
        elif not number:
            self._sort_text(name)
        elif facts.grows_by_one(name):
            self._leave(name, "an age: it grows by one per year")
        elif name not in self.repeated and facts.once(name):
            self._leave(name, "measured at one visit of a subject only")
        elif name not in self.repeated and facts.constant(name):
            self._cover(name, "numeric", "a number that is constant within subjects")
        else:
            (self.clinical if names.matches(names.CLINICAL, name) else self.measures).append(name)

    def _bookkeeping(self, name: str) -> str | None:
        """Why a column only counts or dates rows; None if it does not."""
        facts, columns = self.facts, self.columns
        if facts.is_row_number(name) or (names.ROW_NUMBER.fullmatch(names.normal(name)) and facts.is_identity(name)):
            return "a row number"
        if names.is_time(name) or names.is_age(name) or names.matches(names.SESSION, name):
            return "times and ages"
        if columns.is_dates(name) or (names.is_date(name) and not columns.is_number(name)):
            return "times and ages"
        if facts.whole(name) and (facts.is_counter(name) or names.matches(names.COUNTER, name)):
            return "a number of visits, instances or repeats"
        return None

    def _sort_text(self, name: str) -> None:
        levels = self.columns.words(name).nunique()
        if self.facts.constant(name) and levels <= MAX_LEVELS:
            self._cover(name, "categorical", "words that are constant within subjects")
            return
        text = self.columns.numbers(name).text
        read = self.columns.numbers(name)
        if self.facts.is_region_like(name):
            share = len(text) / max(read.filled, 1)
            self._leave(name, f"{share:.0%} of its cells are text")
        else:
            self._leave(name, "free text")

    def _is_measure(self, name: str) -> bool:
        """Whether the values of a column with a covariate's name are those of a region: ``Left-Hand-Area``."""
        region = names.matches(names.ANATOMY, name) and not names.matches(names.HEAD_SIZE, name)
        return region and self.columns.is_number(name) and not self.facts.constant(name)

    def _add_covariate(self, name: str, reason: str) -> None:
        kind = _kind(self.facts, name)
        levels = self.columns.words(name).nunique()
        if self.facts.is_identity(name) and kind == "categorical":
            self._leave(name, "an identity: each level belongs to one subject or row")
        elif kind == "categorical" and levels > MAX_LEVELS and not self._takes_many(name):
            self._leave(name, f"{levels} different levels; at most {MAX_LEVELS} make a covariate")
        else:
            self._cover(name, kind, reason)

    def _takes_many(self, name: str) -> bool:
        """Whether a column has random effects, which borrow from each other: any number of levels will do."""
        return self.many_sites and names.matches(names.SITE, name)

    def _cover(self, name: str, kind: Kind, reason: str) -> None:
        self.roles.covariates[name] = kind
        self.roles.reasons[name] = reason

    def _leave(self, name: str, reason: str) -> None:
        self.roles.left_out[name] = reason


def _kind(facts: Facts, name: str, options: ReadOptions | None = None) -> Kind:
    given = options.columns.get(name) if options is not None else None
    if given is not None and given.kind is not None:
        return "categorical" if given.kind == "categorical" else "numeric"
    if not facts.columns.is_number(name):
        return "categorical"
    if names.matches(names.SITE, name) and facts.whole(name):
        return "categorical"
    few = facts.few_levels(name) or (
        names.matches(names.SITE, name) and facts.columns.filled(name).nunique() <= MAX_LEVELS
    )
    return "categorical" if names.matches(names.CATEGORY, name) and few else "numeric"


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
        if reason.startswith("it knows the future: "):
            findings.add(catalogue.FUTURE_COLUMN, name, name=name, reason=reason.removeprefix("it knows the future: "))
        elif names.matches(names.SITE, name) and "different levels" in reason:
            findings.add(catalogue.MANY_SITES, name, levels=facts.columns.words(name).nunique(), most=MAX_LEVELS)
        else:
            alike = reason in LOOK_AGAIN or reason.endswith("are text")
            by_reason.setdefault((reason, alike and facts.is_region_like(name)), []).append(name)
    for (reason, region), left in by_reason.items():
        kind = (
            catalogue.REGION_LEFT_OUT
            if region
            else catalogue.EMPTY_COLUMN
            if reason in (EMPTY, SAME)
            else catalogue.LEFT_OUT
        )
        findings.add(kind, left[0] if len(left) == 1 else None, reason=reason, names=listed(left))
