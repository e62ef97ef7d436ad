"""The text of a file, whatever its encoding, and the remedy for files that are no text."""

from __future__ import annotations

import gzip
import stat
import zlib
from pathlib import Path

from crow.cohort.catalogue import ENCODING
from crow.cohort.findings import Findings
from crow.cohort.formats import GZIP, PARQUET, unpacked
from crow.cohort.parameters import MAX_CELL, MAX_TABLE_BYTES
from crow.errors import CohortError

SIGNATURES = {
    b"PK\x03\x04": "a zip archive or a damaged Excel workbook: unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the sheet as .xlsx or CSV",
    b"%PDF": "a PDF",
    b"BZh": "compressed with bzip2: unpack it first",
    b"\xfd7zXZ": "compressed with xz: unpack it first",
    b"$FL2": "an SPSS file: export it as CSV",
    b"$FL3": "an SPSS file: export it as CSV",
    b"<stata_dta>": "a Stata file: export it with export delimited",
    bytes.fromhex(
        "000000000000000000000000c2ea8160b31411cfbd92080009c7318c181f1011"
    ): "a SAS file: export it with proc export",
    b"HEADER RECORD***": "a SAS transport file: export it as CSV",
    b"RDX": "an R workspace: save the data frame with write.csv",
    b"RDA": "an R workspace: save the data frame with write.csv",
    b"X\n\x00\x00\x00": "an R object: save the data frame with write.csv",
    b"ARROW1": "a Feather file: save it as CSV or Parquet",
    b"\x89HDF": "an HDF5 file: export the table as CSV",
    b"SQLite format 3": "a database: export the table as CSV",
    b"\x80\x04\x95": "a pickled object of Python: save the data frame with to_csv",
    b"\x80\x05\x95": "a pickled object of Python: save the data frame with to_csv",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file with git lfs pull",
    b"/annex/objects": "a pointer of git-annex: fetch the file with datalad get",
    b"<": "a page of HTML or XML: open it in a spreadsheet and save it as CSV",
    b"{": "JSON: convert it to CSV",
    b"[{": "JSON: convert it to CSV",
}
CONTROL = bytes([*range(0x09), *range(0x0E, 0x1A)])
SAMPLE_BYTES = 1000
PART_BYTES = 1 << 20  # more than a cell of MAX_CELL characters has in any encoding
ENDS = (b",", b"\n", b"\t", b";", b"|", b"\r")  # of cells
NO_TEXT = "not a text table: it holds bytes that no text has. Export the table as CSV or TSV."


def require_file(path: Path) -> None:
    """Raises CohortError for what is no file of a size that can be read."""
    try:
        kind, size = path.stat().st_mode, path.stat().st_size
    except OSError as error:
        raise CohortError(f"{path}: cannot be read: {error.strerror or error}. Check the name.") from None
    if stat.S_ISDIR(kind):
        raise CohortError(f"{path}: is a folder; name the table inside it.")
    if not stat.S_ISREG(kind):
        raise CohortError(f"{path}: is a pipe or a device, and not a file. Save the table as a file.")
    if size > MAX_TABLE_BYTES:
        limit = MAX_TABLE_BYTES / 2**30
        raise CohortError(f"{path}: {size / 2**30:.1f} GiB; at most {limit:.0f} GiB are read. Split the table.")


def require_cells(path: Path) -> None:
    """Raises CohortError for a part of a text file in which no cell ends, before the file takes memory.

    A file of one line of 1 GB would take six times as much. What cannot be read is reported by `text_of`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(PART_BYTES)
            if start.startswith((*SIGNATURES, PARQUET)) or (len(start) < PART_BYTES and not start.startswith(GZIP)):
                return
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if start.startswith(GZIP) else file
            line = 1
            for _ in range(MAX_TABLE_BYTES // PART_BYTES):
                if len(part := stream.read(PART_BYTES)) < PART_BYTES:
                    return
                if not any(end in part for end in ENDS):
                    raise CohortError(f"{path}, line {line}: {_endless(part)}")
                line += part.count(b"\n")
    except (OSError, EOFError, zlib.error):
        return


def _endless(part: bytes) -> str:
    if len(part.translate(None, CONTROL)) < len(part):
        return NO_TEXT
    return f"a cell of more than {MAX_CELL:,} characters. Shorten it, or close the quote that opens it."


def text_of(path: Path, findings: Findings) -> str:
    """The text of a file; raises CohortError if it has none."""
    return without_invisible(_decoded(path, findings))


def _decoded(path: Path, findings: Findings) -> str:
    try:
        data = unpacked(path, path.read_bytes())
    except OSError as error:
        raise CohortError(f"{path}: cannot be read: {error.strerror or error}. Check the name.") from None
    if not data.strip():
        raise CohortError(f"{path}: the file is empty; a header and one row per visit are needed.")
    for signature, what in SIGNATURES.items():
        if data.startswith(signature):
            raise CohortError(f"{path}: not a text table but {what}.")
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for start, code in ((0, "utf-16-be"), (1, "utf-16-le")):
        high, low = data[start:SAMPLE_BYTES:2], data[1 - start : SAMPLE_BYTES : 2]
        if not wide and len(data) % 2 == 0 and not high.strip(b"\x00") and b"\x00" not in low:
            return data.decode(code)  # UTF-16 without its mark
    if not wide and len(data.translate(None, CONTROL)) < len(data):
        raise CohortError(f"{path}: {NO_TEXT}")
    try:
        if wide:
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if wide:
            raise CohortError(f"{path}: begins as UTF-16 but cannot be read so. Save the table as UTF-8.") from None
        findings.add(ENCODING)
        return data.decode("cp1252", errors="replace")


def without_invisible(text: str) -> str:
    """The text without characters that have no width, which would make two subjects of one."""
    if text.isascii():
        return text
    for letter in "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff":
        if letter in text:
            text = text.replace(letter, "")
    return text
