"""The tables of a cohort, or a BIDS tree, as one table with its layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crow.cohort.bids import read_tree
from crow.cohort.descriptions import described, sidecar_of, without_second_header
from crow.cohort.findings import Findings
from crow.cohort.join import join_tables
from crow.cohort.layouts import read_layout
from crow.cohort.options import ReadOptions, listed
from crow.cohort.schema import Schema
from crow.cohort.table import Table, read_table
from crow.errors import CohortError

OF_TREES = ("suffix", "space", "desc", "ages")
OF_SCANS = ("scan", "scan_root")


def load(paths: Sequence[Path], options: ReadOptions, schema: Schema | None, findings: Findings) -> Table:
    """One table of the cohort: the only one, or several joined by subject and visit.

    Raises CohortError for a file that is no table, for tables that do not fit together, and for flags that belong to a
    tree but were given for a table, or the other way round.
    """
    trees = [path for path in paths if path.is_dir()]
    foreign = (() if len(paths) > len(trees) else OF_SCANS) if trees else OF_TREES
    if given := [f"--{name.replace('_', '-')}" for name in foreign if getattr(options, name) is not None]:
        kind = "a folder, and is for a table" if trees else "no folder, and is for a BIDS tree"
        raise CohortError(f"{paths[0]}: {listed(given)} was given, but the path is {kind}. Leave it out.")
    if trees and schema is not None and schema.scan is None:
        raise CohortError(
            f"{trees[0]}: a folder, but the run was trained on regions without scans. Give a table of them."
        )
    tables = [_load_one(path, options, schema, findings) for path in paths]
    return tables[0] if len(tables) == 1 else join_tables(tables, options, findings)


def _load_one(path: Path, options: ReadOptions, schema: Schema | None, findings: Findings) -> Table:
    if path.is_dir():
        return read_tree(path, options, schema, findings)
    table, rows = without_second_header(read_table(path, findings), findings)
    return described(read_layout(table, findings), rows | sidecar_of(path, findings))
