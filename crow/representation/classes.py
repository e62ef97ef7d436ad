"""Class labels of visits, some of which may be unlabelled."""

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

MAX_CLASSES = 20


class Classes(BaseModel):
    """The label column, its sorted ``levels``, and their relative frequencies among labelled training visits."""

    label: str
    levels: list[str]
    shares: list[float]

    @classmethod
    def fit(cls, cohort: Cohort, visits: pd.DataFrame, name: str) -> Classes:
        """Classes of the training visits.

        Raises CohortError if the column is not a covariate, has fewer than two or too many classes, or a class with
        fewer than two subjects (one for training, one for validation).
        """
        where = cohort.path or "the cohort"
        label = covariate_named(name, cohort, where)
        words = _words(visits[label])
        known = words.dropna()
        if known.empty:
            raise CohortError(f"{where}, column {label}: no visit is labelled. Label some visits of every class.")
        levels = sorted(known.unique())
        if len(levels) > MAX_CLASSES:
            raise CohortError(
                f"{where}, column {label}: {len(levels)} different values ({listed(levels, 3)}); at most "
                f"{MAX_CLASSES} classes are supported. Choose a column of groups."
            )
        subjects = visits.loc[known.index, "subject"].groupby(known).nunique()
        counts = ", ".join(f"{level} {subjects[level]}" for level in levels)
        if len(levels) < 2:
            raise CohortError(
                f"{where}, column {label}: only one class (subjects: {counts}). Label visits of a second class."
            )
        if subjects.min() < 2:
            raise CohortError(
                f"{where}, column {label}: too few labelled subjects per class: {counts}. Every class needs at least "
                "2, one for training and one for validation. Label more visits, or clear the labels of that class."
            )
        shares = known.value_counts(normalize=True)
        return cls(label=label, levels=levels, shares=[float(shares[level]) for level in levels])

    def encode(self, visits: pd.DataFrame) -> Tensor:
        """Class index ``[visit]``; `UNKNOWN` if the label is missing or not among ``levels``."""
        numbers = pd.Categorical(_words(visits[self.label]), categories=self.levels).codes
        return torch.from_numpy(numbers.astype(np.int64))

    def __len__(self) -> int:
        return len(self.levels)


def _words(column: pd.Series) -> pd.Series:
    """Labels as text, NaN if missing."""
    if pd.api.types.is_numeric_dtype(column):
        return column.map("{:g}".format, na_action="ignore")
    return column.map(str, na_action="ignore")
