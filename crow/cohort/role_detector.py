"""Sorting of columns into covariates, regions and columns without a role, by their values and names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from crow.cohort import names
from crow.cohort.facts import Facts
from crow.cohort.future_columns import future_columns
from crow.cohort.layout import Layout
from crow.cohort.options import ReadOptions
from crow.cohort.parameters import MAX_LEVELS

Kind = Literal["numeric", "categorical"]
EMPTY, SAME = "no value", "the same in every row"
UNREAD = "its cells are no numbers"
FUTURE = "it knows the future: "


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


class RoleDetector:
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
            self._leave(name, FUTURE + reason)
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
                self.roles.covariates[name] = kind_of(self.facts, name)
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
        elif not number and self._is_unread_region(name):
            self._leave(name, f"{UNREAD} ({columns.numbers(name).text.iloc[0]})")
        elif facts.is_identity(name):
            self._leave(name, "an identity: each level belongs to one subject or row")
        elif number and names.matches(names.IDENTITY, name) and facts.whole(name) and facts.constant(name):
            self._leave(name, "a number that only tells subjects or groups apart")
        elif names.matches(names.NOTES, name) and not (number and facts.is_region_like(name)):
            self._leave(name, "paths and notes by its name")
        elif not number:
            self._sort_text(name)
        elif facts.grows_by_one(name):
            self._leave(name, "an age: it grows by one per year")
        elif facts.runs_with_time(name):
            self._leave(name, "a time: it grows as fast as time passes")
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
        if columns.is_dates(name) or (names.is_date(name) and (not columns.is_number(name) or facts.whole(name))):
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

    def _is_unread_region(self, name: str) -> bool:
        """Whether a column that changes within subjects has a region's name and digits, but no numbers."""
        text = self.columns.numbers(name).text
        return (
            names.matches(names.ANATOMY, name)
            and not self.facts.constant(name)
            and 2 * len(text) > self.columns.numbers(name).filled
            and bool(text.str.contains(r"\d", regex=True).mean() > 0.5)
        )

    def _is_measure(self, name: str) -> bool:
        """Whether the values of a column with a covariate's name are those of a region: ``Left-Hand-Area``."""
        region = names.matches(names.ANATOMY, name) and not names.matches(names.HEAD_SIZE, name)
        return region and self.columns.is_number(name) and not self.facts.constant(name)

    def _add_covariate(self, name: str, reason: str) -> None:
        kind = kind_of(self.facts, name)
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


def kind_of(facts: Facts, name: str, options: ReadOptions | None = None) -> Kind:
    """Whether a covariate is numeric or categorical, by the options, its values and its name."""
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
