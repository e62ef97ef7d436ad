"""The classes of visits: what a column of labels holds, with visits of which nobody knows it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.cohort.options import listed
from crow.errors import CohortError
from crow.representation.attributes import covariate_named

MOST = 20  # classes


class Classes(BaseModel):
    """The column of labels, its ``levels`` in their order, and how often visits that know theirs have each."""

    label: str
    levels: list[str]
    shares: list[float]

    @classmethod
    def fit(cls, cohort: Cohort, visits: pd.DataFrame, name: str) -> Classes:
        """Of training visits. Raises CohortError for a column that is no covariate, has no or one class only, holds
        measurements, or has a class with fewer than two subjects: one to learn from and one that is held out."""
        where = cohort.path or "the cohort"
        label = covariate_named(name, cohort, where)
        words = _words(visits[label])
        known = words.dropna()
        if known.empty:
            raise CohortError(f"{where}, column {label}: no visit has a label. Fill in some cells of every class.")
        levels = sorted(known.unique())
        if len(levels) > MOST:
            raise CohortError(
                f"{where}, column {label}: {len(levels)} different values ({listed(levels, 3)}); there can be at most "
                f"{MOST} classes. Name a column of groups."
            )
        people = visits.loc[known.index, "subject"].groupby(known).nunique()
        counts = ", ".join(f"{level} {people[level]}" for level in levels)
        if len(levels) < 2:
            raise CohortError(f"{where}, column {label}: one class only (subjects: {counts}). Label visits of another.")
        if people.min() < 2:
            raise CohortError(
                f"{where}, column {label}: too few labels; subjects by class: {counts}. Every class needs at least 2: "
                "one to learn from, one that is held out. Label more, or empty the cells of that class."
            )
        shares = known.value_counts(normalize=True)
        return cls(label=label, levels=levels, shares=[float(shares[level]) for level in levels])

    def encode(self, visits: pd.DataFrame) -> Tensor:
        """``[visit]``: the number of the class, `UNKNOWN` where the cell is empty or holds none of ``levels``."""
        numbers = pd.Categorical(_words(visits[self.label]), categories=self.levels).codes
        return torch.from_numpy(numbers.astype(np.int64))

    def __len__(self) -> int:
        return len(self.levels)


def _words(column: pd.Series) -> pd.Series:
    """Labels as text, NaN where there is none."""
    if pd.api.types.is_numeric_dtype(column):
        return column.map("{:g}".format, na_action="ignore")
    return column.map(str, na_action="ignore")
