"""Models side by side on the same held-out subjects: one table of errors, coverage, likelihood and skill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd
from joblib import Parallel, cpu_count, delayed

from crow.cohort.cohort import Cohort
from crow.cohort.split import folds as split_folds
from crow.evaluation.baselines import BASELINES, SIMPLE, Baseline, baseline_names
from crow.evaluation.crow_baseline import CRowBaseline
from crow.evaluation.evaluate_model import Ahead, EvaluationFold, ModelEvaluation, evaluate_model, observed
from crow.evaluation.forecast_evaluation import OURS, evaluate_forecasts
from crow.evaluation.result import EvaluationResult
from crow.models.crow import CRow
from crow.run.config import Config

LONGEST_FIRST = (OURS, "published", "mixed", "leaspy", "gru", "cinn", "start", *SIMPLE)
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


class Fold(NamedTuple):
    """What the first fold's model of crow is, for what is asked of one model only."""

    model: CRow
    training: Cohort
    test: Cohort


def compare(
    model: CRow,
    training: Cohort | None,
    test: Cohort,
    baselines: str | Sequence[str] = "simple",
    *,
    samples: int = 200,
    seed: int = 0,
    future: Ahead = "known",
    jobs: int | None = 1,
    progress: Progress = lambda done, total: done,
) -> EvaluationResult:
    """How a fitted model forecasts the subjects of ``test``, beside baselines that learn from ``training``.

    The first half of each subject's visits is given, the later ones are forecast; ``future`` says what is told of the
    covariates to come: those of the table (``known``), or those before, carried on or on a line. ``baselines`` are
    names of `BASELINES`, ``all``, ``simple`` or ``none``. Errors are in sds of the training visits (of one region in
    the table's units). Raises ConfigError for an unknown baseline, CohortError where there is nothing to forecast.
    """
    scale = _unit(pd.Series(model.table.sd, model.table.regions))
    ours = CRowBaseline(OURS, model=model)
    found = _judged([EvaluationFold(training, test, scale)], baselines, ours, False, samples, seed, seed, future, jobs, progress)
    return evaluate_forecasts(found, [test])


def compare_folds(
    config: Config,
    cohort: Cohort,
    folds: int,
    baselines: str | Sequence[str] = "simple",
    *,
    samples: int = 200,
    seed: int = 0,
    future: Ahead = "known",
    jobs: int | None = 1,
    progress: Progress = lambda done, total: done,
) -> tuple[EvaluationResult, Fold]:
    """The same by cross-validation over subjects: in each of ``folds`` everything learns from the other subjects.

    Also returns the first fold's model and subjects. ``jobs`` processes (one a core where None) share folds and models.
    """
    names = sorted(cohort.subjects)
    parts, warnings = [], list[str]()
    for chosen in split_folds(cohort.split_names(names), folds, seed):
        theirs = cohort.visits["subject"].isin([names[i] for i in chosen])
        training, test = (observed(_some(cohort, rows)) for rows in (~theirs, theirs))
        test = _known_levels(training, test, warnings)
        parts.append(EvaluationFold(training, test, _unit(training.visits[cohort.regions].astype(float).std())))
    ours = CRowBaseline(OURS, config)
    found = _judged(parts, baselines, ours, True, samples, seed, config.seed, future, jobs, progress)
    first = next(each.fitted for each in found[0] if each.name == OURS)
    assert isinstance(first, CRowBaseline) and first.model is not None and parts[0].training is not None
    result = evaluate_forecasts(found, [part.test for part in parts]).merge(EvaluationResult(warnings=warnings))
    return result, Fold(first.model, parts[0].training, parts[0].test)


def _judged(
    parts: list[EvaluationFold], baselines: str | Sequence[str], ours: CRowBaseline, fit: bool, samples: int, seed: int,
    own_seed: int, future: Ahead, jobs: int | None, progress: Progress,
) -> list[list[ModelEvaluation]]:  # fmt: skip
    """By part, then by model, crow first; what takes longest is begun first."""
    models: dict[str, tuple[Baseline, bool, int]] = {OURS: (ours, fit, own_seed)}
    models |= {name: (BASELINES[name](), True, seed) for name in baseline_names(baselines)}
    order = sorted(models, key=LONGEST_FIRST.index)
    tasks = [(k, name) for name in order for k in range(len(parts))]
    calls = (
        delayed(_numbered)(i, models[name][0], parts[k], models[name][1], name == OURS, samples, seed, models[name][2],
                           future)
        for i, (k, name) in enumerate(tasks)
    )  # fmt: skip
    processes = min(jobs or cpu_count(), len(tasks))
    # What workers are given stays in memory: joblib would write large tables of a cohort to a temporary folder.
    run = Parallel(processes, return_as="generator_unordered", max_nbytes=None)
    found = dict(progress(run(calls), len(tasks)))
    by_name = [{tasks[i][1]: each for i, each in found.items() if tasks[i][0] == k} for k in range(len(parts))]
    return [[each[name] for name in models] for each in by_name]


def _numbered(number: int, model: Baseline, part: EvaluationFold, fit: bool, keep: bool, *others: Any) -> tuple[int, ModelEvaluation]:
    return number, evaluate_model(model, part, fit, keep, *others)


def _unit(sd: pd.Series) -> pd.Series:
    """Sds of several regions; one region keeps its own unit."""
    return sd if len(sd) > 1 else sd * 0 + 1.0


def _some(cohort: Cohort, rows: pd.Series) -> Cohort:
    return replace(cohort, visits=cohort.visits[rows].reset_index(drop=True))


def _known_levels(training: Cohort, test: Cohort, warnings: list[str]) -> Cohort:
    """Test visits whose level of a covariate no training visit has are taken as visits of unknown level."""
    visits = test.visits.copy()
    for name, kind in test.schema.covariates.items():
        if kind == "categorical":
            new = visits[name].notna() & ~visits[name].isin(training.visits[name].dropna())
            visits[name] = visits[name].mask(new)
            if new.any():
                warnings.append(
                    f"{name}: {int(new.sum())} visits have a value that nobody has in the folds learned from; taken as "
                    "unknown."
                )
    return Cohort(visits, test.schema, test.start, path=test.path)
