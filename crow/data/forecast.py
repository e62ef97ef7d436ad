"""What a forecast is: draws of visits to come, and their summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

STATISTICS = ("median", "mean", "sd", "q05", "q25", "q75", "q95")


def quantiles_of(draws: np.ndarray[Any, Any], shares: Sequence[float], axis: int) -> np.ndarray[Any, Any]:
    """``[share, ...]``: what a new draw is below with that probability; k of n + 1 for the kth of n (Weibull 1939).

    By numpy's default, k - 1 of n - 1, a 90 % interval of 200 draws holds 89.1 % of new ones.
    """
    return np.quantile(draws, shares, axis=axis, method="weibull")


@dataclass(frozen=True)
class Forecast:
    """Draws ``values [visit, sample, region]`` in original units of ``visits`` (subject, time, age, covariates).

    Sample k of a subject is one trajectory: it belongs together over the visits.
    """

    visits: pd.DataFrame
    regions: list[str]
    values: np.ndarray[Any, Any]

    @property
    def summary(self) -> pd.DataFrame:
        """One row a visit: its columns, then ``<region>_<statistic>`` (median, mean, sd, 5, 25, 75 and 95 %)."""
        quantiles = quantiles_of(self.values, [0.5, 0.05, 0.25, 0.75, 0.95], axis=1)
        mean, sd = self.values.mean(1), self.values.std(1, ddof=1)
        each = dict(zip(("median", "q05", "q25", "q75", "q95"), quantiles, strict=True)) | {"mean": mean, "sd": sd}
        columns = {f"{r}_{s}": each[s][:, d] for d, r in enumerate(self.regions) for s in STATISTICS}
        return pd.concat([self.visits, pd.DataFrame(columns, index=self.visits.index)], axis=1)

    @property
    def long(self) -> pd.DataFrame:
        """One row a visit and region: subject, time, age, region, and a column a statistic."""
        wide = self.summary
        parts = [
            wide[["subject", "time", "age"]].assign(region=r, **{s: wide[f"{r}_{s}"] for s in STATISTICS})
            for r in self.regions
        ]
        return pd.concat(parts, ignore_index=True)

    @property
    def samples(self) -> pd.DataFrame:
        """One row a visit and sample: subject, time, sample (from 0), and a column a region."""
        visits, n, _ = self.values.shape
        keys = self.visits[["subject", "time"]].loc[self.visits.index.repeat(n)].reset_index(drop=True)
        keys["sample"] = np.tile(np.arange(n), visits)
        return pd.concat([keys, pd.DataFrame(self.values.reshape(visits * n, -1), columns=self.regions)], axis=1)

    def __repr__(self) -> str:
        visits, n, regions = self.values.shape
        subjects = self.visits["subject"].nunique()
        return f"Forecast of {visits} visits of {subjects} subjects, {regions} regions, {n} samples"

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self.summary.head(10).to_html(index=False)}"
