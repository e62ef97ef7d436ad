"""Tables that are no text: compressed ones, Excel workbooks and Parquet files, as records of text."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from crow.cohort.catalogue import SHEETS
from crow.cohort.findings import Findings
from crow.cohort.parameters import MAX_TABLE_BYTES
from crow.errors import CohortError
from crow.extras import extra

ROWS_AT_ONCE = 10_000
GZIP, ZIP, PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"
Records = tuple[list[list[str]], list[int]]


def is_sheet(path: Path) -> bool:
    """Whether a file is an Excel workbook or a Parquet file, by its first bytes."""
    return _kind(path) is not None


def read_sheet(path: Path, findings: Findings) -> Records:
    """The records of a workbook's largest sheet or of a Parquet file, the header first, and their lines.

    Raises CohortError if the library is not installed or the file is damaged.
    """
    records = _workbook(path, findings) if _kind(path) == "Excel" else list(parquet_records(path))
    filled = [(record, line) for line, record in enumerate(records, 1) if any(record)]
    if not filled:
        raise CohortError(f"{path}: the file is empty; a header and one row per visit are needed.")
    return [record for record, _ in filled], [line for _, line in filled]


def unpacked(path: Path, data: bytes) -> bytes:
    """The bytes of a text file, unpacked if they are compressed with gzip; raises CohortError for damaged ones."""
    if not data.startswith(GZIP):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(MAX_TABLE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CohortError(f"{path}: compressed with gzip, but damaged ({error}). Copy the file again.") from None
    if len(text) > MAX_TABLE_BYTES:
        raise CohortError(
            f"{path}: more than {MAX_TABLE_BYTES / 2**30:.0f} GiB when unpacked with gzip. Split the table."
        )
    return text


def _kind(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        return None  # reading it as text reports the reason
    if start == PARQUET:
        return "Parquet"
    if start != ZIP:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return "Excel" if "xl/workbook.xml" in archive.namelist() else None
    except zipfile.BadZipFile:
        return None


def _workbook(path: Path, findings: Findings) -> list[list[str]]:
    with extra("excel", path):
        import openpyxl
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheets = {
            sheet.title: [[_text(cell) for cell in row] for row in sheet.iter_rows(values_only=True)] for sheet in book
        }
    except Exception as error:  # openpyxl raises what its parsers raise
        raise CohortError(f"{path}: the workbook cannot be read ({error}). Save the sheet as CSV.") from None
    filled = {title: rows for title, rows in sheets.items() if sum(any(row) for row in rows) > 1}
    if not filled:
        return []
    first = max(filled, key=lambda title: sum(bool(cell) for row in filled[title] for cell in row))
    others = [title for title in filled if title != first]
    if others:
        findings.add(SHEETS, first=first, others=", ".join(others))
    rows = filled[first]
    width = max(len(row) for row in rows)
    return [row + [""] * (width - len(row)) for row in rows]


def parquet_records(path: Path) -> Iterator[list[str]]:
    """The header and the rows of a Parquet file as text, some rows of a row group in memory at a time.

    Raises CohortError if the library is not installed or the file is damaged.
    """
    with extra("parquet", path):
        import pyarrow.parquet as parquet
    try:
        file = parquet.ParquetFile(path)
        facts, numbers = _without_range(file.schema_arrow.metadata or {})
        frame = file.schema_arrow.empty_table().replace_schema_metadata(facts).to_pandas()
        yield list(map(str, _with_index(frame, numbers).columns))
        start = 0
        for batch in file.iter_batches(ROWS_AT_ONCE):
            frame = _with_index(batch.replace_schema_metadata(facts).to_pandas(), numbers, start)
            start += len(frame)
            columns = [[_text(cell) for cell in frame.iloc[:, k]] for k in range(frame.shape[1])]
            yield from map(list, zip(*columns, strict=True))
    except Exception as error:  # pyarrow raises its own and OSError
        raise CohortError(f"{path}: the Parquet file cannot be read ({error}). Export it as CSV.") from None


def parquet_bytes(path: Path) -> int:
    """The size of a Parquet file without compression; raises CohortError as `parquet_records`."""
    with extra("parquet", path):
        import pyarrow.parquet as parquet
    try:
        facts = parquet.read_metadata(path)
    except Exception as error:
        raise CohortError(f"{path}: the Parquet file cannot be read ({error}). Export it as CSV.") from None
    return sum(facts.row_group(k).total_byte_size for k in range(facts.num_row_groups))


class _Range(NamedTuple):
    """An index of numbers that pandas keeps as a description, not as a column."""

    name: str
    start: int
    step: int


def _without_range(facts: dict[bytes, bytes]) -> tuple[dict[bytes, bytes], _Range | None]:
    """The facts that pandas keeps in a Parquet file without an index of numbers, which belongs to the whole file.

    The second value is that index if it has a name.
    """
    try:
        of_pandas = json.loads(facts[b"pandas"])
        index = of_pandas["index_columns"]
        described = [one for one in index if isinstance(one, dict)]
        if not described:
            return facts, None
        of_pandas["index_columns"] = [one for one in index if one not in described]
        name, start, step = (described[0][key] for key in ("name", "start", "step"))
    except (KeyError, TypeError, ValueError):
        return facts, None
    numbers = None if name is None else _Range(str(name), int(start), int(step))
    return {**facts, b"pandas": json.dumps(of_pandas).encode()}, numbers


def _with_index(frame: pd.DataFrame, numbers: _Range | None, start: int = 0) -> pd.DataFrame:
    """The rows from number ``start`` on, with an index that has a name as the first columns."""
    if numbers is not None:
        first = numbers.start + start * numbers.step
        values = pd.RangeIndex(first, first + len(frame) * numbers.step, numbers.step)
        frame.insert(0, numbers.name, values, allow_duplicates=True)
        return frame
    return frame.reset_index() if any(name is not None for name in frame.index.names) else frame


def _text(cell: Any) -> str:
    """A cell as it would stand in a CSV: whole numbers without a point, dates in ISO, nothing for a missing one."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, float):
        return "" if math.isnan(cell) else str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, datetime.datetime):
        day = cell.time() == datetime.time(0)
        return "" if cell != cell else cell.strftime("%Y-%m-%d" if day else "%Y-%m-%dT%H:%M:%S")
    if isinstance(cell, datetime.date):
        return cell.isoformat()
    text = str(cell)
    return "" if text in ("<NA>", "NaT", "nan") else text
