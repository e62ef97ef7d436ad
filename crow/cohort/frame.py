"""A pandas table in place of a file: the same cells, as text."""

from __future__ import annotations

from typing import Any

import pandas as pd

from crow.cohort.table import Table

NAME = "the DataFrame"


def frame_table(frame: pd.DataFrame) -> Table:
    """The cells of a DataFrame as a file would hold them; rows are numbered as lines of such a file."""
    cells = {str(name): frame[name].map(_text).tolist() for name in frame.columns}
    lines = pd.RangeIndex(2, len(frame) + 2, name="line")
    return Table(NAME, pd.DataFrame(cells, index=lines, dtype=object))


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.date().isoformat() if value == value.normalize() else value.isoformat(sep=" ")
    return str(value)
