"""Models side by side on the same test subjects: errors, coverage, likelihood and skill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from crow.cohort.cohort import Cohort
from crow.cohort.split import folds as split_folds
from crow.evaluation.baselines import BASELINES, SIMPLE, Baseline, BaselineUnavailable, baseline_names
from crow.evaluation.crow_baseline import CRowBaseline
from crow.evaluation.evaluate_model import (
    EvaluationFold,
    FutureCovariates,
    ModelEvaluation,
    drop_empty_visits,
    evaluate_model,
)
from crow.evaluation.forecast_evaluation import OURS, evaluate_forecasts
from crow.evaluation.result import EvaluationResult
from crow.models.crow import CRow
from crow.run.config import Config
from crow.tasks import run_tasks

SLOWEST_FIRST = (OURS, "published", "mixed", "leaspy", "gru", "boosting", "cinn", "multivariate")
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


class FittedFold(NamedTuple):
    """The first fold of a cross-validation, for those parts of an evaluation that use a single model."""

    model: CRow
    training: Cohort
    test: Cohort


class _Competitor(NamedTuple):
    """A model to evaluate, whether it is fitted first, and the seed of its fit."""

    model: Baseline
    fit: bool
    seed: int


class _Protocol(NamedTuple):
    """How all models are evaluated."""

    draws: int
    seed: int
    future: FutureCovariates
    jobs: int | None
    progress: Progress


def compare(
    model: CRow,
    training: Cohort | None,
    test: Cohort,
    baselines: str | Sequence[str] = "simple",
    *,
    draws: int = 200,
    seed: int = 0,
    future: FutureCovariates = "carry",
    jobs: int | None = 1,
    progress: Progress = lambda done, total: done,
) -> EvaluationResult:
    """Evaluate the forecasts of a fitted model on test subjects, beside baselines fitted to the training subjects.

    The first half of each subject's visits (rounded up) is given to every model; the later ones are forecast.

    Parameters
    ----------
    model : CRow
        A fitted model.
    training : Cohort or None
        The subjects that baselines are fitted to. If None, baselines are left out with the reason.
    test : Cohort
        The subjects to forecast; the model must not have been trained on them.
    baselines : str or sequence of str
        Names of `crow.evaluation.baselines.BASELINES`, ``all``, ``simple`` or ``none``.
    draws : int
        Draws per visit.
    seed : int
        Seed of the draws and of the fits of the baselines.
    future : {"carry", "linear", "known"}
        Covariates at the visits to forecast: the last given ones carried forward, a line through the given ones, or
        those of the table.
    jobs : int or None
        Processes; None uses all cores.
    progress : callable
        Wraps the iterable of results and receives their number, for a progress bar.

    Returns
    -------
    EvaluationResult
        Metrics ``forecast``, ``forecast_known_covariates``, ``by_horizon``, ``by``, ``own_units``, ``calibration``,
        ``skill`` and ``likelihood_gain``; tables
        ``forecast``, ``own_units``, ``pit``, ``skill``, ``visits`` and ``likelihood``. Errors are in standard
        deviations of the training visits, region by region (for a single region in the table's units);
        log-likelihoods in nats per visit.

    Raises
    ------
    ConfigError
        If a baseline is unknown.
    CohortError
        If no test subject has two visits.
    """
    scale = _error_unit(pd.Series(model.table.sd, model.table.regions))
    ours = _Competitor(CRowBaseline(OURS, model=model), False, seed)
    protocol = _Protocol(draws, seed, future, jobs, progress)
    found, missing = _evaluate_all([EvaluationFold(training, test, scale)], ours, baselines, protocol)
    return evaluate_forecasts(found, [test]).merge(missing)


def compare_folds(
    config: Config,
    cohort: Cohort,
    folds: int,
    baselines: str | Sequence[str] = "simple",
    *,
    draws: int = 200,
    seed: int = 0,
    future: FutureCovariates = "carry",
    jobs: int | None = 1,
    progress: Progress = lambda done, total: done,
) -> tuple[EvaluationResult, FittedFold]:
    """Evaluate by cross-validation over subjects: in each fold every model is fitted to the other folds.

    Parameters
    ----------
    config : Config
        Settings of crow, trained anew in each fold.
    cohort : Cohort
        All subjects; each is a test subject once.
    folds : int
        Number of folds, at least 2.
    baselines, draws, seed, future, jobs, progress
        As in `compare`. Processes share folds and models.

    Returns
    -------
    EvaluationResult
        As in `compare`, over the test subjects of all folds.
    FittedFold
        The first fold's model, training subjects and test subjects.

    Raises
    ------
    ConfigError
        If a baseline is unknown.
    CohortError
        If no subject has two visits.
    """
    names = sorted(cohort.split_subjects)
    parts, warnings = [], list[str]()
    for chosen in split_folds(cohort.split_names(names), folds, seed):
        in_test = cohort.visits["subject"].isin([names[i] for i in chosen])
        if not in_test.any():  # all subjects of this fold lost their visits
            continue
        training, test = (
            drop_empty_visits(replace(cohort, visits=cohort.visits[rows])) for rows in (~in_test, in_test)
        )
        test = _mask_unknown_levels(training, test, warnings)
        parts.append(EvaluationFold(training, test, _error_unit(training.visits[cohort.regions].astype(float).std())))
    ours = _Competitor(CRowBaseline(OURS, config), True, config.seed)
    protocol = _Protocol(draws, seed, future, jobs, progress)
    found, missing = _evaluate_all(parts, ours, baselines, protocol)
    first = next(each.fitted for each in found[0] if each.name == OURS)
    assert isinstance(first, CRowBaseline) and first.model is not None and parts[0].training is not None
    result = evaluate_forecasts(found, [part.test for part in parts])
    result = result.merge(missing, EvaluationResult(warnings=warnings))
    return result, FittedFold(first.model, parts[0].training, parts[0].test)


def _evaluate_all(
    parts: list[EvaluationFold], ours: _Competitor, baselines: str | Sequence[str], protocol: _Protocol
) -> tuple[list[list[ModelEvaluation]], EvaluationResult]:
    """Evaluations by fold, then by model (crow first), and the baselines that are unavailable.

    The slowest models start first.
    """
    models, left_out = {OURS: ours}, list[tuple[str, str]]()
    for name in baseline_names(baselines):
        try:
            models[name] = _Competitor(BASELINES[name](), True, protocol.seed)
        except BaselineUnavailable as reason:
            left_out.append((name, str(reason)))
    tasks = [(k, name) for name in sorted(models, key=_speed) for k in range(len(parts))]
    calls = [
        (models[name], parts[k], name == OURS, protocol.draws, protocol.seed, protocol.future) for k, name in tasks
    ]
    found = dict(protocol.progress(run_tasks(_evaluate, calls, protocol.jobs), len(tasks)))
    by_name = [{tasks[i][1]: each for i, each in found.items() if tasks[i][0] == k} for k in range(len(parts))]
    return [[each[name] for name in models] for each in by_name], EvaluationResult(left_out=left_out)


def _speed(name: str) -> int:
    """Rank of a model by its speed; models of unknown speed come before the simple ones."""
    if name in SLOWEST_FIRST:
        return SLOWEST_FIRST.index(name)
    return len(SLOWEST_FIRST) + (name in SIMPLE)


def _evaluate(
    competitor: _Competitor, part: EvaluationFold, keep: bool, draws: int, seed: int, future: FutureCovariates
) -> ModelEvaluation:
    model, fit, fit_seed = competitor
    return evaluate_model(model, part, fit=fit, keep=keep, draws=draws, seed=seed, fit_seed=fit_seed, future=future)


def _error_unit(sd: pd.Series) -> pd.Series:
    """The unit of errors: standard deviations if there are several regions; a single region keeps its own unit."""
    return sd if len(sd) > 1 else sd * 0 + 1.0


def _mask_unknown_levels(training: Cohort, test: Cohort, warnings: list[str]) -> Cohort:
    """Treat a level of a covariate that no training visit has as unknown."""
    visits = test.visits.copy()
    for name, kind in test.schema.covariates.items():
        if kind == "categorical":
            new = visits[name].notna() & ~visits[name].isin(training.visits[name].dropna())
            visits[name] = visits[name].mask(new)
            if new.any():
                warnings.append(
                    f"{name}: {int(new.sum())} test visits have a value that does not occur in the training folds; it "
                    "is treated as unknown."
                )
    return replace(test, visits=visits)
