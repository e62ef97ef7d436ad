"""A table that is too large for the memory, as parts with some of the subjects each."""

from __future__ import annotations

import codecs
import csv
import gzip
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from crow.cohort.catalogue import ENCODING
from crow.cohort.descriptions import Descriptions, without_second_header
from crow.cohort.findings import Findings
from crow.cohort.formats import GZIP, PARQUET, parquet_bytes, parquet_records
from crow.cohort.parameters import MAX_CELL
from crow.cohort.schema import Schema
from crow.cohort.subject_writings import bare_subject
from crow.cohort.table import Table, table_of_text
from crow.errors import CohortError

LARGE_BYTES = 64 << 20  # of text; smaller tables are read as a whole
PART_BYTES = 8 << 20  # of text; reading takes about 15 times as much memory
HEAD_LETTERS = 1 << 20
ROWS_AT_ONCE = 20_000  # in memory while rows are distributed
GZIP_RATIO = 4


@dataclass(frozen=True)
class TablePart:
    """All rows of some subjects of the table ``source``, in a file of their own: the line of a row, then its cells."""

    rows: Path
    source: Path
    header: tuple[str, ...]
    separator: str
    decimal: str
    mixed: bool
    described: Descriptions

    def __str__(self) -> str:
        return str(self.source)

    def table(self) -> Table:
        with self.rows.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            records = list(csv.reader(file))
        lines = [int(record[0]) for record in records]
        rows = [record[1:] for record in records]
        facts = {"separator": self.separator, "decimal": self.decimal, "mixed": self.mixed}
        return Table.of(str(self.source), list(self.header), rows, lines, **facts)


@contextmanager
def in_parts(source: Path, schema: Schema, beside: Path, findings: Findings) -> Iterator[list[TablePart]]:
    """The table as parts, in the order of their subjects; no part if it is small enough to be read as a whole.

    The division depends on the table alone. The files of the parts are in the folder ``beside`` until the end.

    Parameters
    ----------
    source : Path
        A text table, which may be compressed with gzip, or a Parquet file.
    schema : Schema
        How the table is read: rows of one subject stay together.
    beside : Path
        A folder with space for the table, which all workers share.
    findings : Findings
        Receives what is noticed about the file.

    Raises
    ------
    CohortError
        If a row cannot be read.
    """
    size = _bytes_of(source) if source.is_file() else 0
    if size <= LARGE_BYTES:
        yield []
        return
    stream = _stream(source, findings)
    if schema.subject not in stream.header:  # a layout whose subjects are a part of another column
        yield []
        return
    subject = stream.header.index(schema.subject)
    part_of = _division(stream, subject, math.ceil(size / PART_BYTES))
    count = max(part_of.values(), default=0) + 1
    csv.field_size_limit(MAX_CELL)
    with tempfile.TemporaryDirectory(prefix=".crow-parts-", dir=beside) as temporary:
        files = [Path(temporary) / f"{number}.csv" for number in range(count)]
        _distribute(stream, subject, part_of, files)
        facts = source, tuple(stream.header), stream.separator, stream.decimal, stream.mixed, stream.described
        yield [TablePart(file, *facts) for file in files]


class _Stream(NamedTuple):
    """A table, of which a row is in memory at a time. ``records`` are the rows with their lines, of equal length."""

    header: list[str]
    records: Callable[[], Iterator[tuple[int, list[str]]]]
    separator: str = ","
    decimal: str = "."
    mixed: bool = False
    described: Descriptions = Descriptions()


def _bytes_of(path: Path) -> int:
    with path.open("rb") as file:
        start = file.read(4)
    if start == PARQUET:
        return parquet_bytes(path)
    return path.stat().st_size * (GZIP_RATIO if start.startswith(GZIP) else 1)


def _stream(path: Path, findings: Findings) -> _Stream:
    with path.open("rb") as file:
        if file.read(4) == PARQUET:
            header = next(parquet_records(path))
            return _Stream(header, lambda: _after_header(parquet_records(path)))
    encoding = _encoding(path, findings)
    with _opened(path, encoding) as text:
        head = text.read(HEAD_LETTERS)
    table, described = without_second_header(table_of_text(str(path), head[: head.rfind("\n") + 1], findings), findings)
    first = int(table.cells.index[0])

    def records() -> Iterator[tuple[int, list[str]]]:
        with _opened(path, encoding) as text:
            for line, record in _split(path, text, table.separator):
                if line >= first and any(record):
                    yield line, _fitted(path, line, record, table)

    return _Stream(table.header, records, table.separator, table.decimal, table.mixed, described)


def _after_header(records: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    next(records)
    return ((line, record) for line, record in enumerate(records, 2) if any(record))


def _opened(path: Path, encoding: str) -> TextIO:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    return (gzip.open if packed else open)(path, "rt", encoding=encoding, errors="replace", newline="")


def _encoding(path: Path, findings: Findings) -> str:
    """UTF-8 or UTF-16 if all of the file is, else Windows-1252."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    with gzip.open(path) if packed else path.open("rb") as file:
        start = file.read(2)
        if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(start)
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            findings.add(ENCODING)
            return "cp1252"
    return "utf-8-sig"


def _split(path: Path, text: TextIO, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Records with their first lines."""
    if separator == " ":
        yield from ((line, row.split()) for line, row in enumerate(text, 1))
        return
    csv.field_size_limit(MAX_CELL)
    reader, line = csv.reader(text, delimiter=separator), 1
    try:
        for record in reader:
            yield line, [cell.strip() for cell in record]
            line = reader.line_num + 1
    except csv.Error as error:
        raise CohortError(
            f"{path}, line {line}: cannot be read ({error}). Correct the row; a quote that is not closed makes one "
            "cell of all lines that follow."
        ) from None


def _fitted(path: Path, line: int, record: list[str], table: Table) -> list[str]:
    """The record with as many cells as the header."""
    width = len(table.header)
    if len(record) == 1 and record[0].count(table.separator) >= width - 1 > 0:  # quotes around the whole row
        record = next(csv.reader(record, delimiter=table.separator))
    if any(record[width:]):
        raise CohortError(
            f"{path}, line {line}: {len(record)} cells, but the header names {width} columns. Put quotes around a cell "
            "that holds the separator."
        )
    return record[:width] + [""] * (width - len(record))


def _division(stream: _Stream, subject: int, parts: int) -> dict[str, int]:
    """The part of each subject. Subjects are in the order of their names, as in a table that is read as a whole.

    A subject that is written in several ways is one (`crow.cohort.subject_writings`).
    """
    counts: dict[str, dict[str, int]] = {}
    bare = _bare_names()
    for _, record in stream.records():
        writings = counts.setdefault(bare(record[subject]), {})
        writings[record[subject]] = writings.get(record[subject], 0) + 1
    rows = sum(sum(writings.values()) for writings in counts.values())
    ordered = sorted(counts, key=lambda one: max(counts[one], key=lambda written: counts[one][written]))
    part_of, before = {}, 0
    for one in ordered:
        part_of[one] = before * parts // max(rows, 1)
        before += sum(counts[one].values())
    numbers = {number: k for k, number in enumerate(sorted(set(part_of.values())))}  # none is empty
    return {one: numbers[number] for one, number in part_of.items()}


def _distribute(stream: _Stream, subject: int, part_of: dict[str, int], files: list[Path]) -> None:
    waiting: list[list[list[str]]] = [[] for _ in files]
    bare = _bare_names()

    def write() -> None:
        for file, rows in zip(files, waiting, strict=True):
            with file.open("a", encoding="utf-8", errors="surrogateescape", newline="") as text:
                csv.writer(text).writerows(rows)
            rows.clear()

    for number, (line, record) in enumerate(stream.records(), 1):
        waiting[part_of[bare(record[subject])]].append([str(line), *record])
        if number % ROWS_AT_ONCE == 0:
            write()
    write()


def _bare_names() -> Callable[[str], str]:
    """`bare_subject` of a row's subject; an empty one belongs to the row above."""
    known: dict[str, str] = {}
    last = ""

    def bare(written: str) -> str:
        nonlocal last
        if written:
            if written not in known:
                known[written] = bare_subject(written)
            last = known[written]
        return last

    return bare
