"""The columns of a table, each read once as what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import pandas as pd

from crow.cohort import names
from crow.cohort.dates import DateOrder, is_dates, parse_dates
from crow.cohort.findings import Findings, at_lines
from crow.cohort.times import AgeUnit, TimeKind, own_times
from crow.cohort.values import Numbers, is_blank, numbers
from crow.cohort.visit_codes import VisitCodes
from crow.errors import CohortError


class Columns:
    """A frame of text cells (indexed by line), read as numbers, words or times on demand, indexed by position.

    ``codes`` holds, per column, the numbers that mean missing as decided on another table; ``missing_codes`` decides it
    for all columns.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        path: str,
        *,
        decimal: str = ".",
        adni: bool = False,
        missing_codes: Sequence[float] | None = None,
        codes: Mapping[str, Sequence[float]] | None = None,
        places: Mapping[int, str] | None = None,
    ) -> None:
        self.frame = frame.reset_index(drop=True)
        self.lines = frame.index.to_numpy()
        self.path = path
        self.decimal = decimal
        self.adni = adni
        self._missing_codes = missing_codes
        self._codes = codes
        self._places = places or {}
        self.numbers = lru_cache(maxsize=None)(self._numbers)
        self.is_dates = lru_cache(maxsize=None)(self._is_dates)

    def at(self, line: int) -> str:
        """``table.csv, line 7``, or ``tree, sub-01 ses-02``."""
        return f"{self.path}, {self._places.get(line, f'line {line}')}"

    @property
    def names(self) -> list[str]:
        return list(self.frame.columns)

    def __contains__(self, name: str) -> bool:
        return name in self.frame.columns

    def cells(self, name: str) -> pd.Series:
        return self.frame[name]

    def words(self, name: str) -> pd.Series:
        """The cells as text, None where missing."""
        cells = self.cells(name)
        return cells.mask(is_blank(cells), None)

    def is_empty(self, name: str) -> bool:
        return self.numbers(name).filled == 0

    def is_number(self, name: str) -> bool:
        return self.numbers(name).is_number

    def filled(self, name: str) -> pd.Series:
        """The cells that are not missing, as numbers if the column is one of numbers, else as text."""
        return self.numbers(name).values.dropna() if self.is_number(name) else self.words(name).dropna()

    def times(
        self,
        name: str,
        kind: TimeKind,
        order: DateOrder | None = None,
        codes: VisitCodes = "plain",
        age_unit: AgeUnit = "years",
    ) -> pd.Series:
        return own_times(self.cells(name), kind, self.decimal, codes, order, age_unit)

    def date_order(self, name: str) -> tuple[DateOrder, bool]:
        """Which of day and month comes first, and whether that is a guess."""
        read = parse_dates(self.words(name).dropna(), day_first=self.decimal == ",")
        return read.order, read.guessed

    def checked(self, name: str, findings: Findings, codes: Sequence[float] | None = None) -> pd.Series:
        """The column as finite floats, with findings for what was censored or coded; ``codes`` mean missing in it.

        Raises CohortError with the lines for text and for infinite values.
        """
        read = self.numbers(name) if codes is None else numbers(self.cells(name), self.decimal, codes=codes)
        if len(read.text):
            first, *others = self.lines[read.text.index]
            also = f", also in {at_lines(others, self._places)}" if others else ""
            raise CohortError(
                f"{self.at(first)}, column {name}: found {read.text.iloc[0]!r} where a number "
                f"is needed{also}. Mend the cell, empty it, or leave the column out with --exclude '{name}'."
            )
        if read.infinite:
            raise CohortError(
                f"{self.path}, column {name}: infinite values in {at_lines(self.lines[read.infinite], self._places)}. "
                f"Empty the cells, or leave the column out with --exclude '{name}'."
            )
        self._say(name, read, findings)
        return read.values

    def _numbers(self, name: str) -> Numbers:
        codes = self._missing_codes if self._codes is None else self._codes.get(name, ())
        return numbers(self.cells(name), self.decimal, self.adni, codes)

    def _is_dates(self, name: str) -> bool:
        return (names.is_date(name) or not self.is_number(name)) and is_dates(self.cells(name))

    def _say(self, name: str, read: Numbers, findings: Findings) -> None:
        if read.censored:
            findings.warning(
                "censored", "a bound such as >1700 was read as the number.", name, self.lines[read.censored]
            )
        if read.coded:
            codes = ", ".join(f"{code:g}" for code in read.codes)
            findings.info("missing-code", f"{codes} was read as missing.", name, self.lines[read.coded])
        if read.doubtful:
            codes = ", ".join(f"{code:g}" for code in read.doubtful)
            findings.warning(
                "negative-code",
                f"{codes} was kept as a value; if it means missing, add --missing-code {read.doubtful[0]:g}.",
                name,
            )
