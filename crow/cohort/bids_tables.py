"""The tables of a BIDS tree: participants.tsv, sessions.tsv, scans.tsv, and a table of ages beside the tree.

A frame by subject is indexed by participant_id, one by visit by participant_id and session_id; cells are text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from crow.cohort import names
from crow.cohort.bids_files import BidsFile, parse
from crow.cohort.catalogue import REPEATED_ROW, WAVES
from crow.cohort.dates import parse_dates
from crow.cohort.descriptions import Descriptions, read_sidecar, sidecar_of
from crow.cohort.findings import Finding, Findings
from crow.cohort.options import listed
from crow.cohort.subject import subject_columns
from crow.cohort.table import COMMA_NUMBER, read_table
from crow.cohort.values import is_blank
from crow.cohort.wide import SESSION as WAVE
from crow.cohort.wide import Wide, find_waves, reshape
from crow.errors import CohortError

SUBJECT, SESSION, ACQUIRED = "participant_id", "session_id", "acq_time"
KEYS = [SUBJECT, SESSION]
MAX_YEARS_APART = 40
KINDS = {
    "w": "wave", "t": "time", "timepoint": "time", "tp": "time", "v": "visit", "s": "ses", "session": "ses",
    "y": "year", "m": "month", "bl": "month", "baseline": "month",
}  # fmt: skip
COUNTING = {"wave", "time", "visit", "ses"}


class SubjectTable(NamedTuple):
    """What a table tells of subjects and of their visits, and what its JSON file tells of the columns."""

    by_subject: pd.DataFrame
    by_visit: pd.DataFrame
    descriptions: Descriptions = Descriptions()


def read_subjects(path: Path, visits: pd.MultiIndex, findings: Findings) -> SubjectTable:
    """A table with a row per subject and session, or a row per subject, whose columns may be repeated by wave.

    Raises CohortError if no subject of it has scans in the tree, and if rows of a subject name no sessions.
    """
    frame = _read(path, findings)
    subject = next(iter(subject_columns(frame.columns)), None)
    if subject is None:
        raise CohortError(f"{path}: no column participant_id among {listed(frame.columns)}.")
    frame = frame.rename(columns={subject: SUBJECT}).assign(**{SUBJECT: _prefixed(frame[subject], "sub-")})
    if not frame[SUBJECT].isin(visits.get_level_values(SUBJECT)).any():
        raise CohortError(
            f"{path}: none of its subjects ({listed(frame[SUBJECT], 3)}) is among those with scans "
            f"({listed(visits.unique(SUBJECT), 3)}). Write the labels of the tree."
        )
    descriptions = sidecar_of(path, findings)
    session = next((name for name in frame.columns if names.matches(names.SESSION, name)), None)
    repeated = bool(frame[SUBJECT].duplicated().any())
    if session is not None:
        frame = frame.rename(columns={session: SESSION}).assign(**{SESSION: _prefixed(frame[session], "ses-")})
        return SubjectTable(pd.DataFrame(), _indexed(frame, KEYS, path.name, findings), descriptions)
    if repeated:
        raise CohortError(f"{path}: several rows for one subject, and no column session_id to tell them apart.")
    if wide := find_waves(list(frame.columns)):
        return _by_wave(frame, wide, visits, path.name, descriptions, findings)
    return SubjectTable(_indexed(frame, [SUBJECT], path.name, findings), pd.DataFrame(), descriptions)


def read_sessions(folders: Iterable[Path], visits: pd.MultiIndex, findings: Findings) -> pd.DataFrame:
    """``sub-X/sub-X_sessions.tsv`` of every subject, and ``sessions.tsv`` at the root."""
    frames: list[pd.DataFrame] = []
    for folder in folders:
        if os.path.lexists(folder / "sessions.tsv"):
            frames.append(_read(folder / "sessions.tsv", findings))
        for subject in visits.unique(SUBJECT):
            path = folder / subject / f"{subject}_sessions.tsv"
            if os.path.lexists(path):
                frames.append(_read(path, findings).assign(**{SUBJECT: subject}))
    frames = [frame for frame in frames if set(KEYS) <= set(frame.columns)]
    if not frames:
        return pd.DataFrame()
    frame = pd.concat(frames).fillna("")
    for name, prefix in zip(KEYS, ("sub-", "ses-"), strict=True):
        frame[name] = _prefixed(frame[name], prefix)
    return _indexed(frame, KEYS, "sessions.tsv", findings)


def sessions_sidecars(folders: Iterable[Path], visits: pd.MultiIndex, findings: Findings) -> Descriptions:
    """``sessions.json`` at the root and ``sub-X/sub-X_sessions.json``; the one nearest to the table decides."""
    found = Descriptions()
    for folder in reversed(list(folders)):
        found |= read_sidecar(folder / "sessions.json", findings)
        for subject in visits.unique(SUBJECT):
            found |= read_sidecar(folder / subject / f"{subject}_sessions.json", findings)
    return found


def read_acquired(folders: Iterable[Path], files: Iterable[BidsFile], findings: Findings) -> pd.DataFrame:
    """``acq_time`` from scans.tsv: of the scan itself, else of one with its suffix, else the first of the visit."""
    folders = list(folders)
    cache: dict[Path, list[tuple[str, str]]] = {}
    times: dict[tuple[str, str], str] = {}
    for file in files:
        subject, session = file.visit
        stems = [f"{subject}/{session}/{subject}_{session}"] if session else []
        paths = [folder / f"{stem}_scans.tsv" for folder in folders for stem in (*stems, f"{subject}/{subject}")]
        for path in paths:
            if path not in cache:
                cache[path] = _times_of_files(path, findings)
        times |= _best(file, [row for path in paths for row in cache[path]])
    frame = pd.DataFrame({ACQUIRED: times}, dtype=object)
    return frame.rename_axis(KEYS) if times else pd.DataFrame()


def shifted_apart(cells: pd.Series) -> str | None:
    """The subject whose dates lie further apart than any study: shifted visit by visit, they tell no time."""
    dates = parse_dates(cells.mask(is_blank(cells), "")).values.groupby(cells.index.get_level_values(SUBJECT))
    years = (dates.max() - dates.min()).dt.days / 365.25
    return str(years.idxmax()) if years.max() > MAX_YEARS_APART else None


def _read(path: Path, findings: Findings) -> pd.DataFrame:
    """A table as text with decimal points; findings name the file."""
    aside = Findings()
    table = read_table(path, aside)
    _name_file(aside, path.name, findings)
    frame = table.frame()
    if table.decimal == ",":
        frame = frame.map(lambda cell: cell.replace(",", ".") if COMMA_NUMBER.fullmatch(cell) else cell)
    return frame


def _by_wave(
    frame: pd.DataFrame, wide: Wide, visits: pd.MultiIndex, name: str, given: Descriptions, findings: Findings
) -> SubjectTable:
    aside = Findings()
    long, trials = reshape(frame, wide, ".", aside)
    for trial in trials.values():
        aside.extend(trial)
    _name_file(aside, name, findings)
    sessions = {wave: _session_of(wave, visits.unique(SESSION)) for wave in wide.waves}
    if not any(sessions.values()):
        waves, labels = listed(wide.waves), listed(visits.unique(SESSION))
        findings.add(WAVES, name=name, waves=waves, labels=labels)
    fixed = [column for column in frame.columns if column not in wide.used]
    long = long.assign(**{SESSION: long[WAVE].map(sessions)}).dropna(subset=SESSION)
    first = {measure: next(iter(columns.values())) for measure, columns in wide.columns.items()}
    units = {measure: given.units[column] for measure, column in first.items() if column in given.units}
    levels = {measure: given.levels[column] for measure, column in first.items() if column in given.levels}
    return SubjectTable(
        _indexed(frame[fixed], [SUBJECT], name, findings),
        _indexed(long[[*KEYS, *wide.columns]], KEYS, name, findings),
        given | Descriptions(units, levels),
    )


def _session_of(wave: str, sessions: Iterable[str]) -> str | None:
    """The session with a wave's label: ``W1`` is ``ses-W1``, ``ses-wave01``, ``ses-1``; ``m12`` only ``ses-M012``."""
    kind, number = _label(wave)
    labels = {_label(session.removeprefix("ses-")): session for session in sessions}
    return labels.get((kind, number)) or (labels.get(("", number)) if kind in COUNTING else None)


def _label(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*?)[_ ]?(\d*)", text.lower())
    assert match is not None
    return KINDS.get(match[1], match[1]), int(match[2] or 0)


def _times_of_files(path: Path, findings: Findings) -> list[tuple[str, str]]:
    if not os.path.lexists(path):  # a link to a file that was not downloaded is refused
        return []
    frame = _read(path, findings)
    if not {"filename", ACQUIRED} <= set(frame.columns):
        return []
    frame = frame[~is_blank(frame[ACQUIRED])]
    return list(zip(frame["filename"], frame[ACQUIRED], strict=True))


def _best(file: BidsFile, rows: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    known = [(other, time) for name, time in rows if (other := parse(Path(name))) and other.visit == file.visit]
    ranked = sorted((other.path.name != file.path.name, other.suffix != file.suffix, time) for other, time in known)
    return {file.visit: ranked[0][2]} if ranked else {}


def _indexed(frame: pd.DataFrame, keys: list[str], name: str, findings: Findings) -> pd.DataFrame:
    frame = frame.set_index(keys)
    again = frame.index.duplicated()
    if again.any():
        what = ", ".join(" ".join(label) if isinstance(label, tuple) else label for label in frame.index[again][:3])
        findings.add(REPEATED_ROW, name=name, count=int(again.sum()), which=what)
    return frame[~again]


def _prefixed(cells: pd.Series, prefix: str) -> pd.Series:
    return cells.map(lambda cell: cell if not cell or cell.startswith(prefix) else prefix + cell)


def _name_file(aside: Findings, name: str, findings: Findings) -> None:
    findings.extend(Finding(one.code, one.severity, f"{name}: {one.message}", one.column) for one in aside)
