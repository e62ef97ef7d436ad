"""What a figure shows of one subject beside its forecast: intervals on a fine grid of times, and reference centiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.data.forecast import Forecast
from crow.models.crow import CRow
from crow.models.history_state import HistoryState, Values
from crow.models.reference import SHARES, reference
from crow.pipelines.covariate_paths import visits_after

POINTS = 16  # times of a band between the last visit and the end of the forecast
Covariates = Callable[[pd.DataFrame], pd.DataFrame]  # adds the covariates to visits of subjects and times
STATISTICS = ("q05", "q25", "median", "q75", "q95")  # of SHARES


class Bands:
    """The bands of one subject, whose visits are passed through the model once.

    ``visits`` are those that the model receives, by default all of the subject. The centiles are those of ``cohort``.
    """

    def __init__(
        self, model: CRow, cohort: Cohort, subject: str, seed: int = 0, visits: pd.DataFrame | None = None
    ) -> None:
        self.subject, self.cohort, self.seed = subject, cohort, seed
        self.state = HistoryState.of(model, cohort.of([subject]) if visits is None else replace(cohort, visits=visits))

    def fan(self, horizon: float, covariates: Covariates, draws: int) -> pd.DataFrame:
        """Quantiles up to ``horizon`` years after the last visit, in the columns of `Forecast.long`.

        They begin with those of the level at the last visit: the region's value without measurement error. Later ones
        are those of `CRow.forecast`.
        """
        ahead = list(horizon * np.arange(1, POINTS + 1) / POINTS)
        visits = covariates(visits_after(self.state.cohort, [self.subject], ahead))
        values = self.state.forecast(visits, draws, self.seed)
        later = Forecast(visits, self.cohort.regions, values).long
        return pd.concat([self.level(), later], ignore_index=True)

    def level(self) -> pd.DataFrame:
        """Quantiles of the level at the last visit: no row if no region was measured yet."""
        return self._long(self.state.cohort.measured_visits.iloc[-1:], self.state.levels(SHARES)[-1:])

    def centiles(self, horizon: float) -> tuple[str, pd.DataFrame] | None:
        """Centiles of healthy or typical subjects of the same age, and who these are; None without ages."""
        found = reference(self.state, self.cohort, horizon, self.seed)
        if found is None:
            return None
        own = self.state.cohort.visits
        last, age = float(own["time"].max()), float((own["age"] - own["time"]).dropna().iloc[-1])
        times = last + np.array(found.times)
        visits = pd.DataFrame({"subject": self.subject, "time": times, "age": age + times})
        return found.label, self._long(visits, found.values)

    def _long(self, visits: pd.DataFrame, quantiles: Values) -> pd.DataFrame:
        """One row per visit and region, of quantiles ``[visit, share, region]``."""
        keys = visits[["subject", "time", "age"]].reset_index(drop=True)
        parts = [
            keys.assign(region=region, **dict(zip(STATISTICS, quantiles[:, :, k].T, strict=True)))
            for k, region in enumerate(self.cohort.regions)
        ]
        return pd.concat(parts, ignore_index=True)
