"""Numbers with a unit, a percent sign or another minus sign in the cell: ``3512 mm3``, ``12.5 %``, ``="7107.5"``."""

from __future__ import annotations

import re
from typing import NamedTuple

import pandas as pd

MINUS = re.compile("^([<>≤≥~]?\\s*)[\u2010-\u2013\u2212\ufe63\uff0d]\\s*(?=[\\d.,])")
FORMULA = re.compile(r'^="?([^"]*)"?$')
UNITS = {
    "mm3": ("volume", 1.0), "µl": ("volume", 1.0), "ul": ("volume", 1.0), "ml": ("volume", 1000.0),
    "cm3": ("volume", 1000.0), "ccm": ("volume", 1000.0), "cc": ("volume", 1000.0), "l": ("volume", 1e6),
    "mm2": ("area", 1.0), "cm2": ("area", 100.0), "mm": ("length", 1.0), "cm": ("length", 10.0),
    "mg": ("mass", 1e-6), "g": ("mass", 1e-3), "kg": ("mass", 1.0), "lb": ("mass", 0.45359237),
    "lbs": ("mass", 0.45359237), "%": ("share", 0.01), "mmhg": ("pressure", 1.0), "bpm": ("rate", 1.0),
    "kg/m2": ("index", 1.0), "pg/ml": ("concentration", 1.0), "ng/ml": ("concentration", 1000.0),
    "suvr": ("ratio", 1.0), "hu": ("density", 1.0),
}  # fmt: skip
"""The dimension of a unit, and its size."""
LONGEST_FIRST = "|".join(map(re.escape, sorted(UNITS, key=len, reverse=True)))
WITH_UNIT = re.compile(
    rf"(?P<number>[<>≤≥]?\s*[+-]?\d[\d.,'’\s]*(?:[eE][+-]?\d+)?)\s*\[?(?P<unit>{LONGEST_FIRST})\.?\]?", re.IGNORECASE
)
SUPERSCRIPT = str.maketrans("²³μ", "23µ")
SAMPLE = 100
NONE = "none"


class Units(NamedTuple):
    """The unit of a column: ``example`` is a cell, ``unit`` what it was read in, ``factors`` those of converted cells.

    ``converted`` names the other units.
    """

    example: str
    unit: str
    factors: dict[str, float]
    converted: tuple[str, ...]


def plain_numbers(cells: pd.Series, plain: pd.Series) -> tuple[dict[str, str], Units | None]:
    """The spelling without a unit or a sign of another font, by cell, and the unit.

    ``cells`` are those that are no numbers yet; ``plain`` the numbers beside them, in the unit of the cells. Cells of
    another unit get a factor; units of different dimensions stay text.
    """
    levels = list(cells.unique())
    first = {cell: _sign(cell) for cell in levels[:SAMPLE]}
    if all(one == cell and not WITH_UNIT.fullmatch(one.translate(SUPERSCRIPT)) for cell, one in first.items()):
        return {}, None
    written = {cell: one for cell in levels if (one := _sign(cell)) != cell}
    matches = {
        cell: match for cell in levels if (match := WITH_UNIT.fullmatch(written.get(cell, cell).translate(SUPERSCRIPT)))
    }
    if not matches:
        return written, None
    units = {cell: match["unit"].lower() for cell, match in matches.items()}
    counts = cells.map(units).value_counts()
    main = str(counts.index[0])
    if len({UNITS[unit][0] for unit in counts.index}) > 1:
        return written, None
    written |= {cell: match["number"].strip() for cell, match in matches.items()}
    of_shares = main == "%" and len(plain) > 0 and bool((plain.abs() <= 1).all())
    size = 1.0 if of_shares else UNITS[main][1]
    factors = {cell: UNITS[unit][1] / size for cell, unit in units.items() if UNITS[unit][1] != size}
    example = next(cell for cell, unit in units.items() if unit == main)
    others = tuple(str(unit) for unit in counts.index[1:])
    return written, Units(example, NONE if of_shares else main, factors, ("%",) if of_shares else others)


def _sign(cell: str) -> str:
    """A cell with a hyphen as its minus sign, and without the formula that keeps it as text in a spreadsheet."""
    match = FORMULA.fullmatch(cell) if cell.startswith("=") else None
    return MINUS.sub(r"\1-", match[1] if match else cell)
