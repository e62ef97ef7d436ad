"""How good forecasts are: by value and by visit, then by region, horizon and group of people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scoringrules
from scipy.spatial.distance import pdist

from crow.cohort.cohort import Cohort
from crow.data.forecast import Forecast, quantiles_of

COVERED = (0.5, 0.8, 0.9, 0.95)
HORIZONS = (0.0, 1.0, 2.0, 4.0, np.inf)
HORIZON_NAMES = ("0-1 y", "1-2 y", "2-4 y", ">4 y")
AGE_BANDS = (0.0, 65.0, 75.0, 85.0, np.inf)
AGE_NAMES = ("<65", "65-75", "75-85", ">85")


def split_history(cohort: Cohort) -> tuple[Cohort, pd.DataFrame]:
    """The first ceil(n / 2) visits of subjects with at least 2, which are given, and their later ones, to forecast.

    Visits with a region count.
    """
    visits = cohort.visits
    there = visits[cohort.regions].notna().any(axis=1)
    by_subject = there.groupby(visits["subject"])
    n = by_subject.transform("sum")
    # A visit without a region is given if it comes before the first that is forecast.
    given = by_subject.cumsum() - there < (n + 1) // 2
    given &= there | (by_subject.cumsum() < (n + 1) // 2)
    history = Cohort(visits[given & (n >= 2)], cohort.schema, cohort.start, path=cohort.path)
    return history, visits[~given & there & (n >= 2)].reset_index(drop=True)


def value_scores(forecast: Forecast, targets: pd.DataFrame, history: Cohort) -> pd.DataFrame:
    """One row a value that was forecast: ``subject, time, ahead, region``, then its scores.

    ``ahead`` are years since the subject's last given visit; ``error`` is |median - truth|, ``squared`` that of the
    mean, ``crps`` that of the draws; ``nll`` -log density in nats under N(mean, sd^2) of the draws; ``pit`` the share
    of draws below the truth (ties count half); ``inside_90`` whether the central 90 % of the draws hold it.
    ``targets`` has the true regions, a row a row of the forecast; values that nobody measured are left out.
    """
    truth = targets[forecast.regions].to_numpy(float)
    draws = np.moveaxis(forecast.values, 1, -1)
    last = history.visits.groupby("subject")["time"].last()
    ahead = targets["time"].to_numpy() - last.loc[targets["subject"]].to_numpy()
    below = (draws < truth[..., None]).mean(-1) + 0.5 * (draws == truth[..., None]).mean(-1)
    columns: dict[str, np.ndarray] = {
        "error": np.abs(np.median(draws, -1) - truth), "squared": (draws.mean(-1) - truth) ** 2,
        "crps": np.asarray(scoringrules.crps_ensemble(truth, draws)), "pit": below,
        "nll": np.asarray(scoringrules.logs_normal(truth, draws.mean(-1), draws.std(-1, ddof=1))),
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
    """One row a visit: ``subject, time``, ``energy`` of its regions divided by ``scale [region]``, and its ``nll``.

    ``nll`` is ``-log_prob [row of targets]``, where there is one. The energy score is
    ``mean_k |x_k - y| - sum_{k < l} |x_k - x_l| / n^2`` of n draws. Only visits of which every region was measured.
    scoringrules' energy score holds all pairs of all visits in memory, and takes a hundred times as long.
    """
    truth = targets[forecast.regions].to_numpy(float) / scale
    whole = ~np.isnan(truth).any(1)
    energy = [
        np.linalg.norm(draws - y, axis=1).mean() - pdist(draws).sum() / len(draws) ** 2
        for draws, y in zip(forecast.values[whole] / scale, truth[whole], strict=True)
    ]
    table = targets.loc[whole, ["subject", "time"]].assign(energy=np.array(energy, float))
    if log_prob is not None:
        table["nll"] = -log_prob[whole]
    return table.reset_index(drop=True)


def each_alone(history: Cohort, targets: pd.DataFrame, asked: pd.DataFrame) -> Cohort:
    """A subject for every row of ``targets``, in that order: the history of whose it is, then this visit alone.

    The last visit's density is that of the row given the history. Its age and covariates are those of ``asked``.
    """
    names = [f"{k:09d}" for k in range(len(targets))]
    told = targets.assign(**{name: asked[name].to_numpy() for name in ("age", *history.covariates)}, subject=names)
    before = targets[["subject"]].assign(alone=names).merge(history.visits, on="subject")
    visits = pd.concat([before.assign(subject=before["alone"]).drop(columns="alone"), told])
    visits = visits.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
    return Cohort(visits, history.schema, history.start, path=history.path)


def with_groups(scores: pd.DataFrame, targets: pd.DataFrame, groups: Sequence[str] = ()) -> pd.DataFrame:
    """The same with ``horizon``, ``age band`` (where the age is known), and columns of ``targets`` (sex, site)."""
    own = targets.set_index(["subject", "time"])
    rows = pd.MultiIndex.from_frame(scores[["subject", "time"]])
    added = {"horizon": _named(scores["ahead"].to_numpy(), HORIZONS, HORIZON_NAMES, right=True)}
    if own["age"].notna().any():
        added["age band"] = _named(own["age"].loc[rows].to_numpy(float), AGE_BANDS, AGE_NAMES, right=False)
    return scores.assign(**added, **{name: own[name].loc[rows].to_numpy() for name in groups})


def _named(values: np.ndarray, edges: Sequence[float], names: Sequence[str], right: bool) -> np.ndarray:
    return np.asarray(pd.Series(pd.cut(values, edges, labels=names, right=right)).astype(str))


def in_units(scores: pd.DataFrame, unit: pd.Series) -> pd.DataFrame:
    """Errors in a ``unit`` of each row; nats stay what they are."""
    return scores.assign(
        error=scores["error"] / unit, crps=scores["crps"] / unit, squared=scores["squared"] / unit**2
    )


def summarise(scores: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """MAE, RMSE, CRPS, NLL and coverage, one row a group of ``by``."""
    grouped = scores.groupby(list(by), sort=False, dropna=False) if by else scores.groupby(lambda _: "all")
    table = pd.DataFrame({
        "values": grouped.size(), "subjects": grouped["subject"].nunique(), "MAE": grouped["error"].mean(),
        "RMSE": grouped["squared"].mean() ** 0.5, "CRPS": grouped["crps"].mean(), "NLL a value": grouped["nll"].mean(),
        **{f"covers {share * 100:.0f} %": grouped[f"inside_{share * 100:.0f}"].mean() for share in COVERED},
    })  # fmt: skip
    return table.reset_index(drop=not by)


def skill(
    ours: pd.DataFrame, theirs: pd.DataFrame, metric: str, draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """1 - mean error of ours / theirs, and its 95 % interval over resampled subjects.

    Both have a row a value (or visit) of the same ones, ``subject`` and ``metric``.
    """
    a, b = (table.groupby("subject")[metric].sum() for table in (ours, theirs))
    b = b.loc[a.index]
    chosen = np.random.default_rng(seed).integers(len(a), size=(draws, len(a)))
    resampled = 1 - a.to_numpy()[chosen].sum(1) / b.to_numpy()[chosen].sum(1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(1 - a.sum() / b.sum()), float(low), float(high)
