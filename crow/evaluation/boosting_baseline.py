"""Gradient-boosted quantiles of each region on summaries of the subject's past: the usual regression of tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from crow.cohort.cohort import Cohort
from crow.data.forecast import Forecast
from crow.errors import CohortError, MissingExtra
from crow.extras import extra
from crow.representation.regions import RegionTable

Values = NDArray[np.float64]
LEVELS = np.array([0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95])
MAX_ROWS = 5000  # pairs of a history and a later visit that a region is learned from
MIN_ROWS = 20
TREES, LEAVES, RATE = 100, 7, 0.08


class BoostingBaseline:
    """Quantiles of the change since the last value, by gradient boosting, one model per region and quantile.

    The features are, of the region: the last value, the mean, the least-squares slope, the years since the last value
    and the number of values; and of the subject: the years ahead, the years since the first visit, the number of
    visits, the age and covariates of the last visit, and the last values of the other regions. It learns from every
    training subject's first 1, 2, ... visits and each later visit. A draw is the quantile function, linear in the
    normal quantile between and beyond `LEVELS`. LightGBM is used if it is installed (the extra ``boosting``), else
    scikit-learn's histogram gradient boosting (Friedman 2001; Ke et al. 2017). It has no density.
    """

    name = "gradient-boosted quantiles"

    def fit(self, training: Cohort, seed: int = 0) -> Self:
        """Learn from all pairs of a history and a later visit of the training subjects, at most `MAX_ROWS`.

        Raises CohortError if a region has too few later values to learn from.
        """
        self.table, self.regions = RegionTable.fit(training), training.regions
        pasts, rows, later = [], list[Values](), list[Values]()
        for past in _pasts(training.visits, self.table):
            for k in range(1, len(past.time)):
                pasts.append(past.first(k))
                rows.append(past.time[k:])
                later.append(past.values[k:])
        features = [one.features(times) for one, times in zip(pasts, rows, strict=True)]
        last = np.repeat([one.last for one in pasts], [len(times) for times in rows], axis=0)
        change = np.concatenate([*later, np.empty((0, len(self.regions)))]) - last.reshape(-1, len(self.regions))
        rng = np.random.default_rng(seed)
        self.models, self.used = list[list[Any]](), list[NDArray[np.int64]]()
        for d, region in enumerate(self.regions):
            known = np.flatnonzero(~np.isnan(change[:, d]))
            if len(known) < MIN_ROWS:
                raise CohortError(
                    f"{training.path or 'the cohort'}, column {region}: {len(known)} values at later visits are too "
                    f"few for boosting; it needs {MIN_ROWS}."
                )
            known = np.sort(rng.permutation(known)[:MAX_ROWS])
            x = np.concatenate([one[d] for one in features])[known]
            used = np.flatnonzero(~np.isnan(x).all(0))  # one visit has no slope
            self.used.append(used)
            with threadpool_limits(1):
                self.models.append([_regressor(level, seed).fit(x[:, used], change[known, d]) for level in LEVELS])
        return self

    def forecast(self, history: Cohort, targets: pd.DataFrame, draws: int = 200, seed: int = 0) -> Forecast:
        """Draws of ``targets`` given each subject's visits in ``history``; covariates of targets are not used."""
        names = history.visits["subject"].drop_duplicates()
        pasts = dict(zip(names, _pasts(history.visits, self.table), strict=True))
        quantiles = np.empty((len(LEVELS), len(targets), len(self.regions)))
        groups = targets.groupby("subject").indices.items()
        rows = np.concatenate([own for _, own in groups])
        features = [pasts[str(name)].features(targets["time"].to_numpy(float)[own]) for name, own in groups]
        for d, models in enumerate(self.models):
            x = np.concatenate([one[d] for one in features])[:, self.used[d]]
            with threadpool_limits(1):
                quantiles[:, rows, d] = [model.predict(x) for model in models]
        last = np.array([pasts[str(name)].last for name in targets["subject"]])
        values = last[:, None] + _draws(np.sort(quantiles, 0), draws, seed)
        return Forecast(targets, self.regions, self.table.draws(torch.from_numpy(values)))

    def log_prob(self, cohort: Cohort) -> None:
        """No density."""
        return None


class _Past(NamedTuple):
    """A subject's visits: ``time [visit]``, standardised ``values [visit, region]`` (or NaN), ``context``."""

    time: Values
    values: Values
    context: Values

    def first(self, count: int) -> _Past:
        return _Past(self.time[:count], self.values[:count], self.context[:count])

    @property
    def last(self) -> Values:
        """The last value of every region; the training mean, 0, if there is none."""
        return np.nan_to_num(pd.DataFrame(self.values).ffill().to_numpy()[-1])

    def features(self, times: Values) -> Values:
        """``[region, target, feature]`` of visits at ``times [target]``."""
        known = ~np.isnan(self.values)
        count = known.sum(0)
        filled = np.where(known, self.values, 0.0)
        mean = filled.sum(0) / np.maximum(count, 1)
        centre = np.where(known, self.time[:, None], 0.0).sum(0) / np.maximum(count, 1)
        apart = np.where(known, self.time[:, None] - centre, 0.0)
        spread = (apart**2).sum(0)
        slope = np.where(spread > 1e-9, (apart * (filled - mean)).sum(0) / np.maximum(spread, 1e-9), np.nan)
        seen = np.where(count > 0, self.time[len(self.time) - 1 - known[::-1].argmax(0)], np.nan)
        last = np.where(count > 0, self.last, np.nan)
        shared = np.concatenate([[self.time[-1], len(self.time)], self.context[-1], last])
        own = np.stack([last, np.where(count > 0, mean, np.nan), slope, count], 1)  # [region, 4]
        n, regions = len(times), len(own)
        return np.concatenate([
            np.broadcast_to(own[:, None], (regions, n, own.shape[1])),
            (times - seen[:, None])[..., None], np.broadcast_to(times[:, None] - self.time[-1], (regions, n, 1)),
            np.broadcast_to(shared, (regions, n, len(shared))),
        ], 2)  # fmt: skip


def _pasts(visits: pd.DataFrame, table: RegionTable) -> Iterator[_Past]:
    """Each subject's visits, in order."""
    data = table.encode(visits)
    values = np.where(data.values().numpy(), data.x.double().numpy(), np.nan)
    for time, own, context, count in zip(
        data.time.double().numpy(), values, data.context.double().numpy(), data.mask.sum(1).tolist(), strict=True
    ):
        yield _Past(time[:count], own[:count], context[:count])


def _draws(quantiles: Values, draws: int, seed: int) -> Values:
    """``[target, draw, region]`` of the distributions with ``quantiles [level, target, region]``."""
    rng, z = np.random.default_rng(seed), norm.ppf(LEVELS)
    half = rng.normal(size=(quantiles.shape[1], -(-draws // 2), quantiles.shape[2]))
    noise = np.concatenate([half, -half], 1)[:, :draws]
    k = np.clip(np.searchsorted(z, noise) - 1, 0, len(z) - 2)
    by_target = quantiles.transpose(1, 0, 2)
    low, high = (np.take_along_axis(by_target, k + step, 1) for step in (0, 1))
    drawn: Values = low + (noise - z[k]) / (z[k + 1] - z[k]) * (high - low)
    return drawn


def _regressor(level: float, seed: int) -> Any:
    try:
        with extra("boosting"):
            from lightgbm import LGBMRegressor
    except MissingExtra:
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(
            loss="quantile", quantile=level, max_iter=TREES, learning_rate=RATE, max_leaf_nodes=LEAVES,
            early_stopping=False, random_state=seed,
        )  # fmt: skip
    return LGBMRegressor(
        objective="quantile", alpha=level, n_estimators=TREES, learning_rate=RATE, num_leaves=LEAVES, n_jobs=1,
        random_state=seed, deterministic=True, verbose=-1,
    )  # fmt: skip
