"""Columns that could be the time of a visit, each read in years."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from crow.cohort import names
from crow.cohort.age_units import age_unit
from crow.cohort.catalogue import TIME_UNIT, VISIT_CODES
from crow.cohort.columns import Columns
from crow.cohort.date_orders import order_by_others
from crow.cohort.dates import DateOrder
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.options import ReadOptions
from crow.cohort.parameters import MIN_SHARE
from crow.cohort.times import DAYS_PER_YEAR, PER_YEAR, AgeUnit, TimeKind
from crow.cohort.visit_codes import VisitCodes, is_visit_codes, whose_codes
from crow.errors import CohortError

UNITLESS = re.compile(r"t|times?|follow_?up|(test|visit|scan|study|exam|examination|session)_time")
UNITS: dict[TimeKind, re.Pattern[str]] = {
    "hours": names.HOURS, "days": names.DAYS, "weeks": names.WEEKS, "months": names.MONTHS, "years": names.YEARS,
}  # fmt: skip
FINE: dict[TimeKind, int] = {
    "date": 0, "hours": 1, "days": 1, "weeks": 2, "years": 2, "months": 2, "age": 3, "visit": 5,
}  # fmt: skip
WHOLE: dict[TimeKind, int] = {"months": 4, "years": 6, "age": 7}
CALENDAR = (1900, 2100)
EPOCH = pd.Timestamp(2000, 1, 1)


@dataclass(frozen=True)
class Clock:
    """A column that could be the time: its kind, its values in years, and its rank (the finest first).

    Of dates, ``order`` is that of day and month. ``order_reason`` is empty if the dates tell it, and None for a guess.
    """

    name: str
    kind: TimeKind
    years: pd.Series
    rank: int
    codes: VisitCodes = "plain"
    age_unit: AgeUnit = "years"
    order: DateOrder | None = None
    order_reason: str | None = None


def find_clocks(
    columns: Columns, among: Iterable[str], who: pd.Series, layout: Layout, options: ReadOptions, findings: Findings
) -> list[Clock]:
    """Every column among these whose name and values are those of a time, in the table's order.

    Ages come last to be read: how fast they grow tells their unit.
    """
    among = list(among)
    reader = _Reader(columns, who, layout, options)
    clocks = [clock for name in among if not names.is_age(name) and (clock := reader.by_name(name, findings))]
    reader.known = clocks
    clocks += [clock for name in among if names.is_age(name) and (clock := reader.by_name(name, findings))]
    return sorted(clocks, key=lambda clock: among.index(clock.name))


def given_clock(
    columns: Columns, name: str, who: pd.Series, layout: Layout, options: ReadOptions, findings: Findings
) -> Clock:
    """The column that the user names as the time; raises CohortError if it holds no time."""
    reader = _Reader(columns, who, layout, options)
    if options.time_kind == "age" or names.is_age(name):
        others = [other for other in columns.names if other != name and not names.is_age(other)]
        reader.known = [clock for other in others if (clock := reader.by_name(other, Findings()))]
    kind = options.time_kind or reader.kind(name, findings)
    if kind is None:
        raise CohortError(
            f"{columns.path}, column {name}: cells such as {columns.cells(name).iloc[0]!r} are no dates, visit codes "
            "or numbers with a unit, so it cannot be the time. Name another with --time, or what it holds with "
            "--time-kind."
        )
    return reader.clock(name, kind, findings)


def varies(values: pd.Series, who: pd.Series) -> bool:
    """Whether most subjects with several values have different ones."""
    grouped = values.groupby(who)
    several = grouped.count() > 1
    return bool(several.any()) and (grouped.nunique()[several] > 1).mean() > 0.5


def counts_down(clock: Clock, others: list[Clock], who: pd.Series) -> bool:
    """Whether a column runs against the others in nearly all subjects, as the years to an event do."""
    against = []
    for other in others:
        if other is not clock and other.kind in ("date", "age"):
            both = (clock.years.groupby(who).diff() * other.years.groupby(who).diff()).dropna()
            against.append(float((both[both != 0] < 0).mean()))
    return clock.kind not in ("date", "age", "visit") and bool(against) and min(against) >= MIN_SHARE


class _Reader:
    """Reads columns as clocks; ``known`` are the clocks that ages can be compared with."""

    def __init__(self, columns: Columns, who: pd.Series, layout: Layout, options: ReadOptions) -> None:
        self.columns, self.who, self.layout, self.options = columns, who, layout, options
        self.known: list[Clock] = []

    def by_name(self, name: str, findings: Findings) -> Clock | None:
        """A column as a clock if its name is one of a time, None if it is not, or if its values are none."""
        columns = self.columns
        told = name in (self.layout.session, *self.layout.times)
        known = told or names.is_age(name) or names.is_date(name)
        known |= bool(UNITLESS.fullmatch(names.normal(name)))
        known |= names.is_time(name) or names.matches(names.SESSION, name)
        covariate = names.matches(names.COVARIATE, name) and not (told or names.is_age(name))
        if not known or covariate or columns.is_empty(name):
            return None
        trial = Findings()
        kind = self.kind(name, trial)
        if kind is None:
            return None
        given = self.options.time_kind
        kind = given if given and UNITLESS.fullmatch(names.normal(name)) else kind
        clock = self.clock(name, kind, trial)
        findings.extend(trial)
        return clock

    def kind(self, name: str, findings: Findings) -> TimeKind | None:
        """What a column holds by its values, and of numbers by its name or else their size."""
        columns = self.columns
        if not columns.is_number(name):
            if columns.is_dates(name):
                return "date"
            words = columns.words(name).dropna()
            codes = self.codes(words)
            return "visit" if codes is not None and is_visit_codes(words, codes) else None
        if names.matches(names.SESSION, name):
            return "years" if self._are_years(name) else None
        if names.is_date(name):
            return "date" if columns.is_dates(name) else "years" if self._are_years(name) else None
        if names.is_age(name):
            return "age"
        if not UNITLESS.fullmatch(names.normal(name)):
            for unit, pattern in UNITS.items():
                if names.matches(pattern, name):
                    return unit
        return self._unit(name, findings)

    def _are_years(self, name: str) -> bool:
        """Whether numbers are calendar years, more than one."""
        values = self.columns.numbers(name).values.dropna()
        return bool(values.between(*CALENDAR).all()) and len(values.unique()) > 1

    def codes(self, words: pd.Series) -> VisitCodes | None:
        """Whose codes the labels are; None if that cannot be known."""
        if self.layout.visit_codes != "plain":
            return self.layout.visit_codes
        return whose_codes(words) or ("plain" if self.options.time_kind == "visit" else None)

    def clock(self, name: str, kind: TimeKind, findings: Findings) -> Clock:
        columns = self.columns
        codes = (self.codes(columns.words(name).dropna()) or "plain") if kind == "visit" else "plain"
        if codes == "abcd":
            findings.add(VISIT_CODES, name)
        unit = self.age_unit(name, findings) if kind == "age" else "years"
        order, reason = self._order(name) if kind == "date" else (None, None)
        values = columns.times(name, kind, order, codes, unit)
        years = (values - EPOCH) / pd.Timedelta(days=DAYS_PER_YEAR) if kind == "date" else values / PER_YEAR[kind]
        plain = columns.numbers(name).values.dropna() if kind in WHOLE else None
        whole = plain is not None and unit == "years" and bool((plain % 1 == 0).all())
        return Clock(name, kind, years, (WHOLE if whole else FINE)[kind], codes, unit, order, reason)

    def _order(self, name: str) -> tuple[DateOrder, str | None]:
        """The order of day, month and year, and why: "" if the dates tell it, None if it is a guess."""
        if self.options.date_order is not None:
            return self.options.date_order, ""
        order, guessed = self.columns.date_order(name)
        return order_by_others(self.columns, name, self.who, order) if guessed else (order, "")

    def labels(self) -> list[Clock]:
        """The labels of visits that tell a time, also if they are not among the columns that can be the time."""
        known = {clock.name for clock in self.known}
        sessions = [n for n in self.columns.names if names.matches(names.SESSION, n) and n not in known]
        return [clock for name in sessions if (clock := self.by_name(name, Findings()))]

    def age_unit(self, name: str, findings: Findings) -> AgeUnit:
        if self.options.age_unit is not None:
            return self.options.age_unit
        labels = {clock.name: clock.years for clock in (*self.known, *self.labels()) if clock.kind == "visit"}
        sure = {
            clock.name: clock.years
            for clock in self.known
            if clock.name not in labels and not UNITLESS.fullmatch(names.normal(clock.name))
        }
        values, units = self.columns.numbers(name).values, self.layout.age_units
        return age_unit(self.columns.path, name, values, self.who, units, sure, labels, findings)

    def _unit(self, name: str, findings: Findings) -> TimeKind:
        """The unit of numbers whose name does not tell it, from an age that moves along or else from their size."""
        columns, who = self.columns, self.who
        values = columns.numbers(name).values
        spent = values - values.groupby(who).transform("min")
        for other in columns.names:
            if other != name and names.is_age(other) and columns.is_number(other):
                age = columns.numbers(other).values
                aged = age - age.groupby(who).transform("min")
                ratio = float(spent[aged >= 1].sum() / max(aged[aged >= 1].sum(), 1e-9))
                for unit in UNITS:
                    if 0.7 < ratio / PER_YEAR[unit] < 1.4:
                        return unit
        kind: TimeKind = "years"
        first = values.groupby(who).min().median()
        if first > 15 and values.max() <= 120:
            kind = "age"
        elif spent.max() > 130:
            kind = "days" if first < 1800 else "years"
        elif (values.dropna() % 1 == 0).all() and spent[spent > 0].min() >= 3:
            kind = "months"
        what = "an age in years" if kind == "age" else f"{kind} of follow-up"
        findings.add(TIME_UNIT, name, what=what)
        return kind
