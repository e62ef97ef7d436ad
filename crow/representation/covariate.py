"""Covariates: how a column of the visits becomes channels of the context."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, model_validator

from crow.errors import CohortError
from crow.representation.region_checks import check_near


class Covariate(BaseModel):
    """How a covariate becomes channels: a standardised number, or one indicator per level except the first.

    If training visits lacked it, one more channel marks that; a missing value is 0 in the others. If none lacked it,
    a missing value is the mean of training: 0, or ``shares``, how often training visits had each level.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    mean: float = 0.0
    sd: float = 1.0
    levels: list[str] = []
    shares: list[float] = []
    has_missing: bool = False

    @model_validator(mode="after")
    def _has_a_share_per_level(self) -> Covariate:
        """A run of a stranger may have any numbers here."""
        if self.shares and len(self.shares) != len(self.levels):
            raise ValueError("as many shares as levels are needed")
        return self

    @property
    def size(self) -> int:
        """Number of its channels, without the one that marks missing values."""
        return len(self.levels) - 1 if self.levels else 1

    @classmethod
    def fit(cls, column: pd.Series, name: str, kind: Literal["numeric", "categorical"]) -> Covariate | None:
        """None for a covariate that is the same everywhere: it carries no information."""
        missing = bool(column.isna().any())
        if column.nunique() < 2:
            return None
        if kind == "categorical":
            shares = column.dropna().astype(str).value_counts(normalize=True).sort_index()
            return cls(name=name, kind=kind, levels=list(shares.index), shares=list(shares), has_missing=missing)
        values = column.astype(float)
        return cls(name=name, kind=kind, mean=values.mean(), sd=values.std(), has_missing=missing)

    def encode(self, visits: pd.DataFrame, where: str) -> np.ndarray[Any, Any]:
        """The channels of each visit, ``[visit, channel]``.

        Raises CohortError without the column, and for a level that training did not have.
        """
        if self.name not in visits:
            raise CohortError(
                f"{where}: there is no column {self.name}, which the model knows. Add it, empty if unknown."
            )
        column = visits[self.name]
        missing = column.isna().to_numpy()
        if self.kind == "numeric":
            check_near(column.astype(float), self.mean, self.sd, visits, where)
            channels = np.nan_to_num((column.astype(float).to_numpy() - self.mean) / self.sd)[:, None]
        else:
            text = column.astype("string")
            unknown = sorted(set(text.dropna()) - set(self.levels))
            if unknown:
                raise CohortError(
                    f"{where}: column {self.name} holds {unknown[0]!r}, which the training data did not have "
                    f"(known: {', '.join(self.levels)}). Correct the value or leave it empty."
                )
            channels = np.stack([(text == level).fillna(False).to_numpy(float) for level in self.levels[1:]], 1)
            if self.shares and not self.has_missing:
                channels[missing] = self.shares[1:]
        return np.concatenate([channels, missing[:, None]], 1) if self.has_missing else channels
