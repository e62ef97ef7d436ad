"""Cells as numbers: what means missing, what is a bound, and what is neither."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crow.cohort.missing_codes import find_codes
from crow.cohort.number_marks import Marks, find_marks
from crow.cohort.parameters import MAX_NUMBER, MAX_TEXT_CODES, MIN_CODED_NUMBER_SHARE, MIN_NUMBER_SHARE

BLANKS = frozenset({"", "na", "n/a", "nan", ".", "xx", "null", "#n/a", "<na>", "?"})
NUMBER_BLANKS = BLANKS | {"none", "missing", "unknown", "-", "--"}
WORDS_FOR_MISSING = frozenset({
    "n.v.", "n.a.", "n.b.", "n.d.", "nd", "n/d", "nv", "k.a.", "k. a.", "ka", "keine angabe", "nicht vorhanden", "fehlt", "fehlend",
    "nicht durchgeführt", "not done", "notdone", "not available", "not applicable", "not assessed", "not tested", "not collected",
    "not measured", "no data", "nodata", "no value", "not known", "miss", "missing data", "refused", "declined", "unable", "failed",
    "fail", "error", "#value!", "#ref!", "#div/0!", "#null!", "#num!", "#name?", "inconnu", "manquant", "non fait", "non disponible",
    "sin dato", "sin datos", "no disponible", "no realizado", "desconocido", "pending", "tbd", "not analysed", "not analyzed",
})  # fmt: skip
"""Words that mean missing in a column of numbers; they are reported."""
BOUND = re.compile(r"\s*(?:[<>≤≥]=?\s*([^<>≤≥+]+)|([^<>≤≥+]+?)\s*(?:\+|or (?:older|above|more)))\s*")


@dataclass(frozen=True)
class Numbers:
    """A column as floats (NaN where missing), and the positions of the cells that were not plain numbers.

    ``text`` could not be read; ``words`` mean missing; ``bounds`` (``>1700``, ``89+``) were read as the number; ``coded`` held
    one of ``codes`` (the values), of which ``far`` were detected by their distance; ``impossible`` were beyond any measurement and are
    missing, too.
    """

    values: pd.Series
    text: pd.Series
    words: pd.Series
    bounds: list[int]
    coded: pd.Series
    codes: tuple[float, ...]
    far: tuple[float, ...]
    doubtful: tuple[float, ...]
    impossible: list[int]
    marks: Marks = field(default_factory=Marks)

    @property
    def filled(self) -> int:
        """Cells that hold something."""
        return int(self.values.notna().sum()) + len(self.text)

    @property
    def is_number(self) -> bool:
        """Whether the column holds numbers, though some cells may be text by mistake or by a few words."""
        known = int(self.values.notna().sum())
        if not known:
            return False
        repeated = len(self.text) and self.text.nunique() <= min(MAX_TEXT_CODES, len(self.text) - 1)
        coded = bool(repeated) and not self.text.str.contains(r"\d", regex=True).any()
        several = self.values.nunique() > MAX_TEXT_CODES
        return known >= (MIN_CODED_NUMBER_SHARE if coded and several else MIN_NUMBER_SHARE) * self.filled

    @property
    def infinite(self) -> list[int]:
        return list(self.values.index[np.isinf(self.values)])


def numbers(
    cells: pd.Series,
    decimal: str = ".",
    adni: bool = False,
    codes: Iterable[float | str] | None = None,
    *,
    time: bool = False,
    mixed: bool = False,
    find_far: bool = True,
    marks: Marks | None = None,
) -> Numbers:
    """Read a column of stripped text as numbers.

    ``codes`` are the numbers and words that mean missing; without them, `crow.cohort.missing_codes` finds the numbers
    (``time``: a column of times; ``find_far``: also those far from all others). ``marks`` separate decimals and thousands;
    without them, they are found from the cells and from ``decimal``, the mark of the table (``mixed``: it has both).
    """
    given = None if codes is None else list(codes)
    named = {code.lower() for code in given or () if isinstance(code, str)}
    values = pd.to_numeric(cells, errors="coerce").astype(float)
    unread = values.isna() & ~_among(cells, NUMBER_BLANKS)
    spelled = cells[unread].unique()
    if marks is None:
        marks = find_marks([*spelled, *_pointed(cells, unread, decimal)], decimal, mixed)
    if marks.thousands and "." in marks.thousands:
        unread |= cells.str.contains(".", regex=False)
        spelled = cells[unread].unique()
    read = {cell: _read(cell, marks) for cell in spelled}
    found = cells[unread].map({cell: value for cell, (value, _) in read.items()}).astype(float)
    values = values.where(~unread, found.reindex(cells.index)) if len(found) else values
    bounds = cells.index[unread & cells.isin([cell for cell, (_, bound) in read.items() if bound])]
    unread &= values.isna()
    word = unread & cells.isin([cell for cell in spelled if cell.lower() in named | WORDS_FOR_MISSING])
    impossible = values.index[(values.abs() > MAX_NUMBER) & np.isfinite(values)]
    values[impossible] = np.nan
    usual, far, doubtful = (
        find_codes(values, adni, time) if given is None else ([c for c in given if not isinstance(c, str)], (), ())
    )
    if not find_far:
        far = ()
    means = (*usual, *far)
    coded = values.isin(means)
    return Numbers(
        values.mask(coded), cells[unread & ~word], cells[word], list(bounds), values[coded], tuple(means), far,
        tuple(doubtful), list(impossible), marks,
    )  # fmt: skip


def is_blank(cells: pd.Series) -> pd.Series:
    """Where a text cell is missing."""
    return _among(cells, BLANKS)


def _among(cells: pd.Series, words: frozenset[str]) -> pd.Series:
    return cells.isin([cell for cell in cells.unique() if isinstance(cell, str) and cell.lower() in words])


def _pointed(cells: pd.Series, unread: pd.Series, decimal: str) -> list[str]:
    """The different cells that were read, of a table with decimal commas or a column with a comma: they may be thousands."""
    return list(cells[~unread].unique()) if decimal == "," or unread.any() else []


def _read(cell: str, marks: Marks) -> tuple[float, bool]:
    """The number in a cell (NaN for text), and whether it is a bound."""
    match = BOUND.fullmatch(cell)
    bare = (match[1] or match[2]).strip() if match else cell
    try:
        return float(marks.plain(bare).replace("_", "x")), match is not None
    except ValueError:
        return float("nan"), False
