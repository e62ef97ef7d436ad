"""A text file as a table of strings that remembers its line numbers."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.catalogue import REPEATED_HEADER, SHORT_ROW, TITLE_ROWS
from crow.cohort.findings import Findings
from crow.cohort.formats import is_sheet, read_sheet
from crow.cohort.header_rows import lines_above, titles
from crow.cohort.layout import Layout
from crow.cohort.parameters import MAX_CELL, MAX_COLUMNS
from crow.cohort.schema import Bids
from crow.cohort.text_file import require_cells, require_file, text_of
from crow.errors import CohortError

COMMA_NUMBER = re.compile(r"\s*[+-]?\d+,\d+\s*")
POINT_NUMBER = re.compile(r"\s*[+-]?\d*\.\d+\s*")
DECIMAL_ROWS = 200
LINES_AT_ONCE = 1000  # so that their cells stay near the processor
MAX_LINE = MAX_CELL
GROUPED_NUMBER = re.compile(r"\s*[+-]?\d{1,3}([.,]\d{3})+\s*")


@dataclass(frozen=True)
class Table:
    """Cells as text: a frame indexed by the line of the file where a row begins (the header is line 1).

    ``decimal`` is the decimal mark; ``mixed`` means that some columns have a comma and others a point. Of a BIDS tree,
    ``layout`` and ``bids`` are known and ``places`` names the visit of each line.
    """

    path: str
    cells: pd.DataFrame
    separator: str = ","
    decimal: str = "."
    mixed: bool = False
    layout: Layout | None = None
    bids: Bids | None = None
    places: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, path: str, header: list[str], rows: list[list[str]], lines: list[int], **facts: Any) -> Table:
        """A table of rows of equal length."""
        array = np.empty((len(rows), len(header)), object)
        array[:] = rows
        return cls(path, _frame(array, header, lines), **facts)

    @property
    def header(self) -> list[str]:
        return list(self.cells.columns)

    def frame(self, names: list[str] | None = None) -> pd.DataFrame:
        """The named columns (default all) as text, stripped, indexed by line."""
        return (self.cells if names is None else self.cells[names]).copy(deep=False)

    def column(self, name: str) -> pd.Series:
        """One column as text, stripped, indexed by line."""
        return self.cells[name]

    def with_frame(self, frame: pd.DataFrame) -> Table:
        """The same table with other columns or rows, a frame of text indexed by line."""
        return replace(self, cells=frame)

    def with_columns(self, columns: Mapping[str, list[str]]) -> Table:
        """The same table with columns more."""
        more = pd.DataFrame(columns, index=self.cells.index, dtype=object)
        return replace(self, cells=pd.concat([self.cells, more], axis=1))


def read_table(path: str | Path, findings: Findings) -> Table:
    """Read a table separated by commas, semicolons, tabs, bars or blanks, in UTF-8, UTF-16 or Windows-1252.

    It may be compressed with gzip; an Excel workbook or a Parquet file is read if its library is installed.

    Raises CohortError for a file that is missing, empty, binary, has no rows, or has rows longer than its header.
    """
    path = Path(path)
    require_file(path)
    require_cells(path)
    if is_sheet(path):
        records, lines = read_sheet(path, findings)
        return table_of_records(str(path), records, lines, ",", True, findings)
    return table_of_text(str(path), text_of(path, findings), findings)


def table_of_text(path: str, text: str, findings: Findings) -> Table:
    """The table in a text; raises CohortError as `read_table`."""
    separator = separator_of(text)
    above = lines_above(text, separator)
    if above:
        findings.add(TITLE_ROWS, rows=range(1, above + 1))
        text = text.split("\n", above)[above]
    if separator == " ":
        text = single_blanks(text)
    blank = has_outer_blanks(text, separator)
    if not blank and (plain := _plain_cells(text, separator)) is not None:
        first, cells = plain
        frame = _frame(cells, _header(path, first, findings), range(above + 2, above + len(cells) + 2))
        return Table(path, frame, separator, *_decimal(cells[:DECIMAL_ROWS].tolist(), separator))
    records, lines = _records(path, text, separator)
    if len(records) > 1 and all(len(record) == 1 and "," in record[0] for record in records):
        return table_of_text(path, "\n".join(record[0] for record in records), findings)  # quotes around whole rows
    return table_of_records(path, records, [line + above for line in lines], separator, blank, findings)


def table_of_records(
    path: str, records: list[list[str]], lines: list[int], separator: str, blank: bool, findings: Findings
) -> Table:
    if blank:
        records = [[cell.strip() for cell in record] for record in records]
    if not records:
        raise CohortError(f"{path}: no cell has text; a header and one row per visit are needed.")
    if above := titles(records):
        findings.add(TITLE_ROWS, rows=lines[:above])
        records, lines = records[above:], lines[above:]
    names = records[0]
    if len(records) > 1 and all(len(record) == len(names) + 1 and record[-1] for record in records[1:]):
        names = ["rownames", *names]  # R writes no name above the names of rows
    header = _header(path, names, findings)
    rows, lines = _rows(path, header, records[1:], lines[1:], findings)
    decimal, mixed = _decimal(rows, separator)
    return Table.of(path, header, rows, lines, separator=separator, decimal=decimal, mixed=mixed)


def _frame(array: NDArray[np.object_], header: list[str], lines: Sequence[int]) -> pd.DataFrame:
    """Cells ``[row, column]`` as a frame whose columns are contiguous."""
    return pd.DataFrame(np.asfortranarray(array), pd.Index(lines, name="line"), header, dtype=object, copy=False)


def _plain_cells(text: str, separator: str) -> tuple[list[str], NDArray[np.object_]] | None:
    """The header and the cells ``[row, column]`` of a text without quotes and with equal lines, else None."""
    if '"' in text or separator == " ":
        return None
    text = text.replace("\r\n", "\n").rstrip("\n")
    if "\r" in text:
        return None
    lines = text.split("\n")
    width = lines[0].count(separator) + 1
    empty = separator * (width - 1)
    if len(lines) < 2 or any(line.count(separator) != width - 1 or line == empty for line in lines):
        return None
    if max(map(len, lines)) > MAX_CELL:
        return None
    cells = np.empty((len(lines) - 1, width), dtype=object, order="F")
    for start in range(0, len(cells), LINES_AT_ONCE):
        part = lines[start + 1 : start + 1 + LINES_AT_ONCE]
        flat = np.array(separator.join(part).split(separator), dtype=object)
        cells[start : start + len(part)] = flat.reshape(len(part), width)
    return lines[0].split(separator), cells


def single_blanks(text: str) -> str:
    """The lines of a text with one blank between two words."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def has_outer_blanks(text: str, separator: str) -> bool:
    """Whether a blank stands beside a separator, a quote or a line's end, so that cells must be stripped."""
    edges = (separator, '"', "\n", "\r")
    for blank in " \t\xa0":
        if blank == separator or blank not in text:
            continue
        if text.startswith(blank) or text.endswith(blank):
            return True
        if any(f"{edge}{blank}" in text or f"{blank}{edge}" in text for edge in edges):
            return True
    return False


def separator_of(text: str) -> str:
    """The separator that splits the header and the next lines into the same number of cells, at least two."""
    sample = [line[:MAX_LINE] for line in text[: 20 * MAX_LINE].splitlines()[:20]]

    def agreement(separator: str) -> tuple[int, int]:
        counts = [0]
        with suppress(csv.Error):  # a cell beyond the limit; `_records` reports its line
            counts = [len(row) for row in csv.reader(sample, delimiter=separator) if row] or [0]
        usual = Counter(counts).most_common(1)[0][0]
        return sum(count == usual for count in counts) * (usual > 1), usual

    best = max(",;\t|", key=agreement)
    words = [len(line.split()) for line in sample if line.strip()]
    if agreement(best)[0] == 0 and len(set(words[1:]) - {1}) == 1 and words[0] in (words[-1], words[-1] - 1):
        return " "
    return best


def _records(path: str, text: str, separator: str) -> tuple[list[list[str]], list[int]]:
    """Every record that is not blank, and its first line; raises CohortError for a quote that is not closed."""
    try:
        return split_records(text, separator, strict=True)[:2]
    except SplitError as error:
        if error.reason.startswith("field larger"):
            raise CohortError(
                f"{path}, line {error.line}: a cell of more than {MAX_CELL:,} characters. Shorten it, or close the "
                "quote that opens it."
            ) from None
        with suppress(SplitError):
            records, lines, _ = split_records(text, separator, strict=False)
            if all("\n" not in cell for record in records for cell in record) and len({*map(len, records)}) == 1:
                return records, lines
        what = "is not closed" if "end of data" in error.reason else "is followed by text, or is not closed before"
        raise CohortError(
            f'{path}, line {error.line}: a quote (") that opens a cell {what}. Close it, or remove it.'
        ) from None


class SplitError(Exception):
    """Text that the csv module cannot split, and the line where its record begins."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


def split_records(text: str, separator: str, strict: bool) -> tuple[list[list[str]], list[int], int]:
    """Every record that is not blank, its first line, and the number of lines; raises SplitError."""
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)
    records, lines, line = [], [], 1
    try:
        for record in reader:
            if (record and record[0]) or any(cell and not cell.isspace() for cell in record):
                records.append(record)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise SplitError(line, str(error)) from None
    return records, lines, line - 1


def _header(path: str, record: list[str], findings: Findings) -> list[str]:
    if len(record) > MAX_COLUMNS:
        raise CohortError(
            f"{path}: has {len(record):,} columns; at most {MAX_COLUMNS:,} are read. Keep those of the subject, the "
            "time, covariates and regions. For voxels, give the scans (crow prepare)."
        )
    names = [cell.strip() or f"column {number}" for number, cell in enumerate(record, 1)]
    counts = Counter(names)
    seen: Counter[str] = Counter()
    for k, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[k] = f"{name}.{seen[name]}"
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        findings.add(REPEATED_HEADER, repeated[0], [1], names=", ".join(repeated), first=repeated[0])
    return names


def _rows(
    path: str, header: list[str], records: list[list[str]], lines: list[int], findings: Findings
) -> tuple[list[list[str]], list[int]]:
    if not records:
        raise CohortError(f"{path}: has a header but no rows.")
    width = len(header)
    short = fit_rows(path, header, records, lines)
    if len(short) == len(records) and width > 2 and not any(any(record[1:]) for record in records):
        raise CohortError(
            f"{path}: the header has {width} cells and every row one, so they have different separators. Write the "
            "header with the separator of the rows."
        )
    if short:
        findings.add(SHORT_ROW, rows=short)
    return records, lines


def fit_rows(path: str, header: list[str], records: list[list[str]], lines: list[int]) -> list[int]:
    """Give every record as many cells as the header has; returns the lines of those that had fewer.

    Raises CohortError for one that has more.
    """
    width = len(header)
    short = []
    for record, line in zip(records, lines, strict=True):
        if len(record) > width:
            if any(cell.strip() for cell in record[width:]):
                raise CohortError(
                    f"{path}, line {line}: {len(record)} cells, but the header names {width} columns. "
                    "Put quotes around a cell that holds the separator."
                )
            del record[width:]
        elif len(record) < width:
            if any("\n" in cell for cell in record):
                raise CohortError(
                    f'{path}, line {line}: a quote (") opens a cell that runs over several lines, and the row has '
                    f"{len(record)} cells instead of {width}. Close the quote, or remove it."
                )
            short.append(line)
            record.extend([""] * (width - len(record)))
    return short


def _decimal(rows: list[list[str]], separator: str) -> tuple[str, bool]:
    """The decimal mark, and whether some columns have the other one; ``7,107`` may be thousands and decides nothing."""
    cells = {cell for row in rows[:DECIMAL_ROWS] for cell in row if "," in cell or "." in cell}
    sure = [cell for cell in cells if not GROUPED_NUMBER.fullmatch(cell)]
    commas = any(COMMA_NUMBER.fullmatch(cell) for cell in sure)
    points = any(POINT_NUMBER.fullmatch(cell) for cell in sure)
    if commas == points and not commas and separator != ",":
        commas = any(COMMA_NUMBER.fullmatch(cell) for cell in cells)
        points = any(POINT_NUMBER.fullmatch(cell) for cell in cells)
    return ("," if commas and not points else "."), commas and points
