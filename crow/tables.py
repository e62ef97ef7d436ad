"""Tables that crow writes: .csv or .tsv, in which no cell is a formula that a spreadsheet would run."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

FORMULA = re.compile(r"[=@\t\r]|[+-].*[(|!]", re.DOTALL)
"""What a spreadsheet would run: ``=1+1``, ``+cmd|' /C calc'!A0``; not ``-4``, ``+/-`` or ``-/-``."""


def save_table(
    table: pd.DataFrame, path: Path, ending: str, digits: int | None = 8, append: bool = False, separator: str = ",",
    decimal: str = ".",
) -> None:  # fmt: skip
    """Write a table into ``path`` in the format of ``ending``: a header and one line per row.

    Parameters
    ----------
    table : DataFrame
        Written without its index.
    path : Path
        The file, which may have any name while it is incomplete.
    ending : str
        ``.tsv`` for tabs; ``separator`` otherwise.
    digits : int
        Significant digits of numbers; all of them if None.
    append : bool
        Add the rows to those that the file has.
    separator, decimal : str
        The conventions of the table that was read: see `crow.cohort.writing.conventions`.
    """
    separator = "\t" if ending.lower() == ".tsv" else separator
    safe = without_formulas(table)
    safe.to_csv(
        path, index=False, sep=separator, float_format=None if digits is None else f"%.{digits}g", lineterminator="\n",
        mode="a" if append else "w", header=not append, encoding="utf-8", errors="surrogateescape", decimal=decimal,
    )  # fmt: skip


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before every text that a spreadsheet would run as a formula.

    Examples
    --------
    >>> without_formulas(pd.DataFrame({"subject": ["=1+1", "-4", "s1"]}))["subject"].tolist()
    ["'=1+1", '-4', 's1']
    """
    safe = table.rename(columns=_safe)
    for k in range(table.shape[1]):
        column = table.iloc[:, k]
        if not pd.api.types.is_numeric_dtype(column) and any(_safe(cell) is not cell for cell in column):
            safe.isetitem(k, [_safe(cell) for cell in column])
    return safe


def with_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The reverse of `without_formulas`, for a table of crow that was read back as text.

    Examples
    --------
    >>> with_formulas(pd.DataFrame({"subject": ["'=1+1", "s1"]}))["subject"].tolist()
    ['=1+1', 's1']
    """
    text = table.select_dtypes(exclude="number").columns
    return table.assign(**{name: table[name].map(_unsafe) for name in text}).rename(columns=_unsafe)


def _unsafe(cell: object) -> object:
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and FORMULA.match(cell[1:]) else cell


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell
