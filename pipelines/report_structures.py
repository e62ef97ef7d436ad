"""Forecasts of the coefficients of scans as those of structures: changes of volumes in percent, or mean intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crow.report.sections.forecasts import SubjectForecast, WhatIf
from crow.representation.base import ScanRepresentation
from crow.representation.structure_means import PREFIX as MEAN

PREFIX = "log_volume_"
UNIT = "% since the first scan"
QUANTILES = ["median", "q05", "q25", "q75", "q95"]
ACRONYMS = {"csf": "CSF"}


@dataclass(frozen=True)
class Structures:
    """What is shown of each coefficient of a run of scans.

    Titles of log ``volumes`` since the first scan, which are shown in percent, and of means of structures and
    ``regions`` of the table, which are shown as they are. Other coefficients are not shown, nor centiles: a change
    since the first scan has none by age.
    """

    volumes: dict[str, str]
    regions: dict[str, str]

    @classmethod
    def of(cls, basis: ScanRepresentation, regions: Sequence[str]) -> Structures | None:
        """None for a representation without structures. ``regions`` are those of the cohort's table."""
        if basis.volume_names:
            volumes = {name: title_of(name.removeprefix(PREFIX)) for name in basis.volume_names}
            return cls(volumes, {name: f"{name}, change" for name in regions})
        if not basis.mean_names:
            return None
        means = {name: title_of(name.removeprefix(MEAN)) for name in basis.mean_names}
        return cls({}, means | {name: name for name in regions})

    def subject(self, one: SubjectForecast) -> SubjectForecast:
        """The same forecast, of structures."""
        return replace(
            one, given=self._table(one.given, True), forecast=self._rows(one.forecast),
            later=None if one.later is None else self._table(one.later),
            band=None if one.band is None else self._rows(one.band), reference=None, units=self._units(),
        )  # fmt: skip

    def what_if(self, one: WhatIf) -> WhatIf:
        """The same forecasts, of structures."""
        bands = None if one.bands is None else {name: self._rows(band) for name, band in one.bands.items()}
        return replace(
            one, given=self._table(one.given, True), bands=bands, units=self._units(),
            paths={name: self._rows(path) for name, path in one.paths.items()},
            reference=None,
        )  # fmt: skip

    def _units(self) -> dict[str, str]:
        return dict.fromkeys(self.volumes.values(), UNIT)

    def _rows(self, forecast: pd.DataFrame) -> pd.DataFrame:
        """Of one row per visit and coefficient; quantiles of a volume are those of its logarithm."""
        titles = self.volumes | self.regions
        rows = forecast[forecast["region"].isin(titles)].copy()
        volume = rows["region"].isin(self.volumes)
        rows.loc[volume, QUANTILES] = _percent(rows.loc[volume, QUANTILES])
        return rows.assign(region=rows["region"].map(titles))

    def _table(self, visits: pd.DataFrame, from_first: bool = False) -> pd.DataFrame:
        """Of one row per visit; ``from_first``: the first row is the first scan, from which changes are measured."""
        found = visits.copy()
        found[list(self.volumes)] = _percent(found[list(self.volumes)])
        if from_first and self.volumes and len(found):
            own = [*self.volumes, *self.regions]
            found.loc[found.index[0], own] = found.iloc[0][own].fillna(0.0)
        return found.rename(columns=self.volumes | self.regions)


def title_of(structure: str) -> str:
    """``hippocampus_left`` as "Hippocampus, left"."""
    name, mark, side = structure.rpartition("_")
    if not mark or side not in ("left", "right"):
        name, side = structure, ""
    words = ACRONYMS.get(name) or name.replace("_", " ").capitalize()
    return f"{words}, {side}" if side else words


def _percent(logarithms: pd.DataFrame) -> pd.DataFrame:
    return logarithms.astype(float).apply(np.expm1) * 100
