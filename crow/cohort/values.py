"""Cells as numbers: what means missing, what is censored, and what is neither."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

BLANKS = frozenset({"", "na", "n/a", "nan", ".", "xx", "null", "#n/a", "<na>", "?"})
NUMBER_BLANKS = BLANKS | {"none", "missing", "unknown", "-", "--"}
MISSING_CODES = (-1.0, -4.0, -99.0, -999.0, -9999.0)
CENSORED = r"\s*[<>]=?\s*"
MOSTLY = 0.8


@dataclass(frozen=True)
class Numbers:
    """A column as floats (NaN where missing), and the lines that were not plain numbers.

    ``text`` could not be read, ``censored`` (``>1700``) were read as their bound, ``coded`` held one of ``codes``.
    """

    values: pd.Series
    text: pd.Series
    censored: list[int]
    coded: list[int]
    codes: tuple[float, ...]
    doubtful: tuple[float, ...]

    @property
    def filled(self) -> int:
        """Cells that hold something."""
        return int(self.values.notna().sum()) + len(self.text)

    @property
    def is_number(self) -> bool:
        """Whether the column is one of numbers, though some cells may be text by mistake."""
        return self.filled > 0 and int(self.values.notna().sum()) >= MOSTLY * self.filled

    @property
    def infinite(self) -> list[int]:
        return list(self.values.index[np.isinf(self.values)])


def numbers(cells: pd.Series, decimal: str = ".", adni: bool = False, codes: Iterable[float] | None = None) -> Numbers:
    """Read a column of stripped text as numbers; ``codes`` are the numbers that mean missing (default: see below).

    Without ``codes``, -1, -4, -99, -999 and -9999 mean missing where they cannot be values: no other number of the
    column is negative, and the table is ADNI's, or the others are all positive, or are counts that reach 5. Where that
    leaves a doubt they stay, and are listed as ``doubtful``.
    """
    plain = cells.str.replace(",", ".", regex=False) if decimal == "," else cells
    values = pd.to_numeric(plain, errors="coerce").astype(float)
    unread = values.isna() & ~_among(cells, NUMBER_BLANKS)
    censored: list[int] = []
    if unread.any():
        bare = plain[unread].str.replace(CENSORED, "", n=1, regex=True)
        bounds = pd.to_numeric(bare, errors="coerce").astype(float).dropna()
        values = values.where(values.notna(), bounds)
        censored = list(bounds.index)
        unread &= values.isna()
    means, doubtful = (tuple(codes), ()) if codes is not None else _codes(values, adni)
    coded = values.isin(means)
    return Numbers(values.mask(coded), cells[unread], censored, list(values.index[coded]), means, doubtful)


def is_blank(cells: pd.Series) -> pd.Series:
    """Where a text cell is missing."""
    return _among(cells, BLANKS)


def _among(cells: pd.Series, words: frozenset[str]) -> pd.Series:
    return cells.isin([cell for cell in cells.unique() if isinstance(cell, str) and cell.lower() in words])


def _codes(values: pd.Series, adni: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    negative = values[values < 0]
    if negative.empty or not negative.isin(MISSING_CODES).all():
        return (), ()
    found = tuple(sorted(set(negative), reverse=True))
    others = values[values >= 0]
    if others.empty:
        return (), ()
    positive = bool((others > 0).all())
    counts = bool((others % 1 == 0).all()) and others.max() >= 5
    return (found, ()) if adni or positive or counts else ((), found)
