"""`crow report`."""

from pathlib import Path
from typing import Annotated

import typer

from crow.cli import cohort_options, options
from crow.cli.progress import followed
from crow.cli.terminal import echo, echo_written
from crow.errors import ConfigError
from crow.places import PAGES, REPORT, beside_run, check_places, file


@options.joins_tables
def report(
    run: Annotated[Path, typer.Option(help="Run folder of any command that trains.")],
    cohort: Annotated[
        Path | None, typer.Option(help="Cohort to show.", show_default="the cohort of the training, if unchanged")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder that crow evaluate wrote.", show_default="RUN_evaluation")
    ] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Subject to show, besides the worst forecasts; may be repeated."),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE@YEARS,...", show_default="low and high values of a covariate",
            help="Course of covariates to show; may be repeated.",
        ),
    ] = None,
    atlas: options.Atlas = None,
    labels: options.Labels = None,
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="RUN_report.html")] = None,
    hide_subjects: Annotated[
        bool, typer.Option("--hide-subjects", help="Show no single subject, so that the report can be shared.")
    ] = False,
    draws: Annotated[int, options.draws(20)] = 200,
    seed: options.Seed = 0,
    missing: cohort_options.Missing = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Write what a run learned, and how good it is, into one HTML file that opens offline.

    Accuracy, calibration and privacy are those of crow evaluate: run it first.

    Example: [bold]crow report --run demo/run --subject 9002[/bold]
    """
    if labels is not None and atlas is None:
        raise ConfigError(f"--labels {labels}: the names belong to an atlas. Give it with --atlas.")
    inputs = {"--run": run, "--cohort": cohort, "--evaluation": evaluation, "--atlas": atlas, "--labels": labels}
    check_places(file("--out", out or beside_run(run, REPORT), PAGES), inputs, overwrite)

    from crow.pipelines.report import report as run_report
    from crow.pipelines.report_longitudinal import ReportOptions

    content = ReportOptions(
        cohort=cohort, evaluation=evaluation, subjects=tuple(dict.fromkeys(subject or [])),
        what_if=tuple(what_if or []), atlas=atlas, labels=labels, draws=draws, seed=seed, missing=missing,
        hide_subjects=hide_subjects,
    )  # fmt: skip
    made = run_report(
        run, out, content, overwrite, echo=lambda line: None,
        progress=lambda steps: followed(steps, "Report", name=str),
    )  # fmt: skip
    for part, reason in made.left_out:
        echo(f"left out: {part}: {reason}")
    echo_written([made.path], f" ({made.size / 1e6:.1f} MB)")
