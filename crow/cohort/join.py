"""Several tables of one cohort as one: joined by subject, and by visit or by the nearest time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from crow.cohort import catalogue
from crow.cohort.clocks import Clock, find_clocks, varies
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings, at_lines
from crow.cohort.layout import Layout
from crow.cohort.names import ANATOMY, SESSION, is_age, matches
from crow.cohort.options import ReadOptions, listed
from crow.cohort.subject import subject_columns, subjects_by_values
from crow.cohort.subject_writings import bare_subject, one_writing
from crow.cohort.table import Table
from crow.cohort.times import AGES_PER_YEAR, DAYS_PER_YEAR
from crow.cohort.values import is_blank
from crow.cohort.wide import SESSION as WAVE
from crow.cohort.wide import find_waves, reshape
from crow.errors import CohortError, ConfigError

WITHIN = "180d"
"""How far apart rows of two tables may be in time to be one visit, if the user gives nothing."""
DAYS = {"d": 1.0, "w": 7.0, "m": DAYS_PER_YEAR / 12, "y": DAYS_PER_YEAR}
MOSTLY = 0.5


@dataclass(frozen=True)
class Part:
    """A table to be joined, as a frame of text with a row per visit or per subject."""

    table: Table
    frame: pd.DataFrame
    subject: str
    session: str | None
    clocks: tuple[Clock, ...]

    @property
    def name(self) -> str:
        return Path(self.table.path).name

    @property
    def who(self) -> pd.Series:
        return self.frame[self.subject]

    @property
    def measures(self) -> float:
        """How many columns look like brain regions; a BIDS tree has the scans themselves."""
        return np.inf if self.table.bids else sum(matches(ANATOMY, name) for name in self.frame.columns)

    @property
    def repeats(self) -> bool:
        return bool(self.who[self.who != ""].duplicated().any())


def days_of(within: str) -> float:
    """``90d``, ``6m``, ``1y`` or ``90`` in days; raises ConfigError for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(d|w|m|y)?(?:ays?|eeks?|onths?|ears?)?\s*", within.lower())
    if match is None:
        raise ConfigError(
            f"cohort.within: found {within!r}; write a number of days, weeks, months or years, as in 90d."
        )
    return float(match[1]) * DAYS[match[2] or "d"]


def join_tables(tables: Sequence[Table], options: ReadOptions, findings: Findings) -> Table:
    """The visits of the table of scans or with the most brain regions (else the first), with the columns of the others.

    A table with a row per subject joins to all visits of the subject. One with a row per visit joins by subject and
    visit label if most labels are the same, else to the row of the same subject that is nearest in time and at most
    ``options.within`` away. Raises CohortError if two tables have no subject, or neither labels nor a time, in common.
    """
    parts = [_part(table, options, findings) for table in tables]
    base = max(parts, key=lambda part: (part.repeats, part.measures))
    for other in parts:
        if other is not base:
            base = _joined(base, other, options, findings)
    return base.table.with_frame(base.frame)


def _part(table: Table, options: ReadOptions, findings: Findings) -> Part:
    layout = table.layout or Layout("plain")
    subject = _subject_of(table, layout, options)
    frame = one_writing(table.frame(), subject, findings)
    session = layout.session
    wide = None if frame[subject].duplicated().any() else find_waves(table.header)
    if wide is not None:
        frame, _ = reshape(frame, wide, table.decimal, findings)
        session = WAVE
    if session is None:
        named = [name for name in frame.columns if matches(SESSION, name) and name != subject]
        session = next((name for name in named if not is_blank(frame[name]).all()), None)
    columns = Columns(frame, table.path, decimal=table.decimal, adni=layout.adni)
    among = [name for name in frame.columns if name != subject]
    who = columns.cells(subject)
    clocks = tuple(find_clocks(columns, among, who, layout, options.model_copy(update={"time": None}), Findings()))
    return Part(table, frame, subject, session, clocks)


def _subject_of(table: Table, layout: Layout, options: ReadOptions) -> str:
    if options.subject in table.header:
        return str(options.subject)
    named = [layout.subject] if layout.subject else subject_columns(table.header)
    named = named or subjects_by_values(Columns(table.frame(), table.path, decimal=table.decimal))
    if not named:
        raise CohortError(
            f"{table.path}: no subject column was found among {listed(table.header)}. Name it with --subject COLUMN; "
            "all tables need one."
        )
    return named[0]


def _joined(base: Part, other: Part, options: ReadOptions, findings: Findings) -> Part:
    base_ids, other_ids = _same_ids(base, other)
    if not other.repeats:
        rows, gaps, how = _by_subject(base_ids, other_ids), None, "subject"
    elif (found := _by_session(base, other, base_ids, other_ids)) is not None:
        rows, gaps, how = found, None, f"subject and {other.session}"
    else:
        one, two = _shared_clock(base, other)
        days = days_of(options.within or WITHIN)
        rows, gaps, tied = _by_time(base_ids, other_ids, one.years, two.years, days / DAYS_PER_YEAR)
        if tied:
            findings.add(catalogue.TIED_ROWS, rows=base.frame.index[tied], other=other.name)
        how = f"subject and the nearest {two.name} (against {one.name}) within {days:g} days"
    _report(base, other, base_ids, other_ids, rows, gaps, how, findings)
    return _with_columns(base, other, rows, gaps, findings)


def _same_ids(base: Part, other: Part) -> tuple[pd.Series, pd.Series]:
    """Both tables' subjects, written alike; raises CohortError if no subject is in both."""
    if base.subject != other.subject and other.subject in base.frame and base.subject not in other.frame:
        base = replace(base, subject=other.subject)
    elif base.subject != other.subject and base.subject in other.frame:
        other = replace(other, subject=base.subject)
    found: list[tuple[int, pd.Series, pd.Series]] = []
    for write in (str.strip, bare_subject):
        one, two = base.who.map(write), other.who.map(write)
        distinct = all(ids.nunique() == part.who.nunique() for ids, part in ((one, base), (two, other)))
        if distinct and (common := (set(one) & set(two)) - {""}):
            found.append((len(common), one, two))
    if found:
        _, one, two = max(found, key=lambda ids: ids[0])
        return one.reset_index(drop=True), two.reset_index(drop=True)
    raise CohortError(
        f"{other.table.path}: none of its subjects ({other.subject}: {listed(other.who.unique(), 3)}) is in "
        f"{base.name} ({base.subject}: {listed(base.who.unique(), 3)}). Write the subjects alike, or name the column "
        "that both tables have with --subject."
    )


def _by_subject(base_ids: pd.Series, other_ids: pd.Series) -> pd.Series:
    """Per row of the base the row of the other table, -1 if there is none."""
    places = {subject: row for row, subject in enumerate(other_ids) if subject}
    return base_ids.map(places).fillna(-1).astype(int)


def _by_session(base: Part, other: Part, base_ids: pd.Series, other_ids: pd.Series) -> pd.Series | None:
    """The same by subject and visit label; None unless most visits of common subjects have one label in both tables."""
    if base.session is None or other.session is None:
        return None
    keys = []
    for part, ids in ((base, base_ids), (other, other_ids)):
        labels = part.frame[part.session].reset_index(drop=True).map(_label)
        keys.append(pd.Series(list(zip(ids, labels, strict=True)), dtype=object))
        if pd.DataFrame({"id": ids, "label": labels})[labels != ""].duplicated().any() and part is other:
            return None
    places = {key: row for row, key in enumerate(keys[1]) if all(key)}
    rows = keys[0].map(lambda key: places.get(key, -1)).astype(int)
    common = base_ids.isin(set(other_ids))
    return rows if (rows[common] >= 0).mean() > MOSTLY else None


def _label(session: str) -> str:
    bare = re.sub(r"[^a-z0-9]", "", session.strip().lower().removeprefix("ses-"))
    return re.sub(r"0+(?=\d)", "", bare)


def _shared_clock(base: Part, other: Part) -> tuple[Clock, Clock]:
    """A time of each table that can be compared; raises CohortError if there is none."""
    pairs: list[tuple[bool, bool, int, int, Clock, Clock]] = []
    for one in base.clocks:
        for two in other.clocks:
            usual = all(_is_usual(clock, part) for clock, part in ((one, base), (two, other)))
            relative = one.kind in ("days", "months", "years") and two.kind in ("days", "months", "years")
            if usual and (one.kind == two.kind or relative):
                moving = varies(one.years, base.who.reset_index(drop=True)) and varies(
                    two.years, other.who.reset_index(drop=True)
                )
                pairs.append((not moving, one.name != two.name, max(one.rank, two.rank), len(pairs), one, two))
    pairs = [pair for pair in pairs if not pair[0]]
    if not pairs and not other.clocks and other.session is None:
        twice = other.who[other.who.duplicated() & (other.who != "")]
        raise CohortError(
            f"{other.table.path}, {at_lines(twice.index)}: a second row for the subjects {listed(twice.unique(), 3)}, "
            "and no time or visit label that separates the rows. Keep one row per subject, or add the date, the age or "
            "the visit label."
        )
    if not pairs:
        has = "; ".join(
            f"{part.name} has {listed(clock.name for clock in part.clocks) or 'no time'}" for part in (base, other)
        )
        raise CohortError(
            f"{other.table.path}: has several rows per subject, but neither visit labels nor a time in common with "
            f"{base.name} ({has}). Add a column with the date, the age or the visit label to both."
        )
    best = min(pairs)
    return best[4], best[5]


def _is_usual(clock: Clock, part: Part) -> bool:
    """Whether a clock is among the times of the table's layout, if that has any."""
    times = part.table.layout.times if part.table.layout else ()
    return not times or clock.name in times


def _by_time(
    base_ids: pd.Series, other_ids: pd.Series, base_years: pd.Series, other_years: pd.Series, within: float
) -> tuple[pd.Series, pd.Series, list[int]]:
    """Per row of the base the nearest row of the same subject (-1 if none is near), and how many years it is later.

    Of two equally near rows, the earlier one; the list names the rows with such a choice.
    """
    by_subject = {
        subject: rows.to_numpy() for subject, rows in other_ids[other_years.notna()].groupby(other_ids).groups.items()
    }
    rows = np.full(len(base_ids), -1)
    gaps = np.full(len(base_ids), np.nan)
    tied: list[int] = []
    years = other_years.to_numpy(float)
    for place, (subject, time) in enumerate(zip(base_ids, base_years, strict=True)):
        near = by_subject.get(subject)
        if near is None or not subject or pd.isna(time):
            continue
        apart = years[near] - time
        nearest = np.flatnonzero(np.abs(apart) <= np.abs(apart).min() + 1e-9)
        best = int(nearest[apart[nearest].argmin()])
        if abs(apart[best]) <= within + 1e-9:
            rows[place], gaps[place] = near[best], apart[best]
            tied += [place] if len(nearest) > 1 else []
    return pd.Series(rows), pd.Series(gaps), tied


def _report(
    base: Part,
    other: Part,
    base_ids: pd.Series,
    other_ids: pd.Series,
    rows: pd.Series,
    gaps: pd.Series | None,
    how: str,
    findings: Findings,
) -> None:
    """What matched, how far apart, and what did not."""
    matched = rows >= 0
    apart = ""
    if gaps is not None and matched.any():
        days = gaps[matched].abs() * DAYS_PER_YEAR
        apart = f", {days.median():.0f} days apart (median; at most {days.max():.0f})"
    used = int(rows[matched].nunique())
    findings.add(
        catalogue.JOIN,
        other=other.name,
        base=base.name,
        how=how,
        matched=int(matched.sum()),
        total=len(rows),
        apart=apart,
        unused=len(other_ids) - used,
        others=len(other_ids),
    )
    lines = base.frame.index.to_numpy()
    if (~matched).any():
        alone = sorted(set(base_ids) - set(other_ids))
        who = f" ({len(alone):,} subjects are not in it: {listed(alone, 3)})" if alone else ""
        findings.add(catalogue.UNMATCHED, rows=lines[~matched], other=other.name, who=who)
    if gaps is not None and (shared := rows[matched].duplicated(keep=False)).any():
        twice = lines[matched][shared.to_numpy()]
        findings.add(catalogue.SHARED_ROW, rows=twice, other=other.name)


def _with_columns(base: Part, other: Part, rows: pd.Series, gaps: pd.Series | None, findings: Findings) -> Part:
    """The base with the other's columns; a column of both keeps the base's value, and the other's if it has none."""
    frame = base.frame.copy()
    matched = (rows >= 0).to_numpy()
    clocks = {clock.name: clock for clock in other.clocks} if other.repeats else {}
    kinds = {clock.kind for clock in base.clocks}
    kept = {name for name, clock in clocks.items() if clock.kind not in kinds and (gaps is None or clock.kind == "age")}
    for name in other.frame.columns:
        clock = clocks.get(name)
        if name in (other.subject, other.session) or (clock is not None and name not in kept):
            continue
        if clock is not None and clock.kind == "age" and any(is_age(column) for column in frame.columns):
            continue
        cells = np.full(len(frame), "", dtype=object)
        cells[matched] = other.frame[name].to_numpy()[rows[matched]]
        new = pd.Series(cells, frame.index)
        if clock is not None and gaps is not None and clock.kind == "age":
            new = _aged(new, clock, gaps, other, findings)
        new = _decimals(new, other.table.decimal, base.table.decimal)
        frame[name] = _merged(frame[name], new, name, other, findings) if name in frame else new
    return replace(base, frame=frame, table=replace(base.table, layout=_layout(base, other)))


def _aged(cells: pd.Series, clock: Clock, gaps: pd.Series, other: Part, findings: Findings) -> pd.Series:
    """An age at another day, at the visit's own day."""
    decimal = other.table.decimal
    ages = pd.to_numeric(cells.str.replace(decimal, ".", regex=False), errors="coerce")
    moved = ages - gaps.to_numpy() * AGES_PER_YEAR[clock.age_unit]
    findings.add(catalogue.JOIN_AGE, clock.name, other=other.name)
    text = moved.map(lambda age: "" if pd.isna(age) else f"{age:.4f}".rstrip("0").rstrip(".").replace(".", decimal))
    return text.where(ages.notna(), cells)


def _decimals(cells: pd.Series, written: str, wanted: str) -> pd.Series:
    if written == wanted:
        return cells
    number = cells.str.fullmatch(rf"[+-]?\d*\{written}\d+")
    return cells.where(~number, cells.str.replace(written, wanted, regex=False))


def _merged(own: pd.Series, new: pd.Series, name: str, other: Part, findings: Findings) -> pd.Series:
    blank, missing = is_blank(own), is_blank(new)
    one, two = pd.to_numeric(own, errors="coerce"), pd.to_numeric(new, errors="coerce")
    same = (own == new) | ((one - two).abs() <= 1e-6 * one.abs())
    differ = ~blank & ~missing & ~same
    if differ.any():
        findings.add(catalogue.JOIN_DIFFERS, name, own.index[differ.to_numpy()], other=other.name)
    return own.where(~blank, new)


def _layout(base: Part, other: Part) -> Layout:
    """The base's layout with what the other's tells of its columns; all that neither leaves out can have a role."""
    one, two = base.table.layout or Layout("plain"), other.table.layout or Layout("plain")
    unusual = {
        name: f"not among the usual columns of {layout.name}"
        for layout in (two, one)
        if layout.regions
        for name in layout.others
    }
    return replace(
        one,
        session=one.session or base.session,
        covariates=(*one.covariates, *two.covariates),
        regions=(),
        others=(),
        left_out={**unusual, **two.left_out, **one.left_out},
        categories=(*one.categories, *two.categories),
        age_units={**two.age_units, **one.age_units},
    )
