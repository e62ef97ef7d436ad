"""How regions change from one scan to a later one: in real scans, as forecast, and as is usual."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scoringrules
from numpy.typing import NDArray
from scipy import stats

from crow.errors import ScanError
from crow.evaluation.image_scores import correlation
from crow.evaluation.scan_baselines import LAST, USUAL, read_intensity
from crow.evaluation.scan_truth import SimulatedTruth
from crow.representation.follow_up import FollowUp
from crow.scans.atlas import Atlas, built_in
from crow.scans.region_values import image_means, volumes
from crow.scans.store import ScanStore
from crow.scans.template import load_template

Values = NDArray[np.float64]
SMALLEST_SD = 1e-9


class RegionForecast(NamedTuple):
    """Draws of the change since the last scan ``[draw, region]``, and what is said of it by each model: mean and sd."""

    draws: Values
    said: dict[str, tuple[Values, Values]]


class ScanRegions:
    """Changes of the template's structures: of volumes in percent (where tissue moves), else of mean values.

    ``source`` says where the change of real scans comes from: ``registration``, ``truth`` (of simulated scans, volumes
    without error) or ``mean values``.
    """

    def __init__(self, store: ScanStore, atlas: Atlas, moving: bool, truth: SimulatedTruth | None) -> None:
        self.store, self.atlas, self.moving, self.truth = store, atlas, moving, truth if moving else None
        self.names = list(atlas.names.values())
        self.unit = "percent of the last scan's volume" if moving else "intensity"
        self.source = "mean values" if not moving else "registration" if self.truth is None else "truth"
        self.slope = self.still = self.usual = np.full(len(self.names), np.nan)

    @classmethod
    def of(cls, store: ScanStore, moving: bool, truth: SimulatedTruth | None) -> ScanRegions | None:
        """None where the store's grid is not that of the template, whose structures these are."""
        resolution = store.info.settings.get("resolution")
        if resolution is None or load_template(float(resolution)).grid != store.info.grid:
            return None
        atlas = built_in(store.info.grid, float(resolution))
        there = np.unique(atlas.labels)
        return cls(store, replace(atlas, names={k: v for k, v in atlas.names.items() if k in there}), moving, truth)

    def fit(self, visits: pd.DataFrame) -> ScanRegions:
        """Learn the usual change a year, and the errors, from ``visits`` of training subjects (index: store's row).

        From what is measured in scans, as the model's own training: no one knows the truth of those.
        """
        years, changes = [], []
        for _, own in visits.groupby("subject", sort=False):
            seen = []
            for row, time in zip(own.index, own["time"], strict=True):
                with suppress(ScanError):
                    seen.append((float(time), self._seen(int(row))))
            for (t, before), (u, after) in pairwise(seen):
                changes.append(self._apart(before, after))
                years.append(u - t)
        if changes:
            gaps, y = np.array(years)[:, None], np.stack(changes)
            self.slope = (gaps * y).sum(0) / (gaps**2).sum()
            self.still, self.usual = (np.sqrt((error**2).mean(0)) for error in (y, y - gaps * self.slope))
        return self

    def measured(self, row: int) -> Values:
        """Volumes (mm3) or mean values ``[region]`` of a real scan."""
        if self.truth is not None:
            return self.truth.volumes(row, self.names)
        return self._seen(row)

    def change(self, last: int, row: int) -> Values:
        """From the scan of ``last`` to that of ``row``, ``[region]``."""
        return self._apart(self.measured(last), self.measured(row))

    def _seen(self, row: int) -> Values:
        if self.moving:
            return volumes(self.store, row, self.atlas)
        return image_means(read_intensity(self.store, row), self.atlas)

    def _apart(self, before: Values, after: Values) -> Values:
        return 100 * (after / before - 1) if self.moving else after - before

    def forecast(self, made: FollowUp, last: int, gain: float, offset: float, years: float) -> RegionForecast:
        """What a follow-up says, and the baselines, ``years`` after the scan of ``last``, whose units are given."""
        if self.moving:
            assert made.volumes is not None and made.volume_draws is not None
            here = [list(made.volumes["structure"]).index(name) for name in self.names]
            share = made.volume_draws[:, here] / made.volumes["last"].to_numpy()[here]
            draws = 100 * (share - 1)
        else:
            now = self.measured(last)
            draws = np.stack([image_means((image - offset) / gain, self.atlas) for image in made.samples]) - now
        still = np.zeros(len(self.names))
        said = {"crow": (np.asarray(draws.mean(0)), np.asarray(draws.std(0, ddof=1)))}
        said |= {LAST: (still, self.still), USUAL: (years * self.slope, self.usual)}
        return RegionForecast(np.asarray(draws, float), {k: v for k, v in said.items() if np.isfinite(v[1]).all()})

    def scores(self, forecast: RegionForecast, change: Values) -> list[dict[str, Any]]:
        """One row a region and model: change, what was said of it, and its scores."""
        rows = []
        for model, (mean, sd) in forecast.said.items():
            sd = np.maximum(sd, SMALLEST_SD)
            crps = np.asarray(scoringrules.crps_normal(change, mean, sd))
            nll, pit = -stats.norm.logpdf(change, mean, sd), stats.norm.cdf(change, mean, sd)
            for k, region in enumerate(self.names):
                rows.append({
                    "model": model, "region": region, "change": change[k], "mean": mean[k], "sd": sd[k],
                    "error": abs(change[k] - mean[k]), "crps": crps[k], "nll": nll[k], "pit": pit[k],
                })  # fmt: skip
        return rows


def region_summary(scores: pd.DataFrame) -> dict[str, dict[str, float]]:
    """By model: MAE, CRPS, NLL, coverage, and the mean over regions of the correlation across subjects."""
    out = {}
    for model, rows in scores.groupby("model", sort=False):
        away = np.abs(rows["pit"] - 0.5)
        told = [correlation(part["mean"].to_numpy(), part["change"].to_numpy()) for _, part in rows.groupby("region")]
        out[str(model)] = {
            "MAE": float(rows["error"].mean()), "CRPS": float(rows["crps"].mean()), "NLL": float(rows["nll"].mean()),
            **{f"covers {100 * share:.0f} %": float((away <= share / 2).mean()) for share in (0.5, 0.8, 0.9, 0.95)},
            "correlation": float(np.mean(told)),
        }  # fmt: skip
    return out


def yearly_rates(real: pd.DataFrame, synthetic: pd.DataFrame) -> pd.DataFrame:
    """One row a region: mean, sd and quantiles of the change a year in real and in drawn scans, and how far apart.

    Both have ``subject, region, rate``; ``synthetic`` a row a draw. ``wasserstein`` is in sds of the real rates;
    ``correlation`` that of the mean draw with the real rate across subjects.
    """
    rows = []
    for region, own in real.groupby("region", sort=False):
        drawn = synthetic[synthetic["region"] == region]
        a, b = own["rate"].to_numpy(float), drawn["rate"].to_numpy(float)
        each = drawn.groupby("subject")["rate"].mean().loc[own["subject"]].to_numpy()
        sd = float(a.std(ddof=1)) if len(a) > 1 else float("nan")
        found: dict[str, Any] = {"region": region, "subjects": len(a)}
        for name, values in (("real", a), ("synthetic", b)):
            found |= {f"mean_{name}": values.mean(), f"sd_{name}": values.std(ddof=1) if len(values) > 1 else np.nan}
            found |= {f"q{q:02.0f}_{name}": np.quantile(values, q / 100) for q in (5, 25, 75, 95)}
        found |= {"wasserstein": stats.wasserstein_distance(a, b) / sd, "correlation": correlation(each, a)}
        rows.append(found)
    return pd.DataFrame(rows)
