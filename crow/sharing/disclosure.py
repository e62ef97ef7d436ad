"""Which values and levels of a cohort belong to too few subjects to be shown, and what is shown in their place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

import numpy as np
import pandas as pd

from crow.cohort.cohort import Cohort
from crow.cohort.names import AGE, NOT_AGE, matches
from crow.errors import CohortError

MIN_COUNT = 10  # subjects behind every level, count and value
TOP_AGE = 89  # years; older subjects are shown as TOP_AGE + 1 or older
ROUNDED = 5  # counts are multiples of this


class Disclosure:
    """The training subjects of a run, and the smallest number of them that may share what is shown.

    Parameters
    ----------
    cohort : Cohort
        The training subjects.
    min_count : int
        Levels, values and regions of fewer subjects are withheld.

    Raises
    ------
    CohortError
        If there are fewer subjects than that, or if a region or number is known of fewer.
    """

    def __init__(self, cohort: Cohort, min_count: int = MIN_COUNT) -> None:
        self.cohort, self.visits, self.min_count = cohort, cohort.visits, min_count
        self.rare_cells = cache(self._rare_cells)
        if (count := len(cohort.subjects)) < min_count:
            raise CohortError(
                f"{cohort.path or 'the cohort'}: the run was trained on {count} subjects, fewer than {min_count}: what "
                "it holds belongs to single subjects. Do not share it, or lower --min-count."
            )
        numbers = [name for name, kind in cohort.schema.covariates.items() if kind == "numeric"]
        for name in [*cohort.regions, *numbers]:
            if 0 < (count := self.subjects(name)) < min_count:
                raise CohortError(
                    f"{cohort.path or 'the cohort'}, column {name}: known of {count} subjects, fewer than {min_count}, "
                    "so that its mean belongs to them. Train without it (--exclude), or lower --min-count."
                )

    def subjects(self, name: str) -> int:
        """How many subjects have a value in a column."""
        return int(self.visits["subject"][self.visits[name].notna()].nunique()) if name in self.visits else 0

    def counts(self, name: str) -> pd.Series:
        """How many subjects had each level of a column, the most frequent one first."""
        words = self.visits[name].astype("string")
        return self.visits["subject"].groupby(words).nunique().sort_values(ascending=False, kind="stable")

    def is_shown(self, name: str, level: str) -> bool:
        """Whether enough subjects had a level; a column that the cohort lacks has none to show."""
        return name in self.visits and int(self.counts(name).get(level, 0)) >= self.min_count

    def is_age(self, name: str) -> bool:
        """Whether a column has ages."""
        return name in ("age", self.cohort.schema.age) or (matches(AGE, name) and not matches(NOT_AGE, name))

    def apart(self, value: float, name: str, digits: int = 3) -> float:
        """The number rounded to some digits, and moved by half of the last one while only few subjects have it."""
        if not math.isfinite(value):
            return value
        rounded = float(f"{value:.{digits}g}")
        step = 10.0 ** (math.floor(math.log10(abs(rounded) or 1.0)) - digits + 1)
        while float(f"{rounded:.12g}") in self.rare_cells(name):
            rounded = float(f"{rounded + step / 2:.12g}")
        return rounded

    def top_coded(self, value: float, name: str) -> float:
        """The number itself, or the age that stands for all above `TOP_AGE`."""
        return min(value, float(TOP_AGE + 1)) if self.is_age(name) else value

    def about(self, count: int) -> str:
        """``about 120``: a count from which no subject can be subtracted; ``fewer than 10`` if it is small."""
        if count < self.min_count:
            return f"fewer than {self.min_count}"
        return f"about {round(count / ROUNDED) * ROUNDED:,}"

    def revealed(self, numbers: Iterable[float]) -> set[float]:
        """Which numbers are cells of the table that only few subjects have, of at least five digits."""
        columns = [name for name in self.visits if pd.api.types.is_float_dtype(self.visits[name])]
        cells = {cell for name in columns for cell in self.rare_cells(str(name)) if len(_digits(cell)) >= 5}
        return {number for number in numbers if float(f"{number:.12g}") in cells}

    def _rare_cells(self, name: str) -> frozenset[float]:
        """The numbers of a column that fewer than ``min_count`` subjects have."""
        if name not in self.visits or not pd.api.types.is_numeric_dtype(self.visits[name]):
            return frozenset()
        known = self.visits[["subject", name]].dropna()
        values = known[name].astype(float).map(lambda cell: float(f"{cell:.12g}"))
        count = known["subject"].groupby(values).nunique()
        return frozenset(count.index[count < self.min_count].to_numpy(np.float64).tolist())


def _digits(number: float) -> str:
    return f"{abs(number):.12g}".partition("e")[0].replace(".", "").strip("0")
