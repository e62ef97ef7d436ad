"""How many subjects of a cohort resemble a combination of covariates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort

REACH = 0.5  # of the sd of a number in the cohort: values nearer than that are alike


@dataclass(frozen=True)
class Resemblance:
    """The fewest subjects at any time of a course, at which time (its row), and the combination in words."""

    count: int
    of: int
    row: int
    combination: str


class Resembling:
    """Subjects of a cohort who had, at one visit, the age and the covariates of a course.

    Only covariates that change within subjects are compared. Levels have to be equal, and numbers within half a
    standard deviation of the cohort.
    """

    def __init__(self, cohort: Cohort) -> None:
        schema, self.visits = cohort.schema, cohort.visits
        kinds = {"age": "numeric", **schema.covariates}
        kept = [n for n in kinds if n not in schema.fixed and n not in schema.sites and self.visits[n].notna().any()]
        self.reach = {n: REACH * float(self.visits[n].astype(float).std()) for n in kept if kinds[n] == "numeric"}
        self.columns: dict[str, NDArray[Any]] = {}
        for name in kept:
            column = self.visits[name]
            self.columns[name] = column.to_numpy(float) if name in self.reach else column.astype("string").to_numpy()
        self.subjects, self.count = pd.factorize(self.visits["subject"])[0], self.visits["subject"].nunique()

    def fewest(self, course: pd.DataFrame) -> Resemblance:
        """Over the rows of a course."""
        found = [self._subjects(course.iloc[row]) for row in range(len(course))]
        row = int(np.argmin(found))
        return Resemblance(found[row], self.count, row, self._words(course.iloc[row]))

    def _subjects(self, asked: pd.Series) -> int:
        there: NDArray[np.bool_] = np.ones(len(self.subjects), dtype=bool)
        for name, column in self.columns.items():
            value: Any = asked[name]
            if not pd.isna(value):
                alike = np.abs(column - value) <= self.reach[name] if name in self.reach else column == value
                there &= np.asarray(alike, dtype=bool)
        return len(np.unique(self.subjects[there]))

    def _words(self, asked: pd.Series) -> str:
        parts = []
        for name in (name for name in self.columns if not pd.isna(asked[name])):
            if name in self.reach:
                low, high = float(asked[name]) - self.reach[name], float(asked[name]) + self.reach[name]
                low = max(low, 0.0) if float(self.visits[name].min()) >= 0 else low
                parts.append(f"{name} {_short(low)} to {_short(high)}")
            else:
                parts.append(f"{name} {asked[name]}")
        return ", ".join(parts)


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"
