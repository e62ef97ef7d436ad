"""A table with some of its rows in memory at a time, read as `crow.cohort.table` reads the whole of it."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from crow.cohort.catalogue import ENCODING, SHORT_ROW
from crow.cohort.descriptions import Descriptions, without_second_header
from crow.cohort.findings import Findings
from crow.cohort.formats import GZIP, PARQUET, parquet_records
from crow.cohort.header_rows import MOST, lines_above
from crow.cohort.table import (
    DECIMAL_ROWS,
    SplitError,
    Table,
    fit_rows,
    has_outer_blanks,
    separator_of,
    single_blanks,
    split_records,
    table_of_records,
    table_of_text,
)
from crow.cohort.text_file import CONTROL, SIGNATURES, require_cells, without_invisible
from crow.errors import CohortError

BLOCK = 1 << 20  # bytes or letters that are read at once
MAX_RECORD = 8 << 20  # letters until a row must have ended
HEAD_LINES = MOST + DECIMAL_ROWS + 2  # lines that decide how all others are read
MAX_HEAD = 64 << 20  # letters of these lines
HEADS = 8  # times that more lines are read because these end within a quote
WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class NotStreamedError(Exception):
    """A table that must be read as a whole, because its rows alone could be read differently."""


@dataclass(frozen=True)
class Stream:
    """A table whose ``records`` are its rows with their lines, all as long as the header.

    ``short`` are the lines of rows that were shorter, as far as they have been read.
    """

    header: list[str]
    records: Callable[[], Iterator[tuple[int, list[str]]]]
    separator: str
    decimal: str
    mixed: bool
    described: Descriptions
    short: set[int] = field(default_factory=set)


def stream_of(path: Path, findings: Findings) -> Stream:
    """The rows of a text table, which may be compressed with gzip, or of a Parquet file.

    ``findings`` receives what is noticed about the file.

    Raises NotStreamedError for a table that must be read as a whole, and CohortError, while the rows are read, for one
    that is longer than the header.
    """
    with path.open("rb") as file:
        return (_of_parquet if file.read(4) == PARQUET else _of_text)(path, findings)


def _of_parquet(path: Path, findings: Findings) -> Stream:
    def filled() -> Iterator[tuple[int, list[str]]]:
        return ((line, record) for line, record in enumerate(parquet_records(path), 1) if any(record))

    head = list(islice(filled(), HEAD_LINES))
    try:
        table = table_of_records(str(path), [r for _, r in head], [line for line, _ in head], ",", True, findings)
    except CohortError:
        raise NotStreamedError from None
    table, described = without_second_header(table, findings)
    first = int(table.cells.index[0])

    def records() -> Iterator[tuple[int, list[str]]]:
        return ((line, [cell.strip() for cell in record]) for line, record in filled() if line >= first)

    return Stream(table.header, records, table.separator, table.decimal, table.mixed, described)


def _of_text(path: Path, findings: Findings) -> Stream:
    require_cells(path)
    encoding = _encoding(path, findings)
    head, table, noticed = _head(path, encoding)
    above = lines_above(head, separator_of(head))
    named_rows = _adds_row_names(head.split("\n", above)[above], table)
    short = {line for one in noticed if one.code == SHORT_ROW.code for line in one.rows}
    findings.extend(one for one in noticed if one.code != SHORT_ROW.code)
    table, described = without_second_header(table, findings)
    first, separator, header = int(table.cells.index[0]), table.separator, table.header
    blank = separator != " " and any(has_outer_blanks(text, separator) for text in _pieces(path, encoding, above))

    def records() -> Iterator[tuple[int, list[str]]]:
        for some, lines in _split(_pieces(path, encoding, above), separator, above):
            kept = [k for k, line in enumerate(lines) if line >= first]
            some, lines = [some[k] for k in kept], [lines[k] for k in kept]
            if blank:
                some = [[cell.strip() for cell in record] for record in some]
            if named_rows and any(len(record) != len(header) or not record[-1] for record in some):
                raise NotStreamedError
            short.update(fit_rows(str(path), header, some, lines))
            yield from zip(lines, some, strict=True)

    return Stream(header, records, separator, table.decimal, table.mixed, described, short)


def _adds_row_names(text: str, table: Table) -> bool:
    """Whether the header has a name more than the file, that of R's row names; raises NotStreamedError if it has more.

    That is so for quotes around whole rows.
    """
    text = single_blanks(text) if table.separator == " " else text
    try:
        records, _, _ = split_records(text, table.separator, strict=True)
    except SplitError:
        raise NotStreamedError from None
    more = len(table.header) - len(records[0])
    if more not in (0, 1) or (more == 1 and (len(records[0]) == 1 or table.header[0] != "rownames")):
        raise NotStreamedError
    return more == 1


def _bytes(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _text(path: Path, encoding: str) -> TextIO:
    errors = "replace" if encoding == "cp1252" else "strict"
    return io.TextIOWrapper(_bytes(path), encoding, errors, newline="")


def _encoding(path: Path, findings: Findings) -> str:
    """UTF-8, or UTF-16 with its mark, if all of the file is, else Windows-1252."""
    with _bytes(path) as file:
        block = file.read(BLOCK)
        if block.startswith(tuple(SIGNATURES)):
            raise NotStreamedError
        wide = block.startswith(WIDE)
        decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8")()
        valid = True
        while True:
            if not wide and len(block.translate(None, CONTROL)) < len(block):
                raise NotStreamedError  # no text, or UTF-16 without its mark
            try:
                if valid:
                    decoder.decode(block, final=not block)
            except UnicodeDecodeError:
                valid = False
            if not block:
                break
            block = file.read(BLOCK)
    if wide and not valid:
        raise NotStreamedError
    if not valid:
        findings.add(ENCODING)
    return "utf-16" if wide else "utf-8-sig" if valid else "cp1252"


def _head(path: Path, encoding: str) -> tuple[str, Table, Findings]:
    """The lines that decide how the others are read, as text and as a table, and what is noticed in them."""
    for head, complete in islice(_heads(path, encoding), HEADS):
        findings = Findings()
        with suppress(CohortError):  # it may end within a quote
            table = table_of_text(str(path), head, findings)
            if complete or len(table.cells) >= DECIMAL_ROWS:
                return head, table, findings
    raise NotStreamedError


def _heads(path: Path, encoding: str) -> Iterator[tuple[str, bool]]:
    """More and more lines of the text, and whether they are all."""
    head = ""
    with _text(path, encoding) as file:
        while more := file.read(max(BLOCK, len(head) // 4)):
            head += more
            if len(head) > MAX_HEAD:
                return
            end = _last_line_end(head)
            if _line_ends(head[:end]) >= HEAD_LINES:
                yield without_invisible(head[:end]), False
    yield without_invisible(head), True


def _pieces(path: Path, encoding: str, above: int) -> Iterator[str]:
    """The text below the first lines, cut at ends of lines."""
    with _text(path, encoding) as file:
        rest = ""
        while block := file.read(BLOCK):
            rest += block
            if above and rest.count("\n") >= above:
                rest, above = rest.split("\n", above)[above], 0
            if not above and (end := _last_line_end(rest)):
                yield without_invisible(rest[:end])
                rest = rest[end:]
            if len(rest) > MAX_RECORD:
                raise NotStreamedError
    yield without_invisible(rest)


def _split(pieces: Iterator[str], separator: str, line: int) -> Iterator[tuple[list[list[str]], list[int]]]:
    """Some records at a time, and their lines, of which ``line`` are above; pieces are joined within quotes."""
    text = ""
    for piece in pieces:
        text += f"{single_blanks(piece)}\n" if separator == " " and piece else piece
        try:
            records, lines, count = split_records(text, separator, strict=True)
        except SplitError:
            if len(text) > MAX_RECORD:
                raise NotStreamedError from None
            continue
        yield records, [line + own for own in lines]
        line, text = line + count, ""
    if text:
        raise NotStreamedError


def _last_line_end(text: str) -> int:
    """The position after the last end of a line; a carriage return at the end of the text may be half of one."""
    return text.rfind("\n") + 1 or text.rfind("\r", 0, len(text) - 1) + 1


def _line_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")
