"""A forecast: draws of future visits, their summary, and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crow.errors import CohortError, ConfigError
from crow.extras import extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import Dataset

STATISTICS = ("median", "mean", "sd", "q05", "q25", "q75", "q95")


def quantiles_of(draws: np.ndarray[Any, Any], shares: Sequence[float], axis: int) -> np.ndarray[Any, Any]:
    """``[share, ...]``: what a new draw is below with that probability; k of n + 1 for the kth of n (Weibull 1939).

    By numpy's default, k - 1 of n - 1, a 90 % interval of 200 draws holds 89.1 % of new ones.
    """
    return np.quantile(draws, shares, axis=axis, method="weibull")


@dataclass(frozen=True)
class Forecast:
    """Draws of future visits. With ``path`` draw k of a subject is one trajectory; else each visit stands by itself.

    Attributes
    ----------
    visits
        One row per forecast visit: subject, time (years since the subject's first visit), age, covariates.
    regions
        Names of the columns that were forecast.
    values
        ``[visit, draw, region]``, in the table's own units.
    history
        The observed visits that the forecast was conditioned on; None if there were none.
    follow_up
        The longest follow-up of the training, in years; 0 if it is not known.
    units
        The known units of regions.

    Examples
    --------
    >>> visits = pd.DataFrame({"subject": ["s1"], "time": [2.0], "age": [72.0]})
    >>> forecast = Forecast(visits, ["Hippocampus"], np.linspace(3000, 3200, 21).reshape(1, 21, 1))
    >>> forecast
    Forecast of 1 visits of 1 subjects, 1 regions, 21 draws
    >>> float(forecast.summary["Hippocampus_median"].iloc[0])
    3100.0
    """

    visits: pd.DataFrame
    regions: list[str]
    values: np.ndarray[Any, Any]
    history: pd.DataFrame | None = None
    follow_up: float = 0.0
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> pd.DataFrame:
        """One row per visit: its columns, then ``<region>_<statistic>`` (median, mean, sd, 5, 25, 75 and 95 %)."""
        quantiles = quantiles_of(self.values, [0.5, 0.05, 0.25, 0.75, 0.95], axis=1)
        mean, sd = self.values.mean(1), self.values.std(1, ddof=1)
        each = dict(zip(("median", "q05", "q25", "q75", "q95"), quantiles, strict=True)) | {"mean": mean, "sd": sd}
        columns = {f"{r}_{s}": each[s][:, d] for d, r in enumerate(self.regions) for s in STATISTICS}
        return pd.concat([self.visits, pd.DataFrame(columns, index=self.visits.index)], axis=1)

    @property
    def long(self) -> pd.DataFrame:
        """One row per visit and region: subject, time, age, region, and one column per statistic."""
        wide = self.summary
        parts = [
            wide[["subject", "time", "age"]].assign(region=r, **{s: wide[f"{r}_{s}"] for s in STATISTICS})
            for r in self.regions
        ]
        return pd.concat(parts, ignore_index=True)

    @property
    def draws(self) -> pd.DataFrame:
        """One row per visit and draw: subject, time, draw (from 0), and one column per region."""
        visits, n, _ = self.values.shape
        keys = self.visits[["subject", "time"]].loc[self.visits.index.repeat(n)].reset_index(drop=True)
        keys["draw"] = np.tile(np.arange(n), visits)
        return pd.concat([keys, pd.DataFrame(self.values.reshape(visits * n, -1), columns=self.regions)], axis=1)

    def probability_of(
        self, region: str, *, at_least: float | None = None, at_most: float | None = None
    ) -> pd.DataFrame:
        """The probability that a region reaches a threshold or level, or lies between two, as the share of draws.

        Parameters
        ----------
        region
            Which region.
        at_least, at_most
            The threshold in the table's units; the same value twice asks for one level of a score.

        Returns
        -------
        pandas.DataFrame
            One row per visit: ``subject, time, age, probability``.

        Raises
        ------
        ConfigError
            For an unknown region, or without a threshold.

        Examples
        --------
        >>> visits = pd.DataFrame({"subject": ["s1"], "time": [2.0], "age": [72.0]})
        >>> forecast = Forecast(visits, ["MMSE"], np.array([22, 23, 23, 26]).reshape(1, 4, 1))
        >>> float(forecast.probability_of("MMSE", at_most=23)["probability"].iloc[0])
        0.75
        """
        if region not in self.regions:
            raise ConfigError(f"the forecast has no region {region}. Its regions are {', '.join(self.regions)}.")
        if at_least is None and at_most is None:
            raise ConfigError("probability_of needs a threshold: at_least, at_most, or both.")
        draws = self.values[:, :, self.regions.index(region)]
        lower, upper = -np.inf if at_least is None else at_least, np.inf if at_most is None else at_most
        inside = (draws >= lower) & (draws <= upper)
        return self.visits[["subject", "time", "age"]].assign(probability=inside.mean(1))

    def plot(self, subject: str | None = None, regions: list[str] | None = None, unit: str = "") -> Figure:
        """The observed visits of one subject, and the median with its 50 % and 90 % prediction intervals.

        Parameters
        ----------
        subject
            Whose forecast to show; the first one if it is None.
        regions
            Which regions to show; the nine that change most clearly if it is None.
        unit
            Written on the vertical axes; by default the known unit of each region.

        Raises
        ------
        CohortError
            If the forecast has no such subject.
        """
        from crow.report.figures import trajectories  # matplotlib takes a second to import, and drawing is its room

        chosen = str(self.visits["subject"].iloc[0]) if subject is None else str(subject)
        ahead = self.long[self.long["subject"] == chosen]
        if ahead.empty:
            raise CohortError(f"subject {chosen} is not in this forecast.")
        columns = ["subject", "time", "age", *self.regions]
        past = pd.DataFrame(columns=columns, dtype=float) if self.history is None else self.history[columns]
        end = self.follow_up or None
        own, units = past[past["subject"] == chosen], unit or self.units
        return trajectories(own, {"forecast": ahead}, regions, units, chosen, data_end=end)

    def to_xarray(self) -> Dataset:
        """A dataset with the dimensions ``visit, draw, region`` and the visits' columns as coordinates.

        Raises
        ------
        MissingExtra
            If xarray is not installed.
        """
        with extra("xarray"):
            import xarray
        columns = {name: ("visit", self.visits[name].to_numpy()) for name in self.visits.columns}
        return xarray.Dataset(
            {"value": (("visit", "draw", "region"), self.values)}, {"region": self.regions, **columns}
        )

    def __repr__(self) -> str:
        visits, n, regions = self.values.shape
        subjects = self.visits["subject"].nunique()
        return f"Forecast of {visits} visits of {subjects} subjects, {regions} regions, {n} draws"

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self.summary.head(10).to_html(index=False)}"
