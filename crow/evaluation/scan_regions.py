"""Changes of regions from one scan to a later one: in real scans, in forecasts, and in baselines."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scoringrules
from numpy.typing import NDArray
from scipy import stats

from crow.data.forecast import quantiles_of
from crow.errors import ScanError
from crow.evaluation.forecasts import COVERED
from crow.evaluation.image_scores import correlation
from crow.evaluation.region_baselines import Measured, RegionBaselines, covariate_columns, difference
from crow.evaluation.scan_baselines import MEAN_CHANGE, read_intensity
from crow.evaluation.scan_truth import SimulatedTruth
from crow.representation.follow_up import FollowUp
from crow.scans.atlas import Atlas
from crow.scans.region_values import image_means, structures_of, volumes
from crow.scans.store import ScanStore

Values = NDArray[np.float64]
SMALLEST_SD = 1e-9
QUANTILES = ("q05", "q25", "q75", "q95")


class RegionForecast(NamedTuple):
    """Draws of the change since the last scan ``[draw, region]``, and mean and sd ``[region]`` of it by model."""

    draws: Values
    moments: dict[str, tuple[Values, Values]]


class ScanRegions:
    """Changes of the template's structures: of their volumes in percent if tissue moves, else of their mean values.

    ``source`` is where the change of real scans comes from: ``registration``, ``truth`` (true volumes of simulated
    scans) or ``mean values``.
    """

    def __init__(self, store: ScanStore, atlas: Atlas, moving: bool, truth: SimulatedTruth | None) -> None:
        self.store, self.atlas, self.moving, self.truth = store, atlas, moving, truth if moving else None
        self.names = list(atlas.names.values())
        self.unit = "percent of the last scan's volume" if moving else "intensity"
        self.source = "mean values" if not moving else "registration" if self.truth is None else "truth"
        self.baselines: RegionBaselines | None = None

    @classmethod
    def of(cls, store: ScanStore, moving: bool, truth: SimulatedTruth | None) -> ScanRegions | None:
        """None if the store's grid is not the template's, whose structures these are."""
        atlas = structures_of(store)
        return None if atlas is None else cls(store, atlas, moving, truth)

    def fit(self, visits: pd.DataFrame, covariates: pd.Series | None = None) -> ScanRegions:
        """Learn the baselines from ``visits`` of training subjects (index: store's row) and their `covariate_columns`.

        They are learned from measured changes, as the model itself is, even if the true ones are known.
        """
        known = covariate_columns(visits, visits, [])[0] if covariates is None else covariates
        subjects = [self.past(own, known) for _, own in visits.groupby("subject", sort=False)]
        self.baselines = RegionBaselines.fit([s for s in subjects if len(s.times) > 1], self.moving, len(self.names))
        return self

    def past(self, own: pd.DataFrame, covariates: pd.Series) -> Measured:
        """The readable scans of a subject, measured; ``covariates``: by row, `covariate_columns`."""
        times, values, known = [], [], []
        for row, time in zip(own.index, own["time"], strict=True):
            with suppress(ScanError):
                values.append(self._measure(int(row)))
                times.append(float(time))
                known.append(np.asarray(covariates[row], float))
        return Measured(np.array(times), np.array(values), np.array(known))

    def measured(self, row: int) -> Values:
        """Volumes (mm3) or mean values ``[region]`` of a real scan."""
        if self.truth is not None:
            return self.truth.volumes(row, self.names)
        return self._measure(row)

    def change(self, last: int, row: int) -> Values:
        """From the scan of ``last`` to that of ``row``, ``[region]``."""
        return difference(self.measured(last), self.measured(row), self.moving)

    def registered_change(self, last: int, row: int) -> Values | None:
        """The change that registration measures between two scans whose true change is known, ``[region]``."""
        return None if self.truth is None else difference(self._measure(last), self._measure(row), self.moving)

    def _measure(self, row: int) -> Values:
        if self.moving:
            return volumes(self.store, row, self.atlas)
        return image_means(read_intensity(self.store, row), self.atlas)

    def forecast(
        self, follow_up: FollowUp, last: int, gain: float, offset: float, years: float, past: Measured | None = None
    ) -> RegionForecast:
        """Forecasts of the model and of the baselines ``years`` after the scan of ``last``, whose units are given.

        Without ``past``, the subject's scans, there are no baselines.
        """
        if self.moving:
            volumes = follow_up.measured_draws if self.truth is None else follow_up.volume_draws
            assert follow_up.volumes is not None and volumes is not None
            columns = [list(follow_up.volumes["structure"]).index(name) for name in self.names]
            share = volumes[:, columns] / follow_up.volumes["last"].to_numpy()[columns]
            if self.truth is None and follow_up.volume_error is not None:
                share = share * np.exp(self._measurement_errors(follow_up.volume_error[columns], len(share), last))
            draws = 100 * (share - 1)
        else:
            now = self.measured(last)
            scans = [(image - offset) / gain for image in follow_up.samples]
            draws = np.stack([image_means(image, self.atlas) for image in scans]) - now
        moments = {
            "crow": (np.asarray(draws.mean(0)), np.asarray(draws.std(0, ddof=1))),
        }
        if past is not None and self.baselines is not None and len(past.times):
            moments |= self.baselines.forecasts(past, years)
        return RegionForecast(np.asarray(draws, float), {k: v for k, v in moments.items() if np.isfinite(v[1]).all()})

    @staticmethod
    def _measurement_errors(sd: NDArray[np.floating], draws: int, last: int) -> Values:
        """Errors of measured log volume changes, which both scans have, ``[draw, region]``; seeded by the last row."""
        rng = np.random.default_rng([0, last])
        return np.sqrt(2) * np.asarray(sd, float) * rng.standard_normal((draws, len(sd)))

    def scores(self, forecast: RegionForecast, change: Values) -> list[dict[str, Any]]:
        """One row per region and model: the real change, mean and sd of its forecast, and scores."""
        rows = []
        for model, (mean, sd) in forecast.moments.items():
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
    """By model: MAE, CRPS, NLL (nats per region), coverage, correlation over subjects (mean of regions).

    "individual correlation" is that of the forecast minus the mean change with the real change minus the mean change.
    """
    out = {}
    keys = [name for name in ("subject", "region") if name in scores]
    common = scores[scores["model"] == MEAN_CHANGE].set_index(keys)["mean"]
    for model, rows in scores.groupby("model", sort=False):
        away = np.abs(rows["pit"] - 0.5)
        regions = [part for _, part in rows.groupby("region")]
        correlations = [correlation(part["mean"].to_numpy(), part["change"].to_numpy()) for part in regions]
        out[str(model)] = {
            "MAE": float(rows["error"].mean()), "CRPS": float(rows["crps"].mean()), "NLL": float(rows["nll"].mean()),
            **{f"coverage {100 * share:.0f} %": float((away <= share / 2).mean()) for share in COVERED},
            "correlation": float(np.mean(correlations)),
        }  # fmt: skip
        if "subject" in keys and len(common):
            out[str(model)]["individual correlation"] = _individual(rows, common, keys)
    return out


def registration_summary(registered: pd.DataFrame) -> dict[str, float]:
    """Changes that registration measures against true ones: slope through 0 and correlation (means of regions), MAE.

    ``registered``: ``region``, ``change`` (true) and ``registered``. No forecast of measured scans can be better.
    """
    slopes, correlations = [], []
    for _, rows in registered.groupby("region"):
        true, found = rows["change"].to_numpy(), rows["registered"].to_numpy()
        slopes.append((true * found).sum() / max(float((true**2).sum()), 1e-12))
        correlations.append(correlation(found, true))
    error = float((registered["registered"] - registered["change"]).abs().mean())
    return {"slope": float(np.median(slopes)), "correlation": float(np.mean(correlations)), "MAE": error}


def _individual(rows: pd.DataFrame, common: pd.Series, keys: list[str]) -> float:
    """Mean over regions of the correlation of forecast and real change, both minus the mean change."""
    mean = common.reindex(pd.MultiIndex.from_frame(rows[keys])).to_numpy()
    parts = pd.DataFrame(
        {"region": rows["region"], "forecast": rows["mean"] - mean, "real": rows["change"] - mean}
    ).groupby("region")
    return float(np.mean([correlation(p["forecast"].to_numpy(), p["real"].to_numpy()) for _, p in parts]))


def yearly_rates(real: pd.DataFrame, synthetic: pd.DataFrame) -> pd.DataFrame:
    """Distributions of the change per year in real scans and in draws, by region.

    Parameters
    ----------
    real, synthetic : DataFrame
        ``subject``, ``region`` and ``rate`` (change per year); one row per subject and region, for ``synthetic`` one
        row per draw.

    Returns
    -------
    DataFrame
        One row per region: ``subjects``; mean, sd and the 5, 25, 75 and 95 % quantiles of both (``_real``,
        ``_synthetic``); ``wasserstein``, their distance in sds of the real rates; ``correlation`` of the mean draw with
        the real rate over subjects.
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
            quantiles = quantiles_of(values, [0.05, 0.25, 0.75, 0.95], axis=0)
            found |= {f"{q}_{name}": value for q, value in zip(QUANTILES, quantiles, strict=True)}
        found |= {"wasserstein": stats.wasserstein_distance(a, b) / sd, "correlation": correlation(each, a)}
        rows.append(found)
    return pd.DataFrame(rows)
