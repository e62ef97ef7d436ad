"""Evaluate a run on subjects that it was not trained on, beside baselines: metrics, tables and figures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crow.cohort import Cohort
from crow.errors import CohortError, ConfigError, RunError
from crow.evaluation import tadpole
from crow.evaluation.baselines import with_mixed_model
from crow.evaluation.comparison import compare, compare_folds
from crow.evaluation.evaluate_model import NO_TRAINING, FutureCovariates
from crow.evaluation.forecast_evaluation import OURS
from crow.evaluation.result import EvaluationResult
from crow.evaluation.synthetic import evaluate_synthetic
from crow.evaluation.tadpole_forecast import require_submission, tadpole_submission
from crow.files import check_free, writing
from crow.models.crow import CRow
from crow.models.registry import class_of_run
from crow.pipelines.history import Missing, read_history, trained_on
from crow.pipelines.pictures import can_draw
from crow.places import EVALUATION, beside_run
from crow.report.evaluated import FORMAT
from crow.run.folder import load_run, sha256
from crow.tables import save_table

METRICS = "metrics.json"
Echo = Callable[[str], None]
Progress = Callable[[Iterable[Any], int | None], Iterable[Any]]


@dataclass(frozen=True)
class EvaluationOutput:
    """The folder that was written, and the content of its metrics.json."""

    folder: Path
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Split:
    """The subjects of an evaluation.

    Attributes
    ----------
    test : Cohort
        The subjects to evaluate on.
    training : Cohort or None
        The subjects that the run was trained on; None if they are not available.
    description : str
        How the subjects were split.
    warnings : tuple of str
        Sentences that a reader has to see.
    """

    test: Cohort
    training: Cohort | None
    description: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Settings:
    """How a run of regions is evaluated: see `evaluate`."""

    baselines: list[str]
    draws: int
    seed: int
    future: FutureCovariates
    jobs: int | None

    def arguments(self) -> dict[str, Any]:
        return {"draws": self.draws, "seed": self.seed, "future": self.future, "jobs": self.jobs}


def evaluate(
    run: Path,
    out: Path | None = None,
    *,
    cohort: Path | None = None,
    folds: int | None = None,
    baselines: str = "simple",
    draws: int = 200,
    seed: int = 0,
    future: FutureCovariates = "carry",
    submission: Path | None = None,
    jobs: int | None = None,
    missing: Missing | None = None,
    overwrite: bool = False,
    echo: Echo = lambda line: None,
    progress: Progress = lambda steps, total: steps,
) -> EvaluationOutput:
    """Evaluate a run and write a folder with metrics.json, tidy CSVs and figures.

    By default the run is evaluated on its test subjects (``split.test``). With ``folds`` it is evaluated on all
    subjects by cross-validation, and with another ``cohort`` on the subjects of that cohort.

    Parameters
    ----------
    run : Path
        The run folder.
    out : Path, optional
        The folder to write; ``RUN_evaluation`` by default.
    cohort : Path, optional
        Other subjects to evaluate on.
    folds : int, optional
        Number of folds of a cross-validation, in which the model is trained anew.
    baselines : str
        Names of `crow.evaluation.baselines.BASELINES`, ``all``, ``simple`` or ``none``. If no mixed model is named,
        the one that crow is initialised at is added.
    draws, seed : int
        Draws per visit; seed of draws, folds and baselines.
    future : {"carry", "linear", "known"}
        Covariates at the visits to forecast. Forecasts with known covariates are also scored beside the others.
    submission : Path, optional
        Where to write a submission to the TADPOLE challenge.
    jobs : int, optional
        Processes; all cores by default.
    missing : str, optional
        How visits with missing regions are read, as in training by default.
    overwrite : bool
        Whether to replace an earlier evaluation.
    echo, progress : callable
        Receive lines to print, and iterables for a progress bar.

    Returns
    -------
    EvaluationOutput
        The folder and its metrics.

    Raises
    ------
    RunError
        If the run has no test subjects.
    ConfigError
        If the folds or the baselines are impossible.
    CohortError
        If the cohort does not match the run.
    OutputError
        If ``out`` exists and ``overwrite`` is not set.
    """
    names = with_mixed_model(baselines)
    out = out or beside_run(run, EVALUATION)
    check_free(out, overwrite, "evaluation")
    scans = class_of_run(run).uses_scans
    if submission is not None:
        if scans:
            raise ConfigError(f"--tadpole {submission}: runs of scans do not forecast TADPOLE's values.")
        check_free(submission, overwrite)
    with writing(out, overwrite, "evaluation") as folder:
        folder.mkdir()
        if scans:
            from crow.pipelines.evaluate_scans import evaluate_scans
            from crow.pipelines.scan_history import store_beside

            result = evaluate_scans(
                run, folder, cohort=cohort, folds=folds, draws=draws, seed=seed, future=future,
                work=store_beside(out), missing=missing, overwrite=overwrite, echo=echo,
                progress=lambda steps: progress(steps, None),
            )  # fmt: skip
        else:
            model = CRow.load(run)
            everyone = read_history(model, cohort, missing)
            settings = _Settings(names, draws, seed, future, jobs)
            if folds is None:
                split = _split(run, model, everyone, cohort, missing)
                _check_submission(submission, model, split.training, split.test)
                result = _evaluate_split(model, split, settings, echo, progress)
            else:
                _check_folds(folds, everyone)
                _check_submission(submission, model, everyone, everyone)
                result, model, split = _evaluate_folds(model, everyone, folds, settings, echo, progress)
            result = result.merge(_protocol(result, split, everyone if folds else split.test))
            result = result.merge(_synthetic(model, split, seed, progress))
            if submission is not None and split.training is not None:
                echo("forecasting 60 months of every subject for TADPOLE")
                table = tadpole_submission(model, split.training, split.test, draws=draws, seed=seed)
                tadpole.write_submission(table, submission, overwrite)
            if can_draw(echo):
                _draw(result, folder)
        metrics = _metrics(run, result, draws, seed, future)
        for name, table in result.tables.items():
            save_table(table, folder / f"{name}.csv", ".csv", digits=10)
        (folder / METRICS).write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return EvaluationOutput(out, metrics)


def _evaluate_split(
    model: CRow, split: Split, settings: _Settings, echo: Echo, progress: Progress
) -> EvaluationResult:
    echo(f"evaluating on {len(split.test.subjects)} subjects ({split.description})")
    return compare(
        model, split.training, split.test, settings.baselines, progress=progress, **settings.arguments()
    )  # fmt: skip


def _evaluate_folds(
    model: CRow, everyone: Cohort, folds: int, settings: _Settings, echo: Echo, progress: Progress
) -> tuple[EvaluationResult, CRow, Split]:
    echo(f"cross-validating with {folds} folds of {len(everyone.subjects)} subjects")
    result, fold = compare_folds(
        model.config, everyone, folds, settings.baselines, progress=progress, **settings.arguments()
    )
    note = "Distribution, group effects, usefulness and privacy are those of the first fold's model."
    return result, fold.model, Split(fold.test, fold.training, f"{folds} folds by subject", (note,))


def _check_folds(folds: int, cohort: Cohort) -> None:
    if not 2 <= folds <= len(cohort.subjects) // 2:
        most = len(cohort.subjects) // 2
        raise ConfigError(f"--folds {folds}: the cohort has {len(cohort.subjects)} subjects; choose 2 to {most}.")


def _check_submission(path: Path | None, model: CRow, training: Cohort | None, cohort: Cohort) -> None:
    """Refuse an impossible submission before hours of work, not after them."""
    if path is None:
        return
    if training is None:
        raise CohortError(f"--tadpole {path}: {NO_TRAINING} The probabilities of diagnoses are learned from them.")
    require_submission(model, training, cohort)


def _split(run: Path, model: CRow, everyone: Cohort, cohort: Path | None, missing: Missing | None) -> Split:
    """The test subjects of the table that the run was trained on, or the subjects of another table that are new."""
    if everyone.path is not None and sha256(everyone.path) == model.source.get("sha256"):
        as_trained = everyone if missing is None else read_history(model, cohort, None)
        test = set(model.test_set(as_trained)).intersection(everyone.subjects)
        if not test:
            raise RunError(
                f"{run}: trained on all subjects of {everyone.path}, so there are no test subjects. Train with --test "
                "0.2, or cross-validate with --folds 5, or give other subjects with --cohort."
            )
        training = [name for name in everyone.subjects if name not in test]
        return Split(everyone.of(test), everyone.of(training), "the run's test subjects")
    model.table.encode(everyone.visits, str(everyone.path))  # raises for a value that the run does not know
    try:
        own = read_history(model, trained_on(model.source, "table", ""), missing)
        as_trained = own if missing is None else read_history(model, None, None)
        reserved = set(model.test_set(as_trained))
        trained = own.of(name for name in own.subjects if name not in reserved)
    except CohortError:
        warning = (
            f"{cohort}: the run's training table is not available, so some of these subjects may be training subjects."
        )
        return Split(everyone, None, "all subjects of another cohort", (warning,))
    known = set(trained.subjects)
    new = [name for name in everyone.subjects if name not in known]
    if not new:
        raise RunError(f"{run}: trained on subjects with the names of all subjects of {cohort}. Give other subjects.")
    overlap = len(everyone.subjects) - len(new)
    warning = f"{overlap} subjects of {cohort} have the names of training subjects and are not evaluated."
    return Split(everyone.of(new), trained, "subjects of another cohort", (warning,) if overlap else ())


def _synthetic(model: CRow, split: Split, seed: int, progress: Progress) -> EvaluationResult:
    if split.training is None:
        parts = ("distribution", "group_effects", "usefulness", "privacy", "tadpole")
        return EvaluationResult(left_out=[(part, NO_TRAINING) for part in parts])
    return evaluate_synthetic(
        model, split.training, split.test, seed, progress=lambda parts: progress(parts, len(parts))
    )


def _protocol(result: EvaluationResult, split: Split, evaluated: Cohort) -> EvaluationResult:
    targets = result.tables["visits"][["subject", "time"]].drop_duplicates()
    protocol = {
        "cohort": evaluated.path, "split": split.description, "subjects": len(evaluated.subjects),
        "visits": len(evaluated), "forecast visits": len(targets),
        "training subjects": len(split.training.subjects) if split.training else None,
    }  # fmt: skip
    return EvaluationResult({"protocol": protocol}, warnings=list(split.warnings))


def _metrics(run: Path, result: EvaluationResult, draws: int, seed: int, future: str) -> dict[str, Any]:
    protocol = {
        "run": str(run), "draws": draws, "seed": seed, "future covariates": future,
        "versions": load_run(run).versions,
    }  # fmt: skip
    return {"format": FORMAT, **result.merge(EvaluationResult({"protocol": protocol})).json()}


def _draw(result: EvaluationResult, folder: Path) -> None:
    """Figures of an evaluation of regions: errors by model and horizon, calibration, likelihoods, group effects."""
    from crow.report import charts, figures
    from crow.report.group_effects import group_figure
    from crow.report.outlier_figure import outlier_scores

    found, tables = result.metrics, result.tables
    forecast, bounds, unit = found["forecast"], found["calibration"], found["unit"]
    names = [metric for metric in ("MAE", "CRPS", "NLL") if forecast[OURS].get(metric) is not None]
    by_model = {m: {k: v[m] for k, v in forecast.items() if v.get(m) is not None} for m in names}
    figures.save(charts.models(by_model, unit), folder / "models.png")
    horizons = tables["forecast"].query("by == 'horizon' and metric == 'CRPS'")
    if len(horizons):
        figures.save(charts.horizons(horizons, "CRPS", unit), folder / "horizons.png")
    levels = [name for name in forecast[OURS] if name.startswith("coverage ")]
    short = [name.removeprefix("coverage ") for name in levels]
    coverage = pd.DataFrame({
        "nominal": [float(name.removesuffix("%")) / 100 for name in short],
        "observed": [forecast[OURS][name] for name in levels],
        "low": [bounds["coverage_low"][name] for name in short],
        "high": [bounds["coverage_high"][name] for name in short],
    })  # fmt: skip
    figures.save(figures.calibration(coverage), folder / "calibration.png")
    figures.save(charts.pit(bounds["pit"]), folder / "pit.png")
    if "likelihood" in tables:
        figures.save(outlier_scores(tables["likelihood"]), folder / "outlier_scores.png")
    if "group_effects" in tables:
        for k, contrast in enumerate(dict.fromkeys(tables["group_effects"]["contrast"])):
            name = re.sub(r"\W+", "_", contrast)[:40]
            groups = str(found["group_effects"].get(contrast, {}).get("paths") or "")
            drawn = group_figure(tables["group_effects"], contrast, groups=groups)
            figures.save(drawn, folder / f"group_effects_{k + 1}_{name}.png")
