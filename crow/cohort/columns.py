"""The columns of a table, each read once as what it is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import pandas as pd

from crow.cohort import catalogue, names
from crow.cohort.dates import DateOrder, is_dates, parse_dates
from crow.cohort.findings import Findings, at_lines
from crow.cohort.number_marks import Marks
from crow.cohort.options import listed
from crow.cohort.times import MISSING_TIMES, AgeUnit, TimeKind, own_times
from crow.cohort.values import Numbers, is_blank, numbers, parsed
from crow.cohort.visit_codes import VisitCodes
from crow.errors import CohortError

Code = float | str


class Columns:
    """A frame of text cells (indexed by line), read as numbers, words or times on demand, indexed by position.

    ``codes`` holds, per column, the numbers and words that mean missing as decided on another table or by a mapping;
    ``missing_codes`` decides it for all other columns, and ``marks`` the decimal and thousands marks of a column.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        path: str,
        *,
        decimal: str = ".",
        mixed: bool = False,
        adni: bool = False,
        missing_codes: Sequence[Code] | None = None,
        codes: Mapping[str, Sequence[Code]] | None = None,
        only_codes: bool = False,
        marks: Mapping[str, Marks] | None = None,
        places: Mapping[int, str] | None = None,
    ) -> None:
        self.frame = frame.reset_index(drop=True)
        self.lines = frame.index.to_numpy()
        self.path = path
        self.decimal = decimal
        self.adni = adni
        self._mixed = mixed
        self._missing_codes = missing_codes
        self._codes = codes or {}
        self._only_codes = only_codes
        self._marks = marks or {}
        self._places = places or {}
        self.cells = lru_cache(maxsize=None)(self._cells)
        self.numbers = lru_cache(maxsize=None)(self._numbers)
        self.parsed = lru_cache(maxsize=None)(lambda name: parsed(self.cells(name)))
        self._words = lru_cache(maxsize=None)(self._text)
        self.is_dates = lru_cache(maxsize=None)(self._is_dates)

    def at(self, line: int) -> str:
        """``table.csv, line 7``, or ``tree, sub-01 ses-02``."""
        return f"{self.path}, {self._places.get(line, f'line {line}')}"

    @property
    def names(self) -> list[str]:
        return list(self.frame.columns)

    def __contains__(self, name: str) -> bool:
        return name in self.frame.columns

    def words(self, name: str) -> pd.Series:
        """The cells as text, None where missing."""
        return self._words(name)

    def bounds(self, name: str) -> pd.Series:
        """Whether a cell is a bound such as ``89+``."""
        return pd.Series(self.frame.index.isin(self.numbers(name).bounds), self.frame.index)

    def is_empty(self, name: str) -> bool:
        return self.numbers(name).filled == 0

    def is_same(self, name: str) -> bool:
        """Whether all filled cells are equal."""
        filled = self.filled(name)
        return bool(filled.min() == filled.max()) if self.is_number(name) else filled.nunique() < 2

    def is_number(self, name: str) -> bool:
        return self.numbers(name).is_number

    def filled(self, name: str) -> pd.Series:
        """The cells that are not missing, as numbers if the column is one of numbers, else as text."""
        return self.numbers(name).values.dropna() if self.is_number(name) else self.words(name).dropna()

    def codes(self, name: str) -> list[Code]:
        """The numbers and words that mean missing in a column."""
        read = self.numbers(name)
        return [*read.codes, *read.words.unique()] if read.is_number else []

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

    def checked(self, name: str, findings: Findings) -> pd.Series:
        """One column as finite floats; see `check`."""
        self.check([name], findings)
        return self.numbers(name).values

    def check(self, among: Iterable[str], findings: Findings, times: Mapping[str, TimeKind] | None = None) -> None:
        """Findings about the numbers of some columns: bounds, codes, words, marks; ``times`` are those that hold times.

        Raises CohortError for text and for infinite values, with the lines of all columns at once.
        """
        read = {name: self.numbers(name) for name in among}
        for name, kind in (times or {}).items():
            read[name] = numbers(self.cells(name), self.decimal, codes=MISSING_TIMES[kind])
        self._refuse_text({name: one.text for name, one in read.items() if len(one.text)})
        for name, one in read.items():
            if one.infinite:
                raise CohortError(
                    f"{self.path}, column {name}: infinite values in "
                    f"{at_lines(self.lines[one.infinite], self._places)}. Empty the cells, or leave the column out "
                    f"with --exclude '{name}'."
                )
        for name, one in read.items():
            self._report(name, one, findings)
        self._report_words(read, findings)
        self._report_marks(read, findings)

    def _refuse_text(self, texts: Mapping[str, pd.Series]) -> None:
        if not texts:
            return
        name, text = next(iter(texts.items()))
        first, *others = self.lines[text.index]
        also = f", also in {at_lines(others, self._places)}" if others else ""
        more = "".join(
            f" Column {other}: {listed(map(repr, cells.unique()), 4)} in "
            f"{at_lines(self.lines[cells.index], self._places)}."
            for other, cells in list(texts.items())[1:]
        )
        words = listed((f"--missing-code {word!r}" for word in dict.fromkeys(pd.concat(texts.values()))), 3)
        raise CohortError(
            f"{self.at(first)}, column {name}: found {text.iloc[0]!r} where a number is needed{also}.{more} "
            f"Correct or empty the cells, read the words as missing with {words}, or leave the columns out with "
            f"--exclude '{','.join(texts)}'."
        )

    def _cells(self, name: str) -> pd.Series:
        return self.frame[name]

    def _numbers(self, name: str) -> Numbers:
        codes = self._codes.get(name, () if self._only_codes else self._missing_codes)
        return numbers(
            self.cells(name),
            self.decimal,
            self.adni,
            codes,
            time=names.is_time(name),
            mixed=self._mixed,
            find_far=not names.is_label(name),
            marks=self._marks.get(name),
            plain=self.parsed(name),
        )

    def _text(self, name: str) -> pd.Series:
        cells = self.cells(name)
        return cells.mask(is_blank(cells, self.parsed(name)), None)

    def _is_dates(self, name: str) -> bool:
        return (names.is_date(name) or not self.is_number(name)) and is_dates(self.cells(name))

    def _report(self, name: str, read: Numbers, findings: Findings) -> None:
        if read.bounds:
            example = self.cells(name)[read.bounds[0]]
            findings.add(catalogue.CENSORED, name, self.lines[read.bounds], example=example)
        if (units := read.units) is not None:
            other = f" and converted from {listed(units.converted)}" if units.converted else ""
            findings.add(catalogue.UNITS, name, example=units.example, unit=units.unit, other=other)
        if read.impossible:
            values = listed(self.cells(name)[read.impossible].unique(), 3)
            findings.add(catalogue.IMPOSSIBLE_NUMBER, name, self.lines[read.impossible], values=values)
        for kind, codes in (
            (catalogue.MISSING_CODE, set(read.codes) - set(read.far)),
            (catalogue.UNDECLARED_CODE, set(read.far)),
        ):
            coded = read.coded[read.coded.isin(codes)]
            if len(coded):
                findings.add(kind, name, self.lines[coded.index], codes=_codes(sorted(coded.unique(), reverse=True)))
        if read.doubtful:
            findings.add(catalogue.DOUBTFUL_CODE, name, codes=_codes(read.doubtful), first=f"{read.doubtful[0]:g}")

    def _report_words(self, read: Mapping[str, Numbers], findings: Findings) -> None:
        worded = {name: one.words for name, one in read.items() if len(one.words)}
        if not worded:
            return
        rows = sorted({row for words in worded.values() for row in words.index})
        cells = "; ".join(f"{name}: {listed(map(repr, words.unique()), 4)}" for name, words in list(worded.items())[:8])
        more = f" and {len(worded) - 8} more columns" if len(worded) > 8 else ""
        findings.add(
            catalogue.TEXT_CODE, next(iter(worded)) if len(worded) == 1 else None, self.lines[rows], cells=cells + more
        )

    def _report_marks(self, read: Mapping[str, Numbers], findings: Findings) -> None:
        by_mark: dict[str, list[str]] = defaultdict(list)
        examples: dict[str, str] = {}
        for name, one in read.items():
            marks = one.marks
            cells = self.cells(name)
            if marks.decimal == ",":
                by_mark[","].append(name)
            elif one.has_decimals:
                by_mark["."].append(name)
            if marks.thousands:
                example = next((cell for cell in cells if any(mark in cell for mark in marks.thousands)), "")
                examples[name] = f"{example} is {marks.plain(example)}"
            if marks.doubtful is not None:
                findings.add(catalogue.AMBIGUOUS_MARK, name, example=marks.doubtful, value=marks.plain(marks.doubtful))
        if by_mark[","] and by_mark["."]:
            findings.add(catalogue.MIXED_DECIMALS, commas=listed(by_mark[","]), points=listed(by_mark["."]))
        elif by_mark[","]:
            findings.add(catalogue.DECIMAL_COMMA, names=listed(by_mark[","]))
        if examples:
            findings.add(catalogue.THOUSANDS, names=listed(examples), examples=next(iter(examples.values())))


def _codes(codes: Iterable[Code]) -> str:
    return ", ".join(code if isinstance(code, str) else f"{code:g}" for code in codes)
