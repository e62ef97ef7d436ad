"""One model, learned from some subjects and judged on others."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import pandas as pd
import torch

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import Future, future_visits
from crow.cohort.names import DIAGNOSIS, SEX, SITE, matches
from crow.data.forecast import Forecast, quantiles_of
from crow.errors import CohortError
from crow.evaluation.baselines import Baseline
from crow.evaluation.forecasts import each_alone, in_units, split_history, value_scores, visit_scores, with_groups

Ahead = Literal["known", "carry", "linear"]
GROUPS = {"sex": SEX, "diagnosis": DIAGNOSIS, "site": SITE}
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


@dataclass(frozen=True)
class EvaluationFold:
    """Whom models are judged on, and whom they learn from (None where those are not known).

    ``scale``, by region, is the unit of errors: the sd over training visits.
    """

    training: Cohort | None
    test: Cohort
    scale: pd.Series


@dataclass(frozen=True)
class ModelEvaluation:
    """``scores`` has a row a value that was forecast (`value_scores` in units of the part's scale, which is
    ``unit``; `with_groups`), ``visit_scores`` a row a visit, ``likelihood`` a row a visit (None without one),
    ``visits`` the forecast itself in the table's own units; ``why_not`` says why there is nothing of them. ``seconds``
    of one processor."""

    name: str
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    visit_scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    likelihood: pd.DataFrame | None = None
    visits: pd.DataFrame = field(default_factory=pd.DataFrame)
    seconds: float = 0.0
    why_not: str | None = None
    fitted: Baseline | None = None


def evaluate_model(
    model: Baseline, part: EvaluationFold, fit: bool, keep: bool, samples: int, seed: int, fit_seed: int, ahead: Ahead
) -> ModelEvaluation:
    """Fit a model (or take it as it is) and forecast the later half of every test subject's visits; ``keep`` it."""
    began = time.process_time()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if fit:
            if part.training is None:
                return ModelEvaluation(model.name, why_not="the subjects that the run was trained on are not at hand.")
            model.fit(part.training, fit_seed)
        history, targets, asked = questions(part.test, ahead)
        forecast = model.forecast(history, asked, samples, seed)
        likelihood, ahead_nats = model.log_prob(observed(part.test)), None
        if likelihood is not None:
            alone = model.log_prob(each_alone(history, targets, asked))
            assert alone is not None
            ahead_nats = alone.groupby("subject")["log_prob"].last().to_numpy(float)
    except CohortError as error:
        if not fit:
            raise
        return ModelEvaluation(model.name, why_not=str(error))
    except np.linalg.LinAlgError as error:
        return ModelEvaluation(model.name, why_not=f"it could not be fitted: {error}.")
    finally:
        torch.set_num_threads(threads)
    seconds = time.process_time() - began
    scores = value_scores(forecast, targets, history)
    visits = _as_table(forecast, targets, scores) if keep else pd.DataFrame()
    scale = part.scale[forecast.regions]
    scores = scores.assign(unit=scores["region"].map(scale).astype(float))
    scores = in_units(scores, scores["unit"])
    groups = group_columns(part.test)
    scores = with_groups(scores, targets, list(groups.values())).rename(columns={v: k for k, v in groups.items()})
    for name in groups:
        scores[name] = scores[name].astype(object).where(scores[name].notna(), "unknown")
    of_visits = visit_scores(forecast, targets, scale.to_numpy(float), ahead_nats)
    return ModelEvaluation(model.name, scores, of_visits, likelihood, visits, seconds, None, model if keep else None)


def questions(test: Cohort, ahead: Ahead) -> tuple[Cohort, pd.DataFrame, pd.DataFrame]:
    """The visits that are given, the later ones, and these as they are asked for: subject, time, age, covariates.

    Covariates to come are those that the table has (``known``; carried on where it has none), or what `future_visits`
    makes of those before. Raises CohortError where no subject has two visits with a region.
    """
    history, targets = split_history(observed(test))
    if targets.empty:
        raise CohortError(f"{test.path or 'the cohort'}: no subject to judge has two visits, and a "
                          "forecast is judged by a later one. Give people with two or more.")  # fmt: skip
    targets = targets.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
    known = ["subject", "time", *(test.covariates if ahead == "known" else [])]
    future = cast(Future, "carry" if ahead == "known" else ahead)
    return history, targets, future_visits(history, targets[known], future)


def observed(cohort: Cohort) -> Cohort:
    """The visits with a value of at least one region."""
    visits = cohort.visits[cohort.visits[cohort.regions].notna().any(axis=1)].reset_index(drop=True)
    return Cohort(visits, cohort.schema, cohort.start, path=cohort.path)


def group_columns(cohort: Cohort) -> dict[str, str]:
    """The covariates that tell sex, diagnosis and site, where there are any; the first of each."""
    names = [name for name, kind in cohort.schema.covariates.items() if kind == "categorical"]
    found = {group: [name for name in names if matches(pattern, name)] for group, pattern in GROUPS.items()}
    found["diagnosis"].sort(key=lambda name: name in cohort.schema.fixed)  # of DX_bl and DX the one that changes
    return {group: columns[0] for group, columns in found.items() if columns}


def _as_table(forecast: Forecast, targets: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """One row a visit and region that was measured: whose, when, the truth, the forecast and its scores."""
    quantiles = quantiles_of(forecast.values, list(QUANTILES.values()), axis=1)
    truth = targets[forecast.regions].to_numpy(float)
    measured = ~np.isnan(truth)
    session = np.repeat(targets["session"].to_numpy(), len(forecast.regions))[measured.ravel()]
    table = scores[["subject", "time", "ahead", "region"]].copy()
    table.insert(1, "session", session)
    table["truth"] = truth[measured]
    for name, values in zip(QUANTILES, quantiles, strict=True):
        table[name] = values[measured]
    return table.assign(**{name: scores[name] for name in ("error", "crps", "pit")})
