"""How good a run is on people whom its training did not see, beside baselines: numbers, tables and figures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crow.cohort import Cohort
from crow.cohort.split import test_subjects
from crow.errors import CohortError, ConfigError, OutputError, RunError
from crow.evaluation import tadpole
from crow.evaluation.baselines import baseline_names
from crow.evaluation.comparison import compare, compare_folds
from crow.evaluation.evaluate_model import Ahead
from crow.evaluation.forecast_evaluation import OURS
from crow.evaluation.result import EvaluationResult
from crow.evaluation.synthetic import evaluate_synthetic
from crow.evaluation.tadpole_forecast import require_submission, tadpole_submission
from crow.files import check_free, writing
from crow.models.crow import CRow
from crow.models.registry import class_of_run
from crow.pipelines.evaluate_scans import evaluate_scans
from crow.pipelines.history import Missing, read_history, trained_on
from crow.pipelines.scan_history import store_beside
from crow.report import charts, figures
from crow.report.evaluated import FORMAT
from crow.report.group_effects import group_figure
from crow.run.folder import load_run, sha256

METRICS = "metrics.json"
UNKNOWN = "the subjects that the run was trained on are not at hand."


@dataclass(frozen=True)
class Evaluated:
    """The folder that was written, and what is in its metrics.json."""

    folder: Path
    metrics: dict[str, Any]


@dataclass(frozen=True)
class People:
    """Whom a run is judged on (``test``), whom it learned from where that is known, how that was decided, warnings."""

    test: Cohort
    training: Cohort | None
    split: str
    warnings: tuple[str, ...] = ()


def evaluate(
    run: Path,
    out: Path | None = None,
    *,
    cohort: Path | None = None,
    folds: int | None = None,
    baselines: str = "simple",
    samples: int = 200,
    seed: int = 0,
    future: Ahead = "known",
    submission: Path | None = None,
    jobs: int | None = None,
    missing: Missing | None = None,
    overwrite: bool = False,
    echo: Callable[[str], None] = lambda line: None,
    progress: Callable[[Iterable[Any], int | None], Iterable[Any]] = lambda steps, total: steps,
) -> Evaluated:
    """Judge a run and write the folder ``out`` (``RUN/evaluation``): metrics.json, tidy CSVs and figures.

    Judged are the run's test subjects (``split.test``); with ``folds`` everybody, by models that are trained again on
    the others; with another ``cohort`` everybody in it. ``baselines`` are names of `BASELINES`, ``all``, ``simple`` or
    ``none``. ``future`` says what is told of covariates to come. ``submission`` is a file for TADPOLE's submission.
    Raises RunError where no one was held out, ConfigError for folds or baselines that cannot be, CohortError for a
    cohort that is not like the run's, OutputError where ``out`` exists.
    """
    baseline_names(baselines)
    out = out or run / "evaluation"
    _check_place(out, overwrite)
    scans = class_of_run(run).uses_scans
    if submission is not None:
        if scans:
            raise ConfigError(f"--tadpole {submission}: a run of scans forecasts none of TADPOLE's values.")
        check_free(submission, overwrite)
    with writing(out, overwrite) as folder:
        folder.mkdir()
        if scans:
            result = evaluate_scans(
                run, folder, cohort=cohort, folds=folds, samples=samples, seed=seed, future=future,
                work=store_beside(out), missing=missing, overwrite=overwrite, echo=echo,
                progress=lambda steps: progress(steps, None),
            )  # fmt: skip
        else:
            model = CRow.load(run)
            everyone = read_history(model, cohort, missing)
            if folds is None:
                people = _people(run, model, everyone, cohort, missing)
                _check_submission(submission, model, people.training, people.test)
                echo(f"judging {len(people.test.subjects)} subjects: {people.split}")
                result = compare(
                    model, people.training, people.test, baselines, samples=samples, seed=seed, future=future,
                    jobs=jobs, progress=progress,
                )  # fmt: skip
            else:
                _check_folds(folds, everyone)
                _check_submission(submission, model, everyone, everyone)
                echo(f"{folds} folds of {len(everyone.subjects)} subjects: in each everything learns from the others")
                result, fold = compare_folds(
                    model.config, everyone, folds, baselines, samples=samples, seed=seed, future=future, jobs=jobs,
                    progress=progress,
                )  # fmt: skip
                model = fold.model
                note = "Distribution, group effects, usefulness and privacy are those of the first fold's model."
                people = People(fold.test, fold.training, f"{folds} folds by subject", (note,))
            facts = _what(result, people, everyone if folds else people.test)
            result = result.merge(facts, _synthetic(model, people, seed, echo))
            if submission is not None and people.training is not None:
                echo("60 months of every subject for TADPOLE")
                table = tadpole_submission(model, people.training, people.test, samples=samples, seed=seed)
                tadpole.write_submission(table, submission, overwrite)
            _draw(result, folder)
        metrics = _metrics(run, result, samples, seed, future)
        for name, table in result.tables.items():
            table.to_csv(folder / f"{name}.csv", index=False, float_format="%.10g", lineterminator="\n")
        (folder / METRICS).write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return Evaluated(out, metrics)


def _check_place(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise OutputError(f"{out}: exists already. Choose another --out, or replace it with --overwrite.")
    if not out.is_dir() or (any(out.iterdir()) and not (out / METRICS).is_file()) or (out / "model.json").exists():
        raise OutputError(f"{out}: not a folder of crow evaluate, so --overwrite does not replace it.")


def _check_folds(folds: int, cohort: Cohort) -> None:
    if not 2 <= folds <= len(cohort.subjects) // 2:
        most = len(cohort.subjects) // 2
        raise ConfigError(f"--folds {folds}: the cohort has {len(cohort.subjects)} subjects; choose 2 to {most}.")


def _check_submission(path: Path | None, model: CRow, training: Cohort | None, cohort: Cohort) -> None:
    """Before hours of work, not after them."""
    if path is None:
        return
    if training is None:
        raise CohortError(f"--tadpole {path}: {UNKNOWN} They teach the probabilities of diagnoses.")
    require_submission(model, training, cohort)


def _people(run: Path, model: CRow, everyone: Cohort, cohort: Path | None, missing: Missing | None) -> People:
    """The test subjects of the table that the run was trained on, or those of another one that it has not learned."""
    if everyone.path is not None and sha256(everyone.path) == model.source.get("sha256"):
        held = set(test_subjects(everyone, model.config.split.test, model.config.seed))
        if not held:
            raise RunError(
                f"{run}: trained on everyone in {everyone.path}, so no one is left to judge it on. Train with --set "
                "split.test=0.2, or give --folds 5, or --cohort with other people."
            )
        others = [name for name in everyone.subjects if name not in held]
        return People(everyone.of(held), everyone.of(others), "the run's test subjects")
    model.table.encode(everyone.visits, str(everyone.path))  # a value that the run does not know is told by its file
    try:
        own = read_history(model, trained_on(model.source, "table", ""), missing)
        held = set(test_subjects(own, model.config.split.test, model.config.seed))
        training = own.of(name for name in own.subjects if name not in held)
    except CohortError:
        doubt = f"{cohort}: crow cannot know whether the run was trained on some of these people."
        return People(everyone, None, "all subjects of another cohort", (doubt,))
    known = set(training.subjects)
    others = [name for name in everyone.subjects if name not in known]
    if not others:
        raise RunError(f"{run}: trained on every subject of {cohort}, by their names. Give --cohort with other people.")
    split, left = "subjects of another cohort", len(everyone.subjects) - len(others)
    said = (f"{left} subjects of {cohort} have the names of training subjects, and are not judged.",) if left else ()
    return People(everyone.of(others), training, split, said)


def _synthetic(model: CRow, people: People, seed: int, echo: Callable[[str], None]) -> EvaluationResult:
    if people.training is None:
        parts = ("distribution", "group_effects", "usefulness", "privacy", "tadpole")
        return EvaluationResult(left_out=[(part, UNKNOWN) for part in parts])
    return evaluate_synthetic(model, people.training, people.test, seed, echo=echo)


def _what(result: EvaluationResult, people: People, judged: Cohort) -> EvaluationResult:
    targets = result.tables["visits"][["subject", "time"]].drop_duplicates()
    facts = {
        "cohort": judged.path, "split": people.split, "subjects": len(judged.subjects), "visits": len(judged),
        "targets": len(targets), "training subjects": len(people.training.subjects) if people.training else None,
    }  # fmt: skip
    return EvaluationResult({"what": facts}, warnings=list(people.warnings))


def _metrics(run: Path, result: EvaluationResult, samples: int, seed: int, future: str) -> dict[str, Any]:
    facts = {
        "run": str(run), "samples": samples, "seed": seed, "covariates ahead": future,
        "versions": load_run(run).versions,
    }  # fmt: skip
    return {"format": FORMAT, **result.merge(EvaluationResult({"what": facts})).json()}


def _draw(result: EvaluationResult, folder: Path) -> None:
    """The figures of regions: who wins, by horizon, calibration, likelihoods, group effects."""
    found, tables = result.metrics, result.tables
    forecast, bounds, unit = found["forecast"], found["calibration"], found["unit"]
    names = [metric for metric in ("MAE", "CRPS", "NLL") if forecast[OURS].get(metric) is not None]
    of = {m: {k: v[m] for k, v in forecast.items() if v.get(m) is not None} for m in names}
    figures.save(charts.models(of, unit), folder / "models.png")
    horizons = tables["forecast"].query("by == 'horizon' and metric == 'CRPS'")
    if len(horizons):
        figures.save(charts.horizons(horizons, "CRPS", unit), folder / "horizons.png")
    levels = [name for name in forecast[OURS] if name.startswith("covers ")]
    short = [name.removeprefix("covers ") for name in levels]
    coverage = pd.DataFrame({
        "nominal": [float(name.removesuffix("%")) / 100 for name in short],
        "observed": [forecast[OURS][name] for name in levels],
        "low": [bounds["covers_low"][name] for name in short], "high": [bounds["covers_high"][name] for name in short],
    })  # fmt: skip
    figures.save(figures.calibration(coverage), folder / "calibration.png")
    figures.save(charts.pit(bounds["pit"]), folder / "pit.png")
    if "likelihood" in tables:
        figures.save(figures.likelihoods(tables["likelihood"]), folder / "likelihoods.png")
    if "group_effects" in tables:
        for k, contrast in enumerate(dict.fromkeys(tables["group_effects"]["contrast"])):
            named = re.sub(r"\W+", "_", contrast)[:40]
            figures.save(group_figure(tables["group_effects"], contrast), folder / f"group_effects_{k + 1}_{named}.png")
