"""The tables of a cohort, or a BIDS tree, as one table with its layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crow.cohort.bids import read_tree
from crow.cohort.birth import with_ages
from crow.cohort.date_columns import plain_dates
from crow.cohort.descriptions import described, sidecar_of, without_second_header
from crow.cohort.findings import Findings
from crow.cohort.frame import NAME, frame_table
from crow.cohort.join import days_of, join_tables
from crow.cohort.layouts import read_layout
from crow.cohort.options import ReadOptions, listed
from crow.cohort.parts import TablePart
from crow.cohort.schema import Schema
from crow.cohort.table import Table, read_table
from crow.cohort.written_ages import plain_ages
from crow.errors import CohortError

Source = str | Path | pd.DataFrame | TablePart
OF_TREES = ("suffix", "space", "desc", "ages")
OF_SCANS = ("scan", "scan_root")


def load(sources: Sequence[Source], options: ReadOptions, schema: Schema | None, findings: Findings) -> Table:
    """One table of the cohort: the only one, or several joined by subject and visit.

    Raises CohortError for a file that is no table, for tables that do not fit together, and for flags that belong to a
    tree but were given for a table, or the other way round; ConfigError if ``within`` is no window.
    """
    tables = [Path(source) if isinstance(source, str) else source for source in sources]
    trees = [table for table in tables if isinstance(table, Path) and table.is_dir()]
    foreign = (() if len(tables) > len(trees) else OF_SCANS) if trees else OF_TREES
    if given := [f"--{name.replace('_', '-')}" for name in foreign if getattr(options, name) is not None]:
        kind = "a folder, and is for a table" if trees else "no folder, and is for a BIDS tree"
        name = name_of_source(sources[0])
        raise CohortError(f"{name}: {listed(given)} was given, but the path is {kind}. Leave it out.")
    if trees and schema is not None and schema.scan is None:
        raise CohortError(
            f"{trees[0]}: a folder, but the run was trained on regions without scans. Give a table of them."
        )
    if schema is not None and options.within is None:
        options = options.model_copy(update={"within": schema.within})
    if options.within is not None:
        days_of(options.within)  # a window that is none is refused even if a single table needs none
    read = [_load_one(table, options, schema, findings) for table in tables]
    table = read[0] if len(read) == 1 else join_tables(read, options, findings)
    if schema is not None and schema.time_kind == "date":
        options = options.model_copy(update={"time": schema.time, "date_order": schema.date_order})
    return with_ages(table, options, findings)


def name_of_source(source: Source) -> str:
    """The path of a file, or what a DataFrame is called in messages."""
    return NAME if isinstance(source, pd.DataFrame) else str(source)


def _load_one(
    source: Path | pd.DataFrame | TablePart, options: ReadOptions, schema: Schema | None, findings: Findings
) -> Table:
    if isinstance(source, pd.DataFrame):
        return _plain(read_layout(frame_table(source), findings), findings)
    if isinstance(source, TablePart):
        table = described(read_layout(source.table(), findings), source.described | sidecar_of(source.source, findings))
        return _plain(table, findings)
    if source.is_dir():
        return _plain(read_tree(source, options, schema, findings), findings)
    table, rows = without_second_header(read_table(source, findings), findings)
    table = described(read_layout(table, findings), rows | sidecar_of(source, findings))
    return _plain(table, findings)


def _plain(table: Table, findings: Findings) -> Table:
    """The table with dates and ages in one writing."""
    return plain_ages(plain_dates(table, findings), findings)
