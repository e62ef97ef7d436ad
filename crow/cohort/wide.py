"""One row per subject and one column per measure and wave (``MMSE_W1``), as one row per visit."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crow.cohort import catalogue
from crow.cohort.findings import Findings
from crow.cohort.names import is_age, is_date, is_time, normal
from crow.cohort.options import listed
from crow.cohort.values import is_blank, numbers
from crow.cohort.visit_codes import visit_months

WORD = (
    r"[Ww]ave|WAVE|[Tt][Pp]|[Tt]ime|TIME|[Vv]isit|VISIT|[Ss]es(?:sion)?-?|[Yy]ear|[Mm]onth|[Ff][Uu]|[Yy]r|[Mm]o"
    r"|[Ff]ollow[-_ ]?[Uu]p|[Bb]esuch|[Vv]isit[ea]|[Bb]ezoek|[Ww]elle|[Vv]ague"
)
FIRST = r"[Bb][Ll]|[Bb]aseline|BASELINE"
LABEL = (
    rf"(?:[WwTtVvYyMm]|(?:{WORD})[_ ]?)\d+|{FIRST}|[Ff]ollow[-_]?[Uu]p|FOLLOWUP|(?:19|20)\d\d"
    r"|\d+[_ ]?(?:mo|months?|[Mm]|yrs?|years?|[YyJ]|Jahre?)"
)
WEAK = r"\d{1,2}|[Pp]re|PRE|[Pp]ost|POST"
"""Labels that can be anything else; they are waves only if an age, a date or a time has them."""
SUFFIXED = re.compile(rf"(?P<name>.+?)(?P<link>[_.\-: ]{{0,2}}|_?\[| ?\()(?P<label>{LABEL})(?P<tail>[\])]?)")
PREFIXED = re.compile(rf"(?P<label>{LABEL})(?P<link>[_.\-: ]{{1,2}})(?P<name>.+)(?P<tail>)")
WEAKLY_SUFFIXED = re.compile(rf"(?P<name>.+?)(?P<link>[_.\-: ]{{0,2}}|_?\[| ?\()(?P<label>{WEAK})(?P<tail>[\])]?)")
WEAKLY_PREFIXED = re.compile(
    rf"(?P<label>{WEAK})(?P<link>[_.\-: ]{{1,2}})(?P<name>.+)(?P<tail>)"
    r"|(?P<label_2>[WwTtVv]\d)(?P<link_2>)(?P<name_2>[A-Za-z].+)(?P<tail_2>)"
)
SESSION = "wave"
Measures = dict[str, dict[str, str]]
"""The column of every wave, by measure."""


@dataclass(frozen=True)
class Wide:
    """How measures and waves make column names: ``template.format(name=..., wave=...)``."""

    template: str
    waves: tuple[str, ...]
    columns: dict[str, dict[str, str]]
    intervals: dict[str, dict[tuple[str, str], str]]

    @property
    def used(self) -> set[str]:
        """The columns of the table that are measures at a wave, or intervals between waves."""
        measures = {column for group in self.columns.values() for column in group.values()}
        return measures | {column for group in self.intervals.values() for column in group.values()}


def find_waves(names: list[str]) -> Wide | None:
    """The measures that have a column per wave; None if no measure has two waves."""
    found = [_family(names, SUFFIXED, False), _family(names, PREFIXED, True)]
    if not any(found):
        found = [_family(names, WEAKLY_SUFFIXED, False), _family(names, WEAKLY_PREFIXED, True)]
        found = [wide for wide in found if wide and _has_time(wide)]
    return max((wide for wide in found if wide), key=lambda wide: len(wide.used), default=None)


def _has_time(wide: Wide) -> bool:
    """Whether an age, a date or a time has a column at every wave, and another measure too."""
    full = [name for name, columns in wide.columns.items() if len(columns) == len(wide.waves)]
    return len(full) > 1 and any(is_age(name) or is_date(name) or is_time(name) for name in full)


def reshape(
    frame: pd.DataFrame, wide: Wide, decimal: str, findings: Findings
) -> tuple[pd.DataFrame, dict[str, Findings]]:
    """The long frame without the waves that a subject did not attend, and findings about a column if it is the time."""
    long = to_long(frame, wide, findings)
    trials: dict[str, Findings] = {}
    for name in wide.columns:
        trial = Findings()
        ages = exact_ages(frame, wide, name, decimal, trial)
        if ages is not None:
            long[name] = [f"{age:.6g}".replace(".", decimal) if age == age else "" for age in ages]
            trials[name] = trial
    present = attended(long, wide)
    if not present.all():
        counts = long[SESSION][~present].value_counts()
        waves = listed(f"{wave}: {count}" for wave, count in counts.items())
        findings.add(catalogue.NOT_ATTENDED, count=int((~present).sum()), waves=waves)
    return long[present], trials


def to_long(frame: pd.DataFrame, wide: Wide, findings: Findings) -> pd.DataFrame:
    """One row per subject and wave, with the wave in ``wave``; the index stays the line of the subject's row."""
    fixed = [name for name in frame.columns if name not in wide.used]
    parts = []
    for wave in wide.waves:
        part = frame[fixed].copy()
        part[SESSION] = wave
        for name, columns in wide.columns.items():
            part[name] = frame[columns[wave]] if wave in columns else ""
        parts.append(part)
    measures, waves = listed(wide.columns), listed(wide.waves)
    findings.add(catalogue.WIDE, used=len(wide.used), count=len(wide.columns), names=measures, waves=waves)
    return pd.concat(parts)


def attended(frame: pd.DataFrame, wide: Wide) -> pd.Series:
    """Whether a row of `to_long` holds more than what is constant for the subject."""
    return ~frame[list(wide.columns)].apply(is_blank).all(axis=1)


def exact_ages(frame: pd.DataFrame, wide: Wide, name: str, decimal: str, findings: Findings) -> pd.Series | None:
    """Ages at the first wave plus the exact years between waves, if ages are whole and the table has intervals.

    ``AgeMRI`` goes with ``MRIW1toW2``. An interval that differs from its rounded ages by more than a year is not used.
    None if nothing can be gained.
    """
    between = wide.intervals.get(normal(name).replace("_", "").removeprefix("age"))
    ages = {wave: numbers(frame[column], decimal).values for wave, column in wide.columns.get(name, {}).items()}
    if not between or any((age.dropna() % 1 != 0).any() for age in ages.values()):
        return None
    exact = {wave: age.copy() for wave, age in ages.items()}
    doubtful: set[int] = set()
    for (first, second), column in sorted(between.items(), key=lambda item: _step(wide, *item[0])):
        if first not in exact or second not in exact:
            continue
        moved = exact[first] + numbers(frame[column], decimal).values
        agrees = (moved - ages[second]).abs() < 1.5
        doubtful |= set(frame.index[moved.notna() & ages[second].notna() & ~agrees])
        exact[second] = moved.where(agrees, exact[second])
    findings.add(catalogue.INTERVALS, name, name=name, columns=listed(between.values()))
    if doubtful:
        findings.add(catalogue.INTERVAL_DISAGREES, name, doubtful)
    return pd.concat([exact.get(wave, pd.Series(np.nan, frame.index)) for wave in wide.waves])


def _family(names: list[str], pattern: re.Pattern[str], before: bool) -> Wide | None:
    groups: dict[tuple[str, str, str], Measures] = defaultdict(lambda: defaultdict(dict))
    for column in names:
        if match := pattern.fullmatch(column):
            name, link, label, tail = _parts(match)
            if not before and not link and label[0].islower():
                continue
            groups[link, tail, _kind(label)][name][label] = column
    _add_first(groups)
    if not before:
        _add_bare(names, groups)
    best: Wide | None = None
    for (link, tail, _), measures in groups.items():
        intervals = _intervals(names, link, {label for columns in measures.values() for label in columns})
        taken = {column for group in intervals.values() for column in group.values()}
        columns = {n: c for n, c in measures.items() if not taken & set(c.values())}
        if any(len(waves) > 1 for waves in columns.values()):
            waves = sorted({label for group in columns.values() for label in group}, key=_position)
            template = f"{{wave}}{link}{{name}}" if before else f"{{name}}{link}{{wave}}{tail}"
            wide = Wide(template, tuple(waves), columns, intervals)
            best = wide if best is None or len(wide.used) > len(best.used) else best
    return best


def _parts(match: re.Match[str]) -> tuple[str, str, str, str]:
    """Name, link, label and tail of a column."""
    parts = match.groupdict()
    end = "" if parts["name"] else "_2"
    return parts[f"name{end}"], parts[f"link{end}"], parts[f"label{end}"], parts[f"tail{end}"]


def _kind(label: str) -> str:
    """The kind of a label: its letters, so that ``W1`` and ``W2`` are of one kind."""
    letters = re.sub(r"\d+", "", label).strip("_ ").lower()
    return {"pre": "pre and post", "post": "pre and post", "baseline": "bl"}.get(letters, letters)


def _add_first(groups: dict[tuple[str, str, str], Measures]) -> None:
    """The columns of baseline are the first wave of every other kind of label: ``age_bl, age_m12, age_fu1``."""
    for (link, tail, kind), first in list(groups.items()):
        if kind == "bl":
            for (other_link, other_tail, other_kind), measures in groups.items():
                if (other_link, other_tail) == (link, tail) and other_kind != kind:
                    for name in first.keys() & measures.keys():
                        measures[name] = {**first[name], **measures[name]}


def _add_bare(names: list[str], groups: dict[tuple[str, str, str], Measures]) -> None:
    """A column without a label is the wave before the first one of its measure: ``age, age_ses02``; ``age, age.1``."""
    known = set(names)
    for (link, _, kind), measures in groups.items():
        for name, columns in measures.items():
            first = min(columns, key=_position)
            number = re.search(r"\d+$", first)
            if (
                name in known
                and number is not None
                and int(number[0]) in ((1, 2) if (link, kind) == (".", "") else (2,))
            ):
                columns[first[: number.start()] + str(int(number[0]) - 1).zfill(len(number[0]))] = name


def _intervals(names: list[str], link: str, labels: set[str]) -> dict[str, dict[tuple[str, str], str]]:
    """``MRIW1toW2`` -> {"mri": {("W1", "W2"): "MRIW1toW2"}}."""
    either = "|".join(sorted(map(re.escape, labels), key=len, reverse=True))
    pattern = re.compile(rf"(?P<name>.*?)[_.\- ]?(?P<first>{either})[_.\- ]?(?:to|TO|To)[_.\- ]?(?P<second>{either})")
    found: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for column in names:
        if match := pattern.fullmatch(column):
            found[normal(match["name"]).replace("_", "")][match["first"], match["second"]] = column
    return dict(found)


def _step(wide: Wide, first: str, second: str) -> tuple[int, int]:
    """Earlier waves first; of the intervals that end at one wave, the longest last, so that it decides."""
    return wide.waves.index(second), -wide.waves.index(first)


def _position(label: str) -> float:
    months = visit_months(label)
    number = re.search(r"\d+", label)
    last = label.lower() == "post" or label.lower().startswith("follow")
    return months if months is not None else float(number[0]) if number else float(last)
