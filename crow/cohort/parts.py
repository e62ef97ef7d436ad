"""A table that is too large for the memory, as parts with some of the subjects each."""

from __future__ import annotations

import csv
import math
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from crow.cohort.catalogue import SHORT_ROW
from crow.cohort.descriptions import Descriptions
from crow.cohort.findings import Findings
from crow.cohort.formats import GZIP, PARQUET, parquet_bytes
from crow.cohort.schema import Schema
from crow.cohort.stream import NotStreamedError, Stream, stream_of
from crow.cohort.subject_writings import bare_subject
from crow.cohort.table import Table

LARGE_BYTES = 64 << 20  # of text; smaller tables are read as a whole
PART_BYTES = 8 << 20  # of text; reading takes about 15 times as much memory
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
    """The table as parts, in the order of their subjects; no part if it is read as a whole.

    A small table is read as a whole, and one whose rows alone could be read differently (`crow.cohort.stream`).
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
        If a row is longer than the header.
    """
    divided = None
    with suppress(NotStreamedError):
        divided = _divided(source, schema, findings)
    if divided is None:
        yield []
        return
    stream, subject, part_of = divided
    count = max(part_of.values(), default=0) + 1
    with tempfile.TemporaryDirectory(prefix=".crow-parts-", dir=beside) as temporary:
        files = [Path(temporary) / f"{number}.csv" for number in range(count)]
        _distribute(stream, subject, part_of, files)
        facts = source, tuple(stream.header), stream.separator, stream.decimal, stream.mixed, stream.described
        yield [TablePart(file, *facts) for file in files]


def _divided(source: Path, schema: Schema, findings: Findings) -> tuple[Stream, int, dict[str, int]]:
    """The rows of a table, its column of subjects, and the part of each of them; raises NotStreamedError."""
    noticed = Findings()
    try:
        size = _bytes_of(source) if source.is_file() else 0
        if size <= LARGE_BYTES:
            raise NotStreamedError
        stream = stream_of(source, noticed)
        if schema.subject not in stream.header:  # a layout whose subjects are a part of another column
            raise NotStreamedError
        subject = stream.header.index(schema.subject)
        part_of = _division(stream, subject, math.ceil(size / PART_BYTES))
    except (OSError, EOFError, zlib.error):  # the reader of the whole table reports it
        raise NotStreamedError from None
    if stream.short:
        noticed.add(SHORT_ROW, rows=stream.short)
    findings.extend(noticed)
    return stream, subject, part_of


def _bytes_of(path: Path) -> int:
    with path.open("rb") as file:
        start = file.read(4)
    if start == PARQUET:
        return parquet_bytes(path)
    return path.stat().st_size * (GZIP_RATIO if start.startswith(GZIP) else 1)


def _division(stream: Stream, subject: int, parts: int) -> dict[str, int]:
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


def _distribute(stream: Stream, subject: int, part_of: dict[str, int], files: list[Path]) -> None:
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
