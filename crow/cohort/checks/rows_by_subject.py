"""The rows of a cohort in order of subject and time, as arrays that every check reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.findings import Findings
from crow.cohort.parameters import MIN_UNIT_LEVELS
from crow.cohort.rows import LINE, OWN
from crow.cohort.schema import Schema
from crow.cohort.times import years_between

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
MAX_CELLS = 6


class Change(NamedTuple):
    """One cell that was corrected: its line and column, the values before and after, and the finding's code."""

    line: int
    column: str
    before: object
    after: object
    code: str


class RowsBySubject:
    """Rows sorted by subject and time; ``suspect`` marks cells that an earlier check has reported."""

    def __init__(self, rows: pd.DataFrame, schema: Schema, findings: Findings, fix: bool) -> None:
        who = pd.factorize(rows["subject"])[0]
        order = np.lexsort((rows[OWN].to_numpy(), who))
        self.rows, self.schema, self.findings, self.fix = rows, schema, findings, fix
        self.order = order
        self.who = who[order]
        self.lines = rows[LINE].to_numpy()[order]
        self.changes: list[Change] = []
        numeric = [name for name, kind in schema.covariates.items() if kind == "numeric"]
        self.numeric = [name for name in (*schema.regions, *numeric) if name in rows]
        self.suspect: dict[str, Mask] = {}
        own = rows[OWN].iloc[order].reset_index(drop=True)
        self.own = own
        first = pd.Series(self.who).map(own.groupby(self.who).first())
        self.years: Floats = years_between(first, own, schema.time_kind).to_numpy(float)

    def values(self, name: str) -> Floats:
        """A column of numbers without the cells that an earlier check has reported."""
        values = self.rows[name].to_numpy(float)[self.order]
        return np.where(self.suspect[name], np.nan, values) if name in self.suspect else values

    def words(self, name: str) -> NDArray[np.object_]:
        return self.rows[name].to_numpy(object)[self.order]

    def mark(self, name: str, where: Mask) -> None:
        self.suspect[name] = self.suspect.get(name, np.zeros(len(where), bool)) | where

    def cells(self, name: str, where: Mask) -> str:
        """``35000 (line 5), 200 (line 9) and 3 more``."""
        lines = self.lines[where]
        order = np.argsort(lines, kind="stable")
        values = self.rows[name].iloc[self.order[where][order]].to_numpy(object)
        place = self.findings.places
        shown = ", ".join(
            f"{_short(value)} ({place.get(int(line), f'line {line}')})"
            for value, line in zip(values[:MAX_CELLS], lines[order][:MAX_CELLS], strict=True)
        )
        return shown + (f" and {len(lines) - MAX_CELLS:,} more" if len(lines) > MAX_CELLS else "")

    def change(self, name: str, where: Mask, after: NDArray[np.object_] | Floats, code: str) -> None:
        """Replace the cells at ``where`` by the same cells of ``after``, and log each."""
        position = self.order[where]
        column = self.rows[name].copy()
        before = column.iloc[position].tolist()
        column.iloc[position] = after[where]
        self.rows = self.rows.assign(**{name: column})
        self.changes += [
            Change(int(line), name, old, new, code)
            for line, old, new in zip(self.lines[where], before, after[where].tolist(), strict=True)
        ]


def is_measurement(values: Floats) -> bool:
    """Whether the values are many different ones, not the few levels of a score."""
    levels = np.unique(values)
    return len(levels) >= MIN_UNIT_LEVELS and bool((values % 1 != 0).any() or np.median(values) >= 100)


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:30]
