"""A BIDS tree as a table of its visits: subject, time, what the tree's tables tell, and one scan each."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from crow.cohort.bids_files import NATIVE, BidsFile, choose, find_files
from crow.cohort.bids_tables import (
    ACQUIRED,
    KEYS,
    MAX_YEARS_APART,
    SESSION,
    SUBJECT,
    SubjectTable,
    read_acquired,
    read_sessions,
    read_subjects,
    sessions_sidecars,
    shifted_apart,
)
from crow.cohort.catalogue import BIDS, SESSION_WITHOUT_SCAN
from crow.cohort.columns import Columns
from crow.cohort.descriptions import Descriptions, age_units, described
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

    The time is that of the first table that has one: ``ages``, else sessions.tsv, scans.tsv, participants.tsv, also of
    the raw tree of a derivative. The JSON files beside them give units. With ``schema`` the columns get its names.
    Raises CohortError if no scan or several kinds are found, and if no table tells the time.
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
    frame, sources, descriptions = _read_tables(tree, options, visits, list(chosen.values()), findings)
    layout = Layout("bids", subject=SUBJECT, session=SESSION, age_units=age_units(list(frame.columns), descriptions))
    source = _source(tree, frame, sources, layout, options, schema)
    frame = frame.reset_index().assign(**{SCAN: [os.path.abspath(file.path) for file in chosen.values()]})
    if schema is not None:
        renamed = {SUBJECT: schema.subject, SESSION: schema.session or SESSION, SCAN: schema.scan or SCAN}
        frame = frame.rename(columns=renamed)
    found = f"{len(visits):,} {bids.suffix} scans of {len(visits.unique(SUBJECT)):,} subjects"
    findings.add(BIDS, found=found, source=source.name)
    table = Table(
        str(tree),
        frame.astype(object).set_axis(pd.RangeIndex(1, len(frame) + 1, name="line")),
        layout=replace(layout, clocks=tuple(source.columns)),
        bids=bids,
        places={line: " ".join(visit).strip() for line, visit in enumerate(visits, 1)},
    )
    return described(table, descriptions)


class _Source(NamedTuple):
    """Where a time could come from: columns that may differ between visits; ``but`` tells what is wrong with them."""

    name: str
    columns: list[str]
    but: str = ""


class _Tables(NamedTuple):
    """What the tables of a tree tell: a frame of the visits, the sources of time in order, and the columns' units."""

    frame: pd.DataFrame
    sources: list[_Source]
    descriptions: Descriptions


def _read_tables(
    tree: Path, options: ReadOptions, visits: pd.MultiIndex, files: list[BidsFile], findings: Findings
) -> _Tables:
    """Everything that the tables tell of the visits; if several do, the first."""
    folders = [tree, *(above.parent for above in tree.absolute().parents if above.name == "derivatives")]
    nothing = SubjectTable(pd.DataFrame(), pd.DataFrame())
    ages = read_subjects(options.ages, visits, findings) if options.ages else nothing
    participants = next((path for folder in folders if os.path.lexists(path := folder / "participants.tsv")), None)
    subjects = read_subjects(participants, visits, findings) if participants else nothing
    sessions = read_sessions(folders, visits, findings)
    by_visit = {
        "the table of ages": ages.by_visit,
        "sessions.tsv": sessions,
        "scans.tsv": read_acquired(folders, files, findings),
        "participants.tsv": subjects.by_visit,
    }
    if others := len(sessions.index.difference(visits)) if len(sessions) else 0:
        findings.add(SESSION_WITHOUT_SCAN, count=others)
    frame = pd.DataFrame(index=visits)
    sources = []
    for name, table in by_visit.items():
        columns = [column for column in table.columns if column not in frame and column != SCAN]
        frame[columns] = table.reindex(visits)[columns]
        sources.append(_sound(_Source(name, columns), frame))
    frame = frame.fillna("").drop(columns=[ACQUIRED] if any(source.but for source in sources) else [])
    alone = ~frame.index.get_level_values(SUBJECT).duplicated(keep=False)
    for table in (ages.by_subject, subjects.by_subject):
        same = table.reindex(visits.get_level_values(SUBJECT)).set_axis(visits).fillna("")
        for column in same.columns.drop(SCAN, errors="ignore"):
            known = frame.get(column, pd.Series("", visits, dtype=object))
            frame[column] = known.where((known != "") | ((column in frame) & ~alone), same[column])
    descriptions = sessions_sidecars(folders, visits, findings) | subjects.descriptions | ages.descriptions
    return _Tables(frame, sources[:1] if options.ages else sources[1:], descriptions)


def _sound(source: _Source, frame: pd.DataFrame) -> _Source:
    if ACQUIRED not in source.columns or (subject := shifted_apart(frame[ACQUIRED].fillna(""))) is None:
        return source
    but = f" (the acq_time of {subject} lies more than {MAX_YEARS_APART} years apart: shifted visit by visit)"
    return _Source(source.name, [name for name in source.columns if name != ACQUIRED], but)


def _source(
    tree: Path,
    frame: pd.DataFrame,
    sources: list[_Source],
    layout: Layout,
    options: ReadOptions,
    schema: Schema | None,
) -> _Source:
    """The first source that tells the time, or a column of one time if every subject has one session."""
    wanted = schema.time if schema else options.time
    if wanted == SESSION or (schema and wanted == schema.session):
        return _Source("the labels of the sessions, as asked", [SESSION])
    columns = Columns(frame.reset_index(), str(tree))
    first = frame.groupby(level=SUBJECT).transform("first")
    for source in sources:
        if wanted is None and tells_time(columns, source.columns, SUBJECT, layout, options):
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
