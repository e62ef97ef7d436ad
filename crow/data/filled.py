"""A table whose missing values were drawn given what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crow.data.forecast import quantiles_of


@dataclass(frozen=True)
class Filled:
    """Draws ``values [visit, draw, region]`` of the visits that lack a region, in the table's own units.

    Measured values are the same in every draw. ``visits`` are all visits of the cohort, ``rows [visit]`` the numbers of
    those that have draws. ``effective [visit]`` is how many independent draws these are worth. With ``smooth`` they are
    given all visits of a subject, and draw k of a subject is one trajectory; else given the visit and those before it.
    """

    visits: pd.DataFrame
    regions: list[str]
    rows: np.ndarray[Any, Any]
    values: np.ndarray[Any, Any]
    effective: np.ndarray[Any, Any]
    smooth: bool

    @property
    def missing(self) -> np.ndarray[Any, Any]:
        """Which values of the visits in ``rows`` were missing, ``[visit, region]``."""
        return self.visits[self.regions].iloc[self.rows].isna().to_numpy()

    @property
    def intervals(self) -> pd.DataFrame:
        """One row per missing value: subject, session, time, region, median, sd, and 5, 25, 75 and 95 %."""
        visit, region = np.nonzero(self.missing)
        draws = self.values[visit, :, region]
        median, q05, q25, q75, q95 = quantiles_of(draws, [0.5, 0.05, 0.25, 0.75, 0.95], axis=1)
        keys = self.visits[["subject", "session", "time"]].iloc[self.rows[visit]].reset_index(drop=True)
        return keys.assign(
            region=np.array(self.regions, dtype=object)[region], median=median, sd=draws.std(1, ddof=1),
            q05=q05, q25=q25, q75=q75, q95=q95, effective_draws=self.effective[visit].round(1),
        )  # fmt: skip

    @property
    def table(self) -> pd.DataFrame:
        """All visits, with the median in place of each missing value."""
        return self._with(np.median(self.values, axis=1))

    def completed(self, count: int, seed: int = 0) -> list[pd.DataFrame]:
        """``count`` complete tables, each with one draw of every subject, for multiple imputation."""
        chosen = np.random.default_rng(seed).permutation(self.values.shape[1])[:count]
        return [self._with(self.values[:, k]) for k in chosen]

    def _with(self, values: np.ndarray[Any, Any]) -> pd.DataFrame:
        visits = self.visits.copy()
        block = visits[self.regions].to_numpy(float, copy=True)
        block[self.rows] = np.where(self.missing, values, block[self.rows])
        visits[self.regions] = block
        return visits

    def __repr__(self) -> str:
        given = "all visits" if self.smooth else "the visit and those before it"
        return f"{int(self.missing.sum()):,} missing values of {len(self.rows):,} visits, drawn given {given}"
