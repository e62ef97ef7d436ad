"""`crow evaluate`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crow.cli import cohort_options as flags

if TYPE_CHECKING:
    from crow.pipelines.evaluate import Evaluated

SHOWN = ("MAE", "RMSE", "CRPS", "energy", "NLL", "covers 90 %", "seconds")
OF_SCANS = ("MAE", "RMSE", "CRPS", "SSIM", "change RMSE", "change correlation", "covers 90 %")


def evaluate(
    run: Annotated[Path, typer.Option(help="The run folder that crow train wrote.")],
    cohort: Annotated[
        Path | None,
        typer.Option(help="Other people to judge it on. Without it, the cohort of the training.", show_default=False),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Train again on all but one of so many parts, and judge that.", show_default=False),
    ] = None,
    baselines: Annotated[
        str,
        typer.Option(help="all, simple (last,mean,slope), none, or some of these and of mixed (statsmodels), start "
                     "(the mixed model that crow starts from), gru, cinn, published, leaspy; with commas."),
    ] = "simple",
    future: Annotated[
        Literal["known", "carry", "linear"], typer.Option(help="What models are told of covariates to come.")
    ] = "known",
    samples: Annotated[int, typer.Option(min=20, help="Draws of a forecast.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws, the folds and the baselines.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The folder to write; RUN/evaluation.", show_default=False)] = None,
    tadpole: Annotated[
        Path | None, typer.Option(help="Also write TADPOLE's submission: 60 months a subject.", show_default=False)
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; all cores.", show_default=False)] = None,
    missing: flags.Missing = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier evaluation.")] = False,
) -> None:
    """Measure how good a run is on people whom it did not see, beside baselines: errors, calibration, likelihood,
    synthetic people against real ones, group effects, privacy.

    Example: [bold]crow train --cohort demo/cohort.csv --set split.test=0.2 --out demo/run[/bold], then
    [bold]crow evaluate --run demo/run --baselines all[/bold], then [bold]crow report --run demo/run[/bold]
    """
    from rich.console import Console
    from rich.progress import track

    from crow.pipelines.evaluate import evaluate as run_evaluate

    def shown(steps: Iterable[Any], total: int | None) -> Iterable[Any]:
        return track(steps, "Evaluating", total=total, console=Console(stderr=True), transient=True)

    typer.echo(f"Baselines {baselines}, {samples} draws, covariates to come: {future}, seed {seed}.")
    made = run_evaluate(
        run, out, cohort=cohort, folds=folds, baselines=baselines, samples=samples, seed=seed, future=future,
        submission=tadpole, jobs=jobs, missing=missing, overwrite=overwrite, echo=typer.echo, progress=shown,
    )  # fmt: skip
    _show(made, trained_before=folds is None)
    also = f", {tadpole}" if tadpole else ""
    typer.echo(f"Wrote {made.folder} (metrics.json, tables, figures){also}")


def _show(made: "Evaluated", trained_before: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    metrics = made.metrics
    scans = metrics.get("scans", {})
    forecast = metrics.get("forecast") or scans.get("forecast", {})
    names = [name for name in (OF_SCANS if scans else SHOWN) if any(name in of for of in forecast.values())]
    unit = metrics.get("unit") or scans.get("unit", "")
    table = Table("model", *names, box=None, title=f"Held-out people (errors in {unit}; NLL: nats a visit)",
                  title_justify="left")  # fmt: skip
    for model, of in forecast.items():
        table.add_row(model, *(_short(of.get(name)) for name in names))
    Console(highlight=False).print(table)
    if "seconds" in names and trained_before:
        typer.echo("Seconds are those of one processor; the training of crow, done before, is not among them.")
    for metric, of in (metrics.get("skill") or scans.get("skill") or {}).items():
        between = f"{of['low']:.3f} to {of['high']:.3f}"
        typer.echo(f"Skill in {metric} against {of['against']}: {of['value']:.3f} ({between})")
    for contrast, of in metrics.get("group_effects", {}).items():
        if of.get("concordance") is not None:
            typer.echo(f"Group effects, {contrast}: concordance of synthetic and real {of['concordance']:.2f}")
    if "privacy" in metrics:
        typer.echo(f"Privacy: {metrics['privacy']['verdict']}. {' '.join(metrics['privacy']['reasons'])}")
    if "tadpole" in metrics:
        own = {name: value for name, value in metrics["tadpole"].items() if isinstance(value, float)}
        shown = (f"{name} {_short(value)}" for name, value in own.items() if not name.startswith("last visit"))
        typer.echo(f"TADPOLE: {', '.join(shown)}")
    for warning in metrics["warnings"]:
        typer.echo(f"warning: {warning}")
    for one in metrics["left_out"]:
        typer.echo(f"left out: {one['metric']}: {one['why']}")


def _short(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"
