"""The decimal and thousands marks of a column: ``7,107.5``, ``7.107,5``, ``7 107,5``, ``7107,5``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SPACES = "\u00a0\u2009\u202f '’"
GROUPED = {mark: re.compile(rf"[+-]?\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+") for mark in ",."}
"""``7,107``: a mark before every three digits, and no decimals."""
SEVERAL_GROUPS = {mark: re.compile(rf"[+-]?\d{{1,3}}(?:{re.escape(mark)}\d{{3}}){{2,}}") for mark in ",."}
BOTH = {
    (thousands, decimal): re.compile(
        rf"[+-]?\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+{re.escape(decimal)}\d*(?:[eE][+-]?\d+)?"
    )
    for thousands, decimal in ((",", "."), (".", ","))
}
DECIMAL = {mark: re.compile(rf"[+-]?\d*{re.escape(mark)}\d*(?:[eE][+-]?\d+)?") for mark in ",."}
SPACED = re.compile(rf"[+-]?\d{{1,3}}(?:[{SPACES}]\d{{3}})+(?:[.,]\d*)?")
WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Marks:
    """The decimal mark of a column, the thousands mark ("" if it has none), and an example of a doubtful cell."""

    decimal: str = "."
    thousands: str = ""
    doubtful: str | None = None

    def plain(self, cell: str) -> str:
        """The cell in the spelling of `float`."""
        for mark in self.thousands:
            cell = cell.replace(mark, "")
        return cell.replace(",", ".") if self.decimal == "," else cell


def find_marks(cells: Iterable[str], decimal: str = ".", mixed: bool = False) -> Marks:
    """The marks of the different cells of a column.

    ``decimal`` is the decimal mark of the table; ``mixed`` means that its columns have both. A cell with both marks, a
    group of other than three digits or several groups decides. If every cell with a mark could be either (``7,107``),
    whole numbers below 1,000 beside them mean thousands, larger ones mean decimals. Without any of these the table
    decides, and the answer is doubtful.
    """
    cells = [cell for cell in cells if any(letter.isdigit() for letter in cell)]
    spaces = "".join(mark for mark in SPACES if any(mark in cell and SPACED.fullmatch(cell) for cell in cells))
    if spaces:
        cells = [cell.translate(dict.fromkeys(map(ord, spaces))) for cell in cells]
    for (thousands, mark), pattern in BOTH.items():
        if any(pattern.fullmatch(cell) for cell in cells):
            return Marks(mark, thousands + spaces)
    other = "," if decimal == "." else "."
    for mark in (other, decimal):
        marked = [cell for cell in cells if mark in cell and DECIMAL[mark].fullmatch(cell)]
        if any(SEVERAL_GROUPS[mark].fullmatch(cell) for cell in cells):
            return Marks("." if mark == "," else ",", mark + spaces)
        if not marked:
            continue
        if any(not GROUPED[mark].fullmatch(cell) for cell in marked):
            return Marks(mark, spaces)
        if mark == decimal:
            continue
        return _either(cells, marked, mark, decimal, spaces, mixed)
    return Marks(decimal, spaces)


def _either(cells: list[str], marked: list[str], mark: str, decimal: str, spaces: str, mixed: bool) -> Marks:
    """The meaning of a mark that always stands before three digits and is not the table's decimal mark."""
    whole = [abs(int(cell)) for cell in cells if WHOLE.fullmatch(cell)]
    starts_with_zero = any(cell.lstrip("+-").startswith("0") for cell in marked)
    if starts_with_zero or any(number >= 1000 for number in whole):
        return Marks(mark, spaces)
    if whole or any(decimal in cell for cell in cells):
        return Marks(decimal, mark + spaces)
    return Marks(mark, spaces, marked[0]) if mixed else Marks(decimal, mark + spaces, marked[0])
