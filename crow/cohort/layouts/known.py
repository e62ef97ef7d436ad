"""What a file of this folder has: how its tables are recognised, and how they become plain ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from crow.cohort.findings import Findings
from crow.cohort.names import normal
from crow.cohort.table import Table
from crow.cohort.values import is_blank

MOST = 0.9
FIRST_ROWS = 30


@dataclass(frozen=True)
class KnownTable:
    """A kind of table. ``recognise`` looks at names and values.

    ``read`` returns the table as one with a row per visit and a name per column, and with its ``layout``. What it
    returns is not recognised again, so that a table that was written from it is read as it stands.
    """

    title: str
    recognise: Callable[[Table], bool]
    read: Callable[[Table, Findings], Table]


def by_name(table: Table) -> dict[str, str]:
    """The columns of a table by their normal name, the first of each."""
    return {normal(name): name for name in reversed(table.header)}


def present(names: Iterable[str], columns: dict[str, str]) -> tuple[str, ...]:
    """Those of some names that a table has, as the table writes them."""
    return tuple(columns[normal(name)] for name in names if normal(name) in columns)


def filled(table: Table, name: str) -> list[str]:
    """The cells of a column that are not missing."""
    cells = table.column(name)
    return list(cells[~is_blank(cells)])


def mostly(table: Table, name: str, pattern: re.Pattern[str]) -> bool:
    """Whether nearly all filled cells of a column look like this; the first rows are asked first."""
    first = [cell for cell in table.column(name).iloc[:FIRST_ROWS] if cell]
    if first and not any(pattern.fullmatch(cell) for cell in first):
        return False
    cells = filled(table, name)
    return bool(cells) and sum(bool(pattern.fullmatch(cell)) for cell in cells) >= MOST * len(cells)
