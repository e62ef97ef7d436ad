"""When a visit was: the time, session and age columns of a table."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from crow.cohort import catalogue, names
from crow.cohort.age_units import age_unit
from crow.cohort.clocks import Clock, counts_down, find_clocks, given_clock, varies
from crow.cohort.columns import Columns
from crow.cohort.dates import DateOrder, contradicting_orders, two_digit_years
from crow.cohort.facts import Facts
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.options import ReadOptions, listed, one_column
from crow.cohort.parameters import MAX_AGE_DISAGREEMENT, MIN_SHARE
from crow.cohort.subject import ambiguous
from crow.cohort.times import AGES_PER_YEAR, AgeUnit, TimeKind
from crow.cohort.visit_codes import VisitCodes, whose_codes
from crow.errors import CohortError

COVERS = 0.9
WRITE_AGE = "Write ages as numbers, such as 63.5."
WRITE_DATE = "Write dates as 2011-03-05."
ORDERS: dict[DateOrder, str] = {"ymd": "year/month/day", "mdy": "month/day/year", "dmy": "day/month/year"}


@dataclass(frozen=True)
class Timeline:
    """The columns that place a row in a subject's time."""

    subject: str
    time: str
    kind: TimeKind
    session: str | None
    age: str | None
    age_is_baseline: bool
    date_order: DateOrder | None
    age_unit: AgeUnit = "years"
    visit_codes: VisitCodes = "plain"


def find_timeline(columns: Columns, layout: Layout, subject: str, options: ReadOptions, findings: Findings) -> Timeline:
    """The time column and what goes with it; raises CohortError if there is none, or several equally good ones."""
    who = columns.cells(subject)
    clock = _clock(columns, layout, subject, who, options, findings)
    order = _date_order(columns, clock, findings) if clock.kind == "date" else None
    session = _session(columns, layout, who, clock, options)
    age = _age(columns, layout, who, clock, options, findings)
    unit = clock.age_unit
    if age is not None and age != clock.name:
        unit = _unit(columns, age, who, clock, layout, options, findings)
    ages = columns.numbers(age).values / AGES_PER_YEAR[unit] if age is not None else None
    baseline = ages is not None and age != clock.name and _is_baseline(ages, clock.years, who)
    if baseline:
        findings.add(catalogue.BASELINE_AGE, age)
    for name, example, what, remedy in _unread(columns, {subject, clock.name, session, age}):
        findings.add(catalogue.UNREAD_TIME, name, example=example, what=what, remedy=remedy)
    codes = clock.codes if layout.visit_codes == "plain" else layout.visit_codes
    return Timeline(subject, clock.name, clock.kind, session, age, baseline, order, unit, codes)


def tells_time(columns: Columns, among: list[str], subject: str, layout: Layout, options: ReadOptions) -> bool:
    """Whether one of the columns is a time that moves within subjects."""
    who = columns.cells(subject)
    return any(varies(clock.years, who) for clock in find_clocks(columns, among, who, layout, options, Findings()))


def _clock(
    columns: Columns, layout: Layout, subject: str, who: pd.Series, options: ReadOptions, findings: Findings
) -> Clock:
    if options.time is not None:
        name = one_column("time", options.time, columns.names, columns.path)
        return given_clock(columns, name, who, layout, options, findings)
    among = [name for name in (layout.times or layout.clocks or columns.names) if name in columns and name != subject]
    clocks = find_clocks(columns, among, who, layout, options, findings)
    moving = [clock for clock in clocks if varies(clock.years, who) or not who.duplicated().any()]
    moving = [clock for clock in moving if not counts_down(clock, moving, who)]
    if not moving and not layout.times and (dated := _dates_by_values(columns, among, who, layout, options)):
        if len(dated) > 1:
            raise ambiguous(columns.path, "time", [clock.name for clock in dated])
        findings.add(catalogue.DATE_BY_VALUES, dated[0].name)
        moving = dated
    if not moving:
        raise CohortError(f"{columns.path}: {_no_time(columns, clocks, subject)}")
    most = max(clock.years.notna().sum() for clock in moving)
    good = [clock for clock in moving if clock.years.notna().sum() >= COVERS * most]
    best = good[0] if layout.times else min(good, key=lambda clock: clock.rank)
    equal = [clock for clock in good if clock.rank == best.rank and not layout.times]
    if any(_disagreeing(best, other, who, 0.05) for other in equal[1:]):
        best = _nearly_equal(columns, equal, findings)
    for other in good:
        if other is not best:
            _compare(columns, best, other, who, findings)
    return best


def _dates_by_values(
    columns: Columns, among: list[str], who: pd.Series, layout: Layout, options: ReadOptions
) -> list[Clock]:
    """Columns of dates, whatever their names, that change within subjects."""
    others = (names.BIRTH, names.NOT_DATE, names.OUTCOME)
    dated = [
        name
        for name in among
        if not any(names.matches(pattern, name) for pattern in others)
        and not columns.is_empty(name)
        and not columns.is_number(name)
        and columns.is_dates(name)
    ]
    options = options.model_copy(update={"time_kind": None})
    clocks = [given_clock(columns, name, who, layout, options, Findings()) for name in dated]
    return [clock for clock in clocks if clock.kind == "date" and varies(clock.years, who)]


def _unread(columns: Columns, taken: set[str | None]) -> list[tuple[str, str, str, str]]:
    """Columns with the name of a date or an age whose cells are neither: an example, what they are not, the remedy."""
    found = []
    for name in columns.names:
        is_age = names.is_age(name)
        if name in taken or not (is_age or names.is_date(name)) or columns.is_number(name) or columns.is_dates(name):
            continue
        cells = columns.words(name).dropna()
        if len(cells) and cells.str.contains(r"\d", regex=True).mean() > COVERS / 2:
            what, remedy = ("age", WRITE_AGE) if is_age else ("date", WRITE_DATE)
            found.append((name, repr(cells.iloc[0]), what, remedy))
    return found


def _nearly_equal(columns: Columns, clocks: list[Clock], findings: Findings) -> Clock:
    """The clock that most visits have, of ages that nearly all differ by a year at most; else raises CohortError."""
    counts = {clock.name: int(clock.years.notna().sum()) for clock in clocks}
    best = max(clocks, key=lambda clock: counts[clock.name])
    apart = max(float((best.years - other.years).abs().quantile(MIN_SHARE, interpolation="linear")) for other in clocks)
    if not all(clock.kind == "age" for clock in clocks) or not apart <= MAX_AGE_DISAGREEMENT:
        raise ambiguous(columns.path, "time", list(counts), counts)
    others = [f"{name} ({counts[name]:,})" for name in counts if name != best.name]
    findings.add(
        catalogue.SEVERAL_TIMES, best.name, best=best.name, count=counts[best.name], others=listed(others),
        flag=next(name for name in counts if name != best.name),
    )  # fmt: skip
    return best


def _date_order(columns: Columns, clock: Clock, findings: Findings) -> DateOrder:
    name, order = clock.name, clock.order
    assert order is not None
    words = columns.words(name).fillna("")
    if clock.order_reason is None:
        findings.add(catalogue.DATE_ORDER, name, order=ORDERS[order])
    elif clock.order_reason:
        findings.add(catalogue.DATE_ORDER_FOUND, name, order=ORDERS[order], reason=clock.order_reason)
    if contradicting_orders(words):
        read = columns.times(name, "date", order)
        rows = columns.lines[(read.isna() & (words != "")).to_numpy()]
        findings.add(catalogue.MIXED_DATE_ORDER, name, rows, order=ORDERS[order])
    short = two_digit_years(words)
    if short.any():
        years = columns.times(name, "date", order)[short].dt.year
        findings.add(
            catalogue.TWO_DIGIT_YEAR,
            name,
            columns.lines[short.to_numpy()],
            first=int(years.min()),
            last=int(years.max()),
        )
    return order


def _disagreeing(one: Clock, other: Clock, who: pd.Series, tolerance: float) -> list[int]:
    """The rows where two clocks, each set to the subject's own middle, differ by more than so many years."""
    apart = one.years - other.years
    apart = (apart - apart.groupby(who).transform("median")).abs()
    return list(apart.index[apart > tolerance])


def _compare(columns: Columns, best: Clock, other: Clock, who: pd.Series, findings: Findings) -> None:
    rows = _disagreeing(best, other, who, 1.01 if "age" in (best.kind, other.kind) else 0.5)
    both = int((best.years.notna() & other.years.notna()).sum())
    if len(rows) > both / 2:
        raise ambiguous(columns.path, "time", [best.name, other.name])
    if rows:
        lines = columns.lines[rows]
        findings.add(catalogue.TIME_DISAGREES, other.name, lines, other=other.name, best=best.name)


def _session(columns: Columns, layout: Layout, who: pd.Series, clock: Clock, options: ReadOptions) -> str | None:
    if options.session is not None:
        return one_column("session", options.session, columns.names, columns.path)
    if layout.session is not None:
        return layout.session
    if clock.kind == "visit":
        return clock.name
    for name in columns.names:
        if names.matches(names.SESSION, name) and name != clock.name and not columns.is_empty(name):
            words = columns.words(name)
            if not pd.concat([who, words], axis=1)[words.notna()].duplicated().mean() > 1 - COVERS:
                return name
    return None


def _age(
    columns: Columns, layout: Layout, who: pd.Series, clock: Clock, options: ReadOptions, findings: Findings
) -> str | None:
    if options.age is not None:
        return one_column("age", options.age, columns.names, columns.path)
    if clock.kind == "age":
        return clock.name
    if layout.age is not None:
        return layout.age
    ages = [name for name in columns.names if names.is_age(name) and columns.is_number(name)]
    if not ages:
        return _age_by_growth(columns, who, clock, findings)
    ages.sort(key=lambda name: (not varies(columns.numbers(name).values, who), -columns.numbers(name).filled))
    if len(ages) > 1:
        findings.add(catalogue.SEVERAL_AGES, ages[0], names=listed(ages), first=ages[0])
    return ages[0]


def _age_by_growth(columns: Columns, who: pd.Series, clock: Clock, findings: Findings) -> str | None:
    """The column of numbers that grows by one per year of the time, whatever its name."""
    facts = Facts(columns, who, clock.years)
    others = [name for name in columns.names if name != clock.name and columns.is_number(name)]
    grown = [name for name in others if not names.is_time(name) and facts.grows_by_one(name)]
    if len(grown) == 1:
        findings.add(catalogue.AGE_BY_GROWTH, grown[0])
        return grown[0]
    findings.add(catalogue.NO_AGE)
    return None


def _unit(
    columns: Columns, age: str, who: pd.Series, clock: Clock, layout: Layout, options: ReadOptions, findings: Findings
) -> AgeUnit:
    if options.age_unit is not None:
        return options.age_unit
    values, aside = columns.numbers(age).values, Findings()
    unit = age_unit(columns.path, age, values, who, layout.age_units, {clock.name: clock.years}, {}, aside)
    known = {(finding.code, finding.column) for finding in findings}
    findings.extend(finding for finding in aside if (finding.code, finding.column) not in known)
    return unit


def _is_baseline(age: pd.Series, years: pd.Series, who: pd.Series) -> bool:
    """Whether the age stands still though time moves by more than an age in such steps would hide.

    An age that stands in one row per subject only, be it a row without a time, is one at that row.
    """
    if (age.groupby(who).count() <= 1).all():
        return bool((age.notna() & years.isna()).any())
    hidden = 1.0 if (age.dropna() % 1 == 0).all() else 0.05
    both = age.notna() & years.notna()
    spans, ages = years[both].groupby(who[both]), age[both].groupby(who[both])
    long = (spans.max() - spans.min()) > hidden
    return bool(long.any()) and ((ages.max() - ages.min())[long] == 0).mean() > COVERS


def _no_time(columns: Columns, clocks: list[Clock], subject: str) -> str:
    if clocks:
        return (
            f"{listed(clock.name for clock in clocks)}: the same at every visit of a subject, so nothing tells when a "
            "visit was (an age that repeats is the age at baseline). Name the time column with --time COLUMN."
        )
    for name, example, what, remedy in _unread(columns, {subject}):
        return f"the cells of {name}, such as {example}, are no {what} that can be read. {remedy}"
    rest = [name for name in columns.names if name != subject]
    for name in rest:
        words = columns.words(name).dropna()
        if not names.matches(names.SESSION, name) or words.empty:
            continue
        labels = listed(words.unique(), 3)
        if whose_codes(words) is None:
            return (
                f"the labels in {name} ({labels}) can be months, or years and half years as in "
                "ABCD, so nothing tells when a visit was. Add --time-kind visit if they are months, or a table with "
                "the age or date of each visit as another --cohort."
            )
        if len(words.unique()) > 1:
            years = f" If they are years, add --time {name} --time-kind years." if columns.is_number(name) else ""
            return (
                f"the labels in {name} ({labels}) tell the order of visits, but not the time between them. Give a "
                "table with the age or date of each visit as another --cohort, or write the labels as months since "
                f"baseline (m00, m12).{years}"
            )
    kinds = "age, date, years, months, weeks, days, hours or visit code"
    return (
        f"no time column ({kinds}) was found among {listed(rest)}. Name it with --time COLUMN, or give a table with "
        "the age or date of each visit as another --cohort."
    )
