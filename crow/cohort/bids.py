"""A BIDS tree -> a table of its visits: who, when, what the tree's tables say, and one scan each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from crow.cohort.bids_files import NATIVE, BidsFile, choose, find_files
from crow.cohort.bids_tables import (
    ACQUIRED,
    KEYS,
    LONGEST,
    SESSION,
    SUBJECT,
    Told,
    read_acquired,
    read_people,
    read_sessions,
    shifted_apart,
)
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.options import ReadOptions, listed
from crow.cohort.schema import SCAN, Schema
from crow.cohort.table import Table
from crow.cohort.timeline import tells_time
from crow.errors import CohortError

ONLY = "years"


def read_tree(tree: Path, options: ReadOptions, schema: Schema | None, findings: Findings) -> Table:
    """The visits of a tree as a table with the columns participant_id, session_id, those of its tables, and scan.

    The time is that of the first that tells it: the table ``ages``, else sessions.tsv, scans.tsv, participants.tsv; a
    derivative's raw tree is asked too. With ``schema`` the columns get its names. Raises CohortError where no scan or
    several kinds are found, and where no table tells the time.
    """
    wanted = schema.bids if schema and schema.bids else None
    bids, chosen = choose(
        tree,
        find_files(tree),
        options.suffix or (wanted.suffix if wanted else None),
        options.space or (wanted.space or NATIVE if wanted else None),
        options.desc or (wanted.desc or NATIVE if wanted else None),
        findings,
    )
    visits = pd.MultiIndex.from_tuples(list(chosen), names=KEYS)
    frame, sources = _told(tree, options, visits, list(chosen.values()), findings)
    source = _source(tree, frame, sources, options, schema)
    frame = frame.reset_index().assign(**{SCAN: [os.path.abspath(file.path) for file in chosen.values()]})
    if schema is not None:
        renamed = {SUBJECT: schema.subject, SESSION: schema.session or SESSION, SCAN: schema.scan or SCAN}
        frame = frame.rename(columns=renamed)
    found = f"{len(visits):,} {bids.suffix} scans of {len(visits.unique(SUBJECT)):,} subjects"
    findings.info("bids", f"{found} were found in the tree; their time is from {source.name}.")
    return Table(
        str(tree),
        list(frame.columns),
        frame.to_numpy().tolist(),
        list(range(1, len(frame) + 1)),
        layout=Layout("bids", subject=SUBJECT, session=SESSION, clocks=tuple(source.columns)),
        bids=bids,
        places={line: " ".join(visit).strip() for line, visit in enumerate(visits, 1)},
    )


class _Source(NamedTuple):
    """Where a time could come from: columns that may differ between visits; ``but`` says what is wrong with them."""

    name: str
    columns: list[str]
    but: str = ""


def _told(
    tree: Path, options: ReadOptions, visits: pd.MultiIndex, files: list[BidsFile], findings: Findings
) -> tuple[pd.DataFrame, list[_Source]]:
    """Everything the tables say of the visits, where several say it the first, and the sources of time in order."""
    folders = [tree, *([tree.absolute().parent.parent] if tree.absolute().parent.name == "derivatives" else [])]
    nothing = Told(pd.DataFrame(), pd.DataFrame())
    ages = read_people(options.ages, visits, findings) if options.ages else nothing
    participants = next((path for folder in folders if (path := folder / "participants.tsv").is_file()), None)
    people = read_people(participants, visits, findings) if participants else nothing
    sessions = read_sessions(folders, visits, findings)
    moving = {
        "the table of ages": ages.moving,
        "sessions.tsv": sessions,
        "scans.tsv": read_acquired(folders, files, findings),
        "participants.tsv": people.moving,
    }
    if others := len(sessions.index.difference(visits)) if len(sessions) else 0:
        findings.info("no-scan", f"{others:,} sessions in sessions.tsv have no such scan and are no visits.")
    frame = pd.DataFrame(index=visits)
    sources = []
    for name, told in moving.items():
        columns = [column for column in told.columns if column not in frame and column != SCAN]
        frame[columns] = told.reindex(visits)[columns]
        sources.append(_sound(_Source(name, columns), frame))
    frame = frame.fillna("").drop(columns=[ACQUIRED] if any(source.but for source in sources) else [])
    alone = ~frame.index.get_level_values(SUBJECT).duplicated(keep=False)
    for told in (ages.fixed, people.fixed):
        same = told.reindex(visits.get_level_values(SUBJECT)).set_axis(visits).fillna("")
        for column in same.columns.drop(SCAN, errors="ignore"):
            known = frame.get(column, pd.Series("", visits, dtype=object))
            frame[column] = known.where((known != "") | ((column in frame) & ~alone), same[column])
    return frame, sources[:1] if options.ages else sources[1:]


def _sound(source: _Source, frame: pd.DataFrame) -> _Source:
    if ACQUIRED not in source.columns or (subject := shifted_apart(frame[ACQUIRED].fillna(""))) is None:
        return source
    but = f" (the acq_time of {subject} lies more than {LONGEST} years apart: shifted visit by visit)"
    return _Source(source.name, [name for name in source.columns if name != ACQUIRED], but)


def _source(
    tree: Path, frame: pd.DataFrame, sources: list[_Source], options: ReadOptions, schema: Schema | None
) -> _Source:
    """The first source that tells the time, or a column of one time where every subject has one session."""
    wanted = schema.time if schema else options.time
    if wanted == SESSION or (schema and wanted == schema.session):
        return _Source("the labels of the sessions, as asked", [SESSION])
    columns = Columns(frame.reset_index(), str(tree))
    first = frame.groupby(level=SUBJECT).transform("first")
    for source in sources:
        if wanted is None and tells_time(columns, source.columns, SUBJECT, Layout("bids"), options):
            return source
        if wanted in source.columns and (frame[wanted] != first[wanted]).any():
            return source
    several = frame.index.get_level_values(SUBJECT).duplicated(keep=False)
    if several.any():
        raise CohortError(_unknown(tree, sources, frame.index[several][0], wanted))
    name = wanted or ONLY
    frame[name] = frame.get(name, "0" if schema is None else "")
    return _Source("nothing, as every subject has one session", [name])


def _unknown(tree: Path, sources: list[_Source], visit: tuple[str, str], wanted: str | None) -> str:
    subject, session = visit
    seen = "; ".join(
        f"{source.name} has {listed(source.columns) or 'no usable column'}{source.but}" for source in sources
    )
    column = wanted or "age"
    return (
        f"{tree}: the time of the visits cannot be known{f' as {wanted}' if wanted else ''}: {subject} has several, "
        f"and {seen}. Labels and the order of sessions tell no time. Add to "
        f"{subject}/{subject}_sessions.tsv, in the row of {session}, and to the others a column {column} "
        "(years at the visit, or a date acq_time), or give a table with the columns participant_id, session_id and "
        f"{column} with --ages TABLE."
    )
