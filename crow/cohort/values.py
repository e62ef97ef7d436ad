"""Cells as numbers: what means missing, what is a bound, and what is neither."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.missing_codes import find_codes
from crow.cohort.number_marks import Marks, find_marks
from crow.cohort.parameters import MAX_NUMBER, MAX_TEXT_CODES, MIN_CODED_NUMBER_SHARE, MIN_NUMBER_SHARE
from crow.cohort.written_numbers import Units, plain_numbers

BLANKS = frozenset({"", "na", "n/a", "nan", ".", "xx", "null", "#n/a", "<na>", "?"})
NUMBER_BLANKS = BLANKS | {"none", "missing", "unknown", "-", "--", "---", "----", "–", "—", "*", "**"}
WORDS_FOR_MISSING = frozenset({
    "n.v.", "n.a.", "n.b.", "n.d.", "nd", "n/d", "nv", "k.a.", "k. a.", "ka", "keine angabe", "nicht vorhanden",
    "fehlt", "fehlend", "nicht durchgeführt", "not done", "notdone", "not available", "not applicable",
    "not assessed", "not tested", "not collected", "not measured", "no data", "nodata", "no value", "not known",
    "miss", "missing data", "refused", "declined", "unable", "failed", "fail", "error", "#value!", "#ref!",
    "#div/0!", "#null!", "#num!", "#name?", "inconnu", "manquant", "non fait", "non disponible", "sin dato",
    "sin datos", "no disponible", "no realizado", "desconocido", "pending", "tbd", "not analysed", "not analyzed",
    "nicht erhoben", "nicht auswertbar", "nicht bekannt", "unbekannt", "ausstehend", "n. a.", "n. v.", "n. b.", "na.",
    "n.r.", "nr", "np", "non renseigné", "pas fait", "inconnue", "no aplica", "s/d", "non disponibile", "non noto",
    "mancante", "onbekend", "niet gedaan", "ontbreekt", "não disponível", "não realizado", "sem dados", "(null)",
    "\\n", "na_real_", "na_integer_", "-nan", "nan%", "1.#ind", "-1.#ind", "1.#qnan", "1.#inf", "..", "...",
    "#nv", "#wert!", "#bezug!", "#zahl!", "#valeur!", "#n/d", "#nombre!", "#nom?", "#valor!", "#num?", "#div/0",
    "#¡div/0!", "#¡valor!", "excluded", "qc fail", "qc failed",
})  # fmt: skip
"""Words that mean missing in a column of numbers; they are reported."""
AT_ONCE = 4096  # cells that are read together, so that they stay near the processor
MORE = r"older|above|over|more|up|greater|higher|below|less|younger|under"
LIMIT = rf"over|above|under|below|at least|at most|up to|(?:{MORE}) than|über|unter|ab|älter als|plus de"
YEARS = r"(?:\s*(?:years?|yrs?|y|jahre?|ans?)(?:\s*(?:old|of age))?)?"
BOUND = re.compile(
    rf"\s*(?:(?:[<>≤≥]=?|(?:{LIMIT})\s)\s*([^<>≤≥+]+?){YEARS}|([^<>≤≥+]+?){YEARS}\s*(?:\+|plus|(?:or|and|&|und|et)\s+(?:{MORE})){YEARS})\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Numbers:
    """A column as floats (NaN where missing), and the positions of the cells that were not plain numbers.

    ``text`` could not be read; ``words`` mean missing; ``bounds`` (``>1700``, ``89+``) were read as the number;
    ``coded`` had one of ``codes`` (the values), of which ``far`` were detected by their distance; ``impossible`` were
    beyond any measurement and are missing, too. ``units`` are those in the cells.
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
    units: Units | None = None

    @cached_property
    def filled(self) -> int:
        """Cells that hold something."""
        return int(self.values.notna().sum()) + len(self.text)

    @cached_property
    def has_decimals(self) -> bool:
        """Whether a number is not whole."""
        values = self.values.to_numpy()
        known = values[~np.isnan(values)]
        return bool((np.floor(known) != known).any())

    @cached_property
    def is_number(self) -> bool:
        """Whether the column holds numbers, though some cells may be text by mistake or by a few words."""
        known = int(self.values.notna().sum())
        if not known:
            return False
        repeated = len(self.text) and self.text.nunique() <= min(MAX_TEXT_CODES, len(self.text) - 1)
        coded = bool(repeated) and not self.text.str.contains(r"\d", regex=True).any()
        coded = coded and self.values.nunique() > MAX_TEXT_CODES
        return known >= (MIN_CODED_NUMBER_SHARE if coded else MIN_NUMBER_SHARE) * self.filled

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
    plain: NDArray[np.float64] | None = None,
) -> Numbers:
    """Read a column of stripped text as numbers.

    ``codes`` are the numbers and words that mean missing; without them, `crow.cohort.missing_codes` finds the numbers
    (``time``: a column of times; ``find_far``: also those far from all others). ``marks`` separate decimals and
    thousands; without them, they are found from the cells and from ``decimal``, the mark of the table (``mixed``: both
    marks). ``plain`` is the result of `parsed`, if it is known.
    """
    array = parsed(cells) if plain is None else plain.copy()
    unread = _others(cells, array, NUMBER_BLANKS)
    given, units = cells, None
    if unread.any():
        cells, units = _without_units(cells, unread, array)
    if marks is None:
        marks = _found_marks(cells, unread, decimal, mixed)
    if "." in marks.thousands:
        unread |= cells.str.contains(".", regex=False).to_numpy(bool)
    text, words, bounds = cells[:0], cells[:0], list[int]()
    if unread.any():
        odd = cells[unread]
        read = {cell: _read(cell, marks) for cell in odd.unique()}
        array[unread] = odd.map({cell: value for cell, (value, _) in read.items()}).astype(float)
        if units is not None:
            array[unread] *= given[unread].map(units.factors).fillna(1.0).to_numpy(float)
        bounds = list(odd.index[odd.isin([cell for cell, (_, bound) in read.items() if bound])])
        text = given[unread][np.isnan(array[unread])]
        named = {code.lower() for code in codes or () if isinstance(code, str)} | WORDS_FOR_MISSING
        is_word = text.isin([cell for cell in text.unique() if cell.lower() in named])
        text, words = text[~is_word], text[is_word]
    beyond = (np.abs(array) > MAX_NUMBER) & np.isfinite(array)
    array[beyond] = np.nan
    if codes is None:
        usual, far, doubtful = find_codes(array, adni, time)
        far = far if find_far else ()
    else:
        usual, far, doubtful = tuple(code for code in codes if not isinstance(code, str)), (), ()
    means = (*usual, *far)
    is_coded = np.isin(array, means) if means else np.zeros(len(array), bool)
    coded = pd.Series(array[is_coded], cells.index[is_coded])
    values = pd.Series(np.where(is_coded, np.nan, array), cells.index)
    impossible = list(cells.index[beyond])
    return Numbers(values, text, words, bounds, coded, means, far, doubtful, impossible, marks, units)


def _without_units(
    cells: pd.Series, unread: NDArray[np.bool_], array: NDArray[np.float64]
) -> tuple[pd.Series, Units | None]:
    """The cells without units and signs of other fonts; the same cells if there are none."""
    written, units = plain_numbers(cells[unread], pd.Series(array[~unread]).dropna())
    if not written:
        return cells, None
    changed = cells.copy()
    changed[unread] = cells[unread].map(lambda cell: written.get(cell, cell))
    return changed, units


def _found_marks(cells: pd.Series, unread: NDArray[np.bool_], decimal: str, mixed: bool) -> Marks:
    """The marks of a column; cells that were read count too if they may hold thousands: beside commas."""
    if decimal == "." and not unread.any():
        return Marks()
    return find_marks(cells.unique(), decimal, mixed)


def parsed(cells: pd.Series) -> NDArray[np.float64]:
    """Cells in the spelling of `float` as numbers, NaN for all others."""
    texts, array = cells.to_numpy(), np.empty(len(cells))
    with suppress(TypeError, ValueError):
        for start in range(0, len(texts), AT_ONCE):
            array[start : start + AT_ONCE] = _floats(texts[start : start + AT_ONCE].tolist())
        return array
    places, different = pd.factorize(cells, use_na_sentinel=False)
    return pd.to_numeric(pd.Series(different), errors="coerce").to_numpy(float)[places]


def _floats(texts: list[str]) -> list[float]:
    """Numbers, NaN for empty text; ValueError if one is not spelled as in a table."""
    joined = "".join(texts)
    if not joined.isascii() or "_" in joined:
        raise ValueError
    return list(map(float, [text or "nan" for text in texts]))


def is_blank(cells: pd.Series, plain: NDArray[np.float64] | None = None) -> pd.Series:
    """Where a text cell is missing; ``plain`` is the result of `parsed`, if it is known."""
    array = parsed(cells) if plain is None else plain
    return pd.Series(np.isnan(array) & ~_others(cells, array, BLANKS), cells.index)


def _others(cells: pd.Series, array: NDArray[np.float64], blanks: frozenset[str]) -> NDArray[np.bool_]:
    """Where a cell is neither a number nor one of ``blanks``."""
    other = np.isnan(array)
    if not other.any():
        return other
    words = cells[other]
    different = words.unique()
    missing = [cell for cell in different if not isinstance(cell, str) or cell.lower() in blanks]
    if len(missing) == len(different):
        return np.zeros_like(other)
    if missing:
        other[other] = ~words.isin(missing).to_numpy(bool)
    return other


def _read(cell: str, marks: Marks) -> tuple[float, bool]:
    """The number in a cell (NaN for text), and whether it is a bound."""
    match = BOUND.fullmatch(cell)
    bare = (match[1] or match[2]).strip() if match else cell
    try:
        return float(marks.plain(bare).replace("_", "x")), match is not None
    except ValueError:
        return float("nan"), False
