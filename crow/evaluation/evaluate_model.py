"""One model, fitted to the training subjects and evaluated on the test subjects."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import future_visits
from crow.cohort.names import DIAGNOSIS, SEX, SITE, matches
from crow.data.forecast import Forecast, quantiles_of
from crow.errors import CohortError, ConfigError
from crow.evaluation.baselines import Baseline
from crow.evaluation.forecasts import (
    in_units,
    isolated_targets,
    split_history,
    value_scores,
    visit_scores,
    with_groups,
)

FutureCovariates = Literal["carry", "linear", "known"]
NO_TRAINING = "the subjects that the run was trained on are not available."
GROUPS = {"sex": SEX, "diagnosis": DIAGNOSIS, "site": SITE}
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


@dataclass(frozen=True)
class EvaluationFold:
    """The subjects that models are evaluated on, and those that they are fitted to.

    Attributes
    ----------
    training : Cohort or None
        Training subjects; None if they are not available.
    test : Cohort
        Test subjects.
    scale : Series
        By region, the unit of errors: the standard deviation over training visits.
    """

    training: Cohort | None
    test: Cohort
    scale: pd.Series


@dataclass(frozen=True)
class ModelEvaluation:
    """The forecasts of one model on one fold.

    Attributes
    ----------
    name : str
        The model's name.
    scores : DataFrame
        One row per forecast value: see `value_scores`, in units of the fold's scale (column ``unit``), with groups
        (`with_groups`).
    visit_scores : DataFrame
        One row per forecast visit: see `visit_scores`.
    likelihood : DataFrame or None
        One row per visit of the test subjects; None if the model has no density.
    visits : DataFrame
        One row per visit and region: the forecast itself in the table's units; empty unless it is kept.
    known : DataFrame or None
        As ``scores``, of forecasts that received the true covariates of the forecast visits; None if ``scores`` did,
        or if no covariate changes within subjects.
    seconds : float
        Processor time of fit and forecast.
    reason : str or None
        Why there is no evaluation; None if there is one.
    fitted : Baseline or None
        The fitted model, if it is kept.
    """

    name: str
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    visit_scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    likelihood: pd.DataFrame | None = None
    visits: pd.DataFrame = field(default_factory=pd.DataFrame)
    known: pd.DataFrame | None = None
    seconds: float = 0.0
    reason: str | None = None
    fitted: Baseline | None = None


def evaluate_model(
    model: Baseline,
    part: EvaluationFold,
    *,
    fit: bool = True,
    keep: bool = False,
    draws: int = 200,
    seed: int = 0,
    fit_seed: int = 0,
    future: FutureCovariates = "carry",
) -> ModelEvaluation:
    """Forecast the later half of every test subject's visits.

    Parameters
    ----------
    model : Baseline
        The model to evaluate.
    part : EvaluationFold
        Training and test subjects.
    fit : bool
        Whether to fit the model to the training subjects first.
    keep : bool
        Whether to keep the fitted model and the forecasts themselves.
    draws, seed : int
        Draws per visit and their seed.
    fit_seed : int
        Seed of the fit.
    future : {"carry", "linear", "known"}
        Covariates at the visits to forecast, as in `crow.evaluation.comparison.compare`.

    Returns
    -------
    ModelEvaluation
        With ``reason`` instead of scores if the model cannot be fitted to this cohort.

    Raises
    ------
    CohortError
        If a model that was fitted before cannot forecast these subjects.
    """
    began = time.process_time()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if fit:
            if part.training is None:
                return ModelEvaluation(model.name, reason=NO_TRAINING)
            model.fit(part.training, fit_seed)
        history, targets, inputs = forecast_task(part.test, future)
        forecast = model.forecast(history, inputs, draws, seed)
        known = None
        if future != "known" and covariates_that_change(part.test):
            known = model.forecast(history, forecast_task(part.test, "known")[2], draws, seed)
        likelihood, forecast_log_prob = model.log_prob(drop_empty_visits(part.test)), None
        if likelihood is not None:
            isolated = model.log_prob(isolated_targets(history, targets, inputs))
            assert isolated is not None
            forecast_log_prob = isolated.groupby("subject")["log_prob"].last().to_numpy(float)
    except (CohortError, ConfigError) as error:
        if not fit:
            raise
        return ModelEvaluation(model.name, reason=str(error))
    except np.linalg.LinAlgError as error:
        return ModelEvaluation(model.name, reason=f"it could not be fitted: {error}.")
    finally:
        torch.set_num_threads(threads)
    seconds = time.process_time() - began
    scores = value_scores(forecast, targets, history)
    visits = _as_table(forecast, targets, scores) if keep else pd.DataFrame()
    scale = part.scale[forecast.regions]
    scores = _scaled(scores, scale)
    of_known = None if known is None else _scaled(value_scores(known, targets, history), scale)
    groups = group_columns(part.test)
    scores = with_groups(scores, targets, list(groups.values())).rename(columns={v: k for k, v in groups.items()})
    for name in groups:
        scores[name] = scores[name].astype(object).where(scores[name].notna(), "unknown")
    by_visit = visit_scores(forecast, targets, scale.to_numpy(float), forecast_log_prob)
    kept = model if keep else None
    return ModelEvaluation(model.name, scores, by_visit, likelihood, visits, of_known, seconds, None, kept)


def _scaled(scores: pd.DataFrame, scale: pd.Series) -> pd.DataFrame:
    scores = scores.assign(unit=scores["region"].map(scale).astype(float))
    return in_units(scores, scores["unit"])


def covariates_that_change(cohort: Cohort) -> list[str]:
    """The covariates that can change within a subject."""
    return [name for name in cohort.covariates if name not in cohort.schema.fixed]


def forecast_task(test: Cohort, future: FutureCovariates) -> tuple[Cohort, pd.DataFrame, pd.DataFrame]:
    """Split the visits of test subjects into those that are given and those that are forecast.

    Parameters
    ----------
    test : Cohort
        Test subjects.
    future : {"carry", "linear", "known"}
        Covariates at the visits to forecast. ``known`` values that are missing in the table are carried forward, as are
        covariates that never change within a subject.

    Returns
    -------
    history : Cohort
        The visits that are given.
    targets : DataFrame
        The later visits, with their true regions, sorted by subject and time.
    inputs : DataFrame
        The same visits as models receive them: subject, time, age and covariates.

    Raises
    ------
    CohortError
        If no subject has two visits with a region.
    """
    history, targets = split_history(drop_empty_visits(test))
    if targets.empty:
        raise CohortError(
            f"{test.path or 'the cohort'}: no test subject has two visits, and a forecast is evaluated on a later "
            "visit. Give subjects with two visits or more."
        )
    targets = targets.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
    known = ["subject", "time", *(covariates_that_change(test) if future == "known" else [])]
    return history, targets, future_visits(history, targets[known], "carry" if future == "known" else future)


def drop_empty_visits(cohort: Cohort) -> Cohort:
    """The visits with a value of at least one region."""
    visits = cohort.visits[cohort.visits[cohort.regions].notna().any(axis=1)].reset_index(drop=True)
    return replace(cohort, visits=visits)


def group_columns(cohort: Cohort) -> dict[str, str]:
    """The covariates that hold sex, diagnosis and site, if there are any; the first of each."""
    names = [name for name, kind in cohort.schema.covariates.items() if kind == "categorical"]
    found = {group: [name for name in names if matches(pattern, name)] for group, pattern in GROUPS.items()}
    found["diagnosis"].sort(key=lambda name: name in cohort.schema.fixed)  # of DX_bl and DX the one that changes
    return {group: columns[0] for group, columns in found.items() if columns}


def _as_table(forecast: Forecast, targets: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """One row per visit and observed region: subject, session, time, the truth, the forecast and its scores."""
    quantiles = quantiles_of(forecast.values, list(QUANTILES.values()), axis=1)
    truth = targets[forecast.regions].to_numpy(float)
    observed = ~np.isnan(truth)
    session = np.repeat(targets["session"].to_numpy(), len(forecast.regions))[observed.ravel()]
    table = scores[["subject", "time", "ahead", "region"]].copy()
    table.insert(1, "session", session)
    table["truth"] = truth[observed]
    for name, values in zip(QUANTILES, quantiles, strict=True):
        table[name] = values[observed]
    return table.assign(**{name: scores[name] for name in ("error", "crps", "pit")})
