"""`crow evaluate`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crow.cli import cohort_options, options
from crow.cli.progress import followed
from crow.cli.terminal import console, echo, echo_warning, echo_written, plain
from crow.errors import ConfigError
from crow.evaluation.baselines import baseline_names, require_libraries
from crow.models.registry import FOLLOW_UPS, kind_of_run
from crow.places import EVALUATION, beside_run, check_places, file, folder

if TYPE_CHECKING:
    from crow.pipelines.evaluate import EvaluationOutput

SHOWN = ("MAE", "CRPS", "energy", "NLL", "coverage 90 %", "seconds")
OF_SCANS = ("change correlation", "change RMSE", "SSIM", "MAE", "CRPS", "coverage 90 %")
OF_STRUCTURES = ("MAE", "CRPS", "individual correlation", "coverage 50 %", "coverage 90 %")


@options.joins_tables
def evaluate(
    run: options.Run,
    cohort: Annotated[
        Path | None,
        typer.Option(help="Other subjects to evaluate on.", show_default="the test set of the training"),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Cross-validate: train again without each of so many parts, and evaluate on it."),
    ] = None,
    baselines: Annotated[
        str,
        typer.Option(
            help="all, simple (last,mean,slope), none, or a list with commas of these and of mixed (statsmodels), "
            "multivariate (the mixed model that crow is initialised at), boosting (gradient-boosted quantiles), gru, "
            "cinn, published, leaspy. A mixed model is always among them: if none is named, multivariate is added."
        ),
    ] = "simple",
    future_covariates: options.KnownCovariates = "carry",
    draws: Annotated[int, options.draws(20)] = 200,
    seed: options.Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write.", show_default="RUN_evaluation")] = None,
    tadpole: Annotated[
        Path | None, typer.Option(help="CSV file for a submission to TADPOLE: 60 months per subject.")
    ] = None,
    jobs: options.Jobs = None,
    cluster: options.Cluster = None,
    missing: cohort_options.Missing = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Evaluate a run on subjects that it was not trained on, and compare it with baselines.

    Measured are forecast errors, calibration, likelihood, synthetic against real subjects, group effects, and privacy.

    Example:
    [bold]crow evaluate --run demo/run --baselines all[/bold]
    """
    out = out or beside_run(run, EVALUATION)
    outputs = [*folder("--out", out, "evaluation"), *file("--tadpole", tadpole, (".csv",))]
    check_places(outputs, {"--run": run, "--cohort": cohort}, overwrite)
    if kind_of_run(run, "train") in FOLLOW_UPS and tadpole is not None:
        raise ConfigError(f"--tadpole {tadpole}: runs of scans do not forecast TADPOLE's values.")
    baseline_names(baselines)
    require_libraries(baselines)
    from crow.cluster import check_cluster, on_cluster

    check_cluster(cluster)

    from crow.pipelines.evaluate import evaluate as run_evaluate

    def shown(steps: Iterable[Any], total: int | None) -> Iterable[Any]:
        return followed(steps, "Evaluating", total, name=lambda step: step if isinstance(step, str) else "forecasts")

    echo(f"Baselines {baselines}, {draws} draws, future covariates {future_covariates}, seed {seed}.")
    with on_cluster(cluster, jobs, echo):
        made = run_evaluate(
            run, out, cohort=cohort, folds=folds, baselines=baselines, draws=draws, seed=seed, future=future_covariates,
            submission=tadpole, jobs=jobs, missing=missing, overwrite=overwrite, echo=echo, progress=shown,
        )  # fmt: skip
    _show(made, trained_before=folds is None)
    figures = ", figures" if any(made.folder.glob("*.png")) else ""
    echo_written([*([tadpole] if tadpole else []), made.folder], f" (metrics.json, tables{figures})")


def _show(made: "EvaluationOutput", trained_before: bool) -> None:
    metrics = made.metrics
    scans = metrics.get("scans", {})
    forecast = metrics.get("forecast") or scans.get("forecast", {})
    names = [name for name in (OF_SCANS if scans else SHOWN) if any(name in one for one in forecast.values())]
    unit = metrics.get("unit") or scans.get("unit", "")
    if structures := scans.get("regions"):
        _show_table(structures["forecast"], OF_STRUCTURES, f"Change of structures ({structures['unit']})")
        if registration := structures.get("registration"):
            echo(f"Registration of the real scans: slope {registration['slope']:.2f} of the true change, MAE "
                 f"{registration['MAE']:.3g}, correlation {registration['correlation']:.2f}")  # fmt: skip
    title = f"Voxels (in {unit})" if scans else f"Test subjects (errors in {unit}; NLL in nats per visit)"
    _show_table(forecast, names, title)
    if "seconds" in names and trained_before:
        echo("Seconds are those of one processor, without the training of crow.")
    if gain := metrics.get("likelihood_gain"):
        echo(gain["sentence"])
    skills = metrics.get("skill") or (scans.get("regions") or scans).get("skill") or {}
    for reference in dict.fromkeys(skill["reference"] for skill in skills.values()):
        each = [
            f"{metric} {skill['value']:.0%} ({skill['low']:.0%} to {skill['high']:.0%})"
            for metric, skill in skills.items() if skill["reference"] == reference
        ]  # fmt: skip
        echo(f"Skill over {reference}: {', '.join(each)}; 95 % intervals")
    if known := metrics.get("forecast_known_covariates"):
        crps = {model: float(errors["CRPS"]) for model, errors in known.items()}
        best = min(crps, key=crps.__getitem__)
        ours = f", crow {_short(crps['crow'])}" if "crow" in crps and best != "crow" else ""
        echo(f"With the true covariates of later visits, CRPS: {best} {_short(crps[best])}{ours}")
    agreement = {name: one["concordance"] for name, one in metrics.get("group_effects", {}).items()
                 if one.get("concordance") is not None}  # fmt: skip
    if agreement:
        listed = ", ".join(f"{name} {value:.2f}" for name, value in agreement.items())
        echo(f"Concordance of synthetic with real group effects: {listed}")
    if "privacy" in metrics:
        verdict, reasons = metrics["privacy"]["verdict"], metrics["privacy"]["reasons"]
        echo(f"Privacy: {verdict}." + ("" if verdict == "pass" else f" {' '.join(reasons)}"))
    if "tadpole" in metrics:
        own = {name: value for name, value in metrics["tadpole"].items() if isinstance(value, float)}
        shown = (f"{name} {_short(value)}" for name, value in own.items() if not name.startswith("last visit"))
        echo(f"TADPOLE: {', '.join(shown)}")
    for warning in metrics["warnings"]:
        echo_warning(warning)
    if left_out := [one["metric"] for one in metrics["left_out"]]:
        echo(f"Left out: {', '.join(left_out)}; metrics.json has the reasons.")


def _show_table(forecast: dict[str, dict[str, float]], names: Sequence[str], title: str) -> None:
    from rich.table import Table

    table = Table("model", *names, box=None, title=title, title_justify="left")
    for model, found in forecast.items():
        table.add_row(plain(model), *(_short(found.get(name)) for name in names))
    console().print(table)


def _short(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:#.3g}".removesuffix(".") if abs(number) < 1000 else f"{number:,.0f}"
