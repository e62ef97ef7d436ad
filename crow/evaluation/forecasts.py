"""Scores of forecasts by value and by visit, and their summaries by region, horizon and group of subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import scoringrules
from scipy.spatial.distance import pdist

from crow.bijections.normal import LOG_2PI
from crow.cohort.cohort import Cohort
from crow.data.forecast import Forecast, quantiles_of
from crow.evaluation.bootstrap import N_RESAMPLES, interval, resample_subjects

LEAST_SD, TINY = 1e-3, 1e-12
COVERED = (0.5, 0.8, 0.9, 0.95)
HORIZONS = (0.0, 1.0, 2.0, 4.0, np.inf)
HORIZON_NAMES = ("0-1 y", "1-2 y", "2-4 y", ">4 y")
AGE_BANDS = (0.0, 65.0, 75.0, 85.0, np.inf)
AGE_NAMES = ("<65", "65-75", "75-85", ">85")


def split_history(cohort: Cohort) -> tuple[Cohort, pd.DataFrame]:
    """Split the n visits of each subject with at least two into the first ceil(n / 2) and the later ones.

    Only visits with a region count. A visit without one is given if it lies before the first forecast visit.

    Parameters
    ----------
    cohort : Cohort
        Visits sorted by subject and time.

    Returns
    -------
    history : Cohort
        The earlier visits, which are given to a model.
    targets : DataFrame
        The later visits, which are forecast.
    """
    visits = cohort.visits
    observed = visits[cohort.regions].notna().any(axis=1)
    by_subject = observed.astype(int).groupby(visits["subject"])
    n, count = by_subject.transform("sum"), by_subject.cumsum()
    given = count - observed.astype(int) < (n + 1) // 2
    given &= observed | (count < (n + 1) // 2)
    history = replace(cohort, visits=visits[given & (n >= 2)])
    return history, visits[~given & observed & (n >= 2)].reset_index(drop=True)


def value_scores(forecast: Forecast, targets: pd.DataFrame, history: Cohort) -> pd.DataFrame:
    """Score every forecast value.

    Parameters
    ----------
    forecast : Forecast
        Draws ``[visit, draw, region]`` in original units.
    targets : DataFrame
        The true regions, one row per visit of the forecast; values that were not observed (NaN) are skipped.
    history : Cohort
        The visits that the model was given.

    Returns
    -------
    DataFrame
        One row per value: ``subject``, ``time``, ``ahead`` (years since the last given visit), ``region``, and

        - ``error``: absolute error of the median;
        - ``squared``: squared error of the mean;
        - ``crps``: continuous ranked probability score of the draws;
        - ``nll``: negative log-density of N(mean, sd^2) of the draws, in nats; draws of a score may all be one level,
          so sd is at least a thousandth of the largest distance of the true values from their mean;
        - ``pit``: share of draws below the truth, ties counted half;
        - ``inside_50`` ... ``inside_95``: 1 if the truth lies in the central interval, else 0.
    """
    truth = targets[forecast.regions].to_numpy(float)
    draws = np.moveaxis(forecast.values, 1, -1)
    last = history.visits.groupby("subject")["time"].last()
    ahead = targets["time"].to_numpy() - last.loc[targets["subject"]].to_numpy()
    known = np.isfinite(truth)
    centre = np.where(known, truth, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    least = LEAST_SD * np.abs(np.where(known, truth - centre, 0.0)).max(0, initial=0.0) + TINY
    sd = np.maximum(draws.std(-1, ddof=1), least)
    below = (draws < truth[..., None]).mean(-1) + 0.5 * (draws == truth[..., None]).mean(-1)
    columns: dict[str, np.ndarray] = {
        "error": np.abs(np.median(draws, -1) - truth), "squared": (draws.mean(-1) - truth) ** 2,
        "crps": np.asarray(scoringrules.crps_ensemble(truth, draws)), "pit": below,
        "nll": 0.5 * ((truth - draws.mean(-1)) / sd) ** 2 + np.log(sd) + 0.5 * LOG_2PI,
    }  # fmt: skip
    for share in COVERED:
        low, high = quantiles_of(draws, [(1 - share) / 2, (1 + share) / 2], axis=-1)
        columns[f"inside_{share * 100:.0f}"] = ((low <= truth) & (truth <= high)).astype(float)
    count = len(forecast.regions)
    table = pd.DataFrame({
        "subject": np.repeat(targets["subject"].to_numpy(), count),
        "time": np.repeat(targets["time"].to_numpy(), count),
        "ahead": np.repeat(ahead, count), "region": np.tile(np.array(forecast.regions, object), len(targets)),
        **{name: values.ravel() for name, values in columns.items()},
    })  # fmt: skip
    return table[~np.isnan(truth.ravel())].reset_index(drop=True)


def visit_scores(
    forecast: Forecast, targets: pd.DataFrame, scale: np.ndarray, log_prob: np.ndarray | None = None
) -> pd.DataFrame:
    """Score every forecast visit with a measured region, over the regions that were measured there.

    The energy score is ``mean_k |x_k - y| - sum_{k < l} |x_k - x_l| / n^2`` over n draws. scoringrules' energy score
    holds all pairs of all visits in memory and takes a hundred times as long.

    Parameters
    ----------
    forecast : Forecast
        Draws ``[visit, draw, region]``.
    targets : DataFrame
        The true regions, one row per visit of the forecast; NaN if missing.
    scale : ndarray of shape [region]
        Divides draws and truth.
    log_prob : ndarray of shape [visit], optional
        The model's log-density of the measured values of each visit (nats).

    Returns
    -------
    DataFrame
        One row per visit: ``subject``, ``time``, ``values`` (how many regions were measured), ``energy``, and ``nll``
        if ``log_prob`` is given.
    """
    truth = targets[forecast.regions].to_numpy(float) / scale
    measured = ~np.isnan(truth)
    some = measured.any(1)
    energy = [
        np.linalg.norm(draws[:, there] - y[there], axis=1).mean() - pdist(draws[:, there]).sum() / len(draws) ** 2
        for draws, y, there in zip(forecast.values[some] / scale, truth[some], measured[some], strict=True)
    ]
    table = targets.loc[some, ["subject", "time"]]
    table = table.assign(values=measured[some].sum(1), energy=np.array(energy, float))
    if log_prob is not None:
        table["nll"] = -log_prob[some]
    return table.reset_index(drop=True)


def isolated_targets(history: Cohort, targets: pd.DataFrame, inputs: pd.DataFrame) -> Cohort:
    """One subject per row of ``targets``, in that order: the history of its subject, then this visit alone.

    The density of each last visit is therefore that of the row given the history, without the visits in between. Ages
    and covariates of the last visits are those of ``inputs``.
    """
    names = [f"{k:09d}" for k in range(len(targets))]
    given = [str(name) for name in inputs if name not in ("subject", "time")]
    last = targets.assign(**{name: inputs[name].to_numpy() for name in given}, subject=names)
    before = targets[["subject"]].assign(isolated=names).merge(history.visits, on="subject")
    visits = pd.concat([before.assign(subject=before["isolated"]).drop(columns="isolated"), last])
    visits = visits.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
    return Cohort(visits, history.schema, history.start, path=history.path)


def with_groups(scores: pd.DataFrame, targets: pd.DataFrame, groups: Sequence[str] = ()) -> pd.DataFrame:
    """Add ``horizon``, ``age band`` (if ages are known), and columns of ``targets`` (for instance sex and site)."""
    own = targets.set_index(["subject", "time"])
    rows = pd.MultiIndex.from_frame(scores[["subject", "time"]])
    added = {"horizon": _binned(scores["ahead"].to_numpy(), HORIZONS, HORIZON_NAMES, right=True)}
    if own["age"].notna().any():
        added["age band"] = _binned(own["age"].loc[rows].to_numpy(float), AGE_BANDS, AGE_NAMES, right=False)
    return scores.assign(**added, **{name: own[name].loc[rows].to_numpy() for name in groups})


def _binned(values: np.ndarray, edges: Sequence[float], names: Sequence[str], right: bool) -> np.ndarray:
    return np.asarray(pd.Series(pd.cut(values, edges, labels=names, right=right)).astype(str))


def in_units(scores: pd.DataFrame, unit: pd.Series) -> pd.DataFrame:
    """Divide the errors of each row by ``unit``; log-densities stay as they are."""
    return scores.assign(error=scores["error"] / unit, crps=scores["crps"] / unit, squared=scores["squared"] / unit**2)


def summarise(scores: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Mean scores of all values, or by group.

    Parameters
    ----------
    scores : DataFrame
        As `value_scores` returns it.
    by : sequence of str
        Columns to group by, for instance ``["region"]``.

    Returns
    -------
    DataFrame
        One row per group: ``values``, ``subjects``, ``MAE``, ``RMSE``, ``CRPS``, ``NLL per value`` (nats) and
        ``coverage 50 %`` ... ``coverage 95 %`` (shares).
    """
    grouped = scores.groupby(list(by), sort=False, dropna=False) if by else scores.groupby(lambda _: "all")
    table = pd.DataFrame({
        "values": grouped.size(), "subjects": grouped["subject"].nunique(), "MAE": grouped["error"].mean(),
        "RMSE": grouped["squared"].mean() ** 0.5, "CRPS": grouped["crps"].mean(),
        "NLL per value": grouped["nll"].mean(),
        **{f"coverage {share * 100:.0f} %": grouped[f"inside_{share * 100:.0f}"].mean() for share in COVERED},
    })  # fmt: skip
    return table.reset_index(drop=not by)


def skill(
    scores: pd.DataFrame, reference: pd.DataFrame, metric: str, resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """Skill score 1 - mean error / mean error of the reference, with its 95 % bootstrap interval over subjects.

    Parameters
    ----------
    scores, reference : DataFrame
        One row per value (or visit), the same ones in both: ``subject`` and ``metric``.
    metric : str
        The column with the error.
    resamples, seed : int
        Number of bootstrap samples of subjects, and their seed.

    Returns
    -------
    tuple of float
        Skill (1 is perfect, 0 as good as the reference), lower and upper bound.
    """
    own, other = (table.groupby("subject")[metric].sum() for table in (scores, reference))
    other = other.loc[own.index]
    chosen = resample_subjects(len(own), resamples, seed)
    low, high = interval(1 - own.to_numpy()[chosen].sum(1) / other.to_numpy()[chosen].sum(1))
    return float(1 - own.sum() / other.sum()), float(low), float(high)
