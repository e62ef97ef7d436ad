"""Lines above the header: a title, comments, ``sep=;``, and names of groups of columns."""

from __future__ import annotations

import csv
from collections import Counter
from contextlib import suppress

MOST = 20
"""Lines that are looked at."""


def lines_above(text: str, separator: str) -> int:
    """How many lines of a text stand above its header."""
    end = 0
    for _ in range(MOST):
        end = text.find("\n", end) + 1 or len(text)
    lines = text[:end].split("\n")[:MOST]
    directive = int(lines[0].lower().startswith("sep=") and len(lines[0].strip()) <= 5)
    if separator == " ":
        return directive
    records: list[list[str]] = []
    reader = csv.reader(lines[directive:], delimiter=separator)
    with suppress(csv.Error):  # the reader of the whole table reports it
        for record in reader:
            records.append(record)
            if reader.line_num != len(records):
                break  # a cell runs over several lines
    return directive + titles(records)


def titles(records: list[list[str]]) -> int:
    """How many of the first records are no header: blank, one cell of text, a comment, or names above names."""
    records = records[:MOST]
    widths = Counter(len(record) for record in records if any(record))
    width = widths.most_common(1)[0][0] if widths else 0
    if width < 3 or len(records) < 3:
        return 0
    for number, record in enumerate(records[:-1]):
        filled = sum(bool(cell.strip()) for cell in record)
        comment = record and record[0].lstrip().startswith("#") and len(record) != width
        if filled > 1 and not comment and not (2 * filled <= width and _are_names(records[number + 1], width)):
            return number
    return 0


def _are_names(record: list[str], width: int) -> bool:
    """Whether a record has a name in every cell, and no number."""
    return len(record) == width and all(cell.strip() and not _is_number(cell) for cell in record)


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().replace(",", "."))
    except ValueError:
        return False
    return True
