"""`crow report`."""

from pathlib import Path
from typing import Annotated

import typer

from crow.cli import cohort_options as flags


def report(
    run: Annotated[Path, typer.Option(help="The run folder that a command of crow learned.")],
    cohort: Annotated[
        Path | None,
        typer.Option(help="The visits to show. Without it, those trained on, if unchanged.", show_default=False),
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="What crow evaluate wrote; RUN/evaluation.", show_default=False)
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="A subject to show beside the worst; several flags.", show_default=False)
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE@YEARS", show_default=False,
            help="A course of covariates, parts separated by commas; several flags. Without it, low and high values.",
        ),
    ] = None,
    atlas: Annotated[
        Path | None, typer.Option(help="A NIfTI of labels in MNI space, to map regions on.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Their names: index and name, or FreeSurfer's LUT.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; RUN/report.html.", show_default=False)] = None,
    without_subjects: Annotated[
        bool, typer.Option("--without-subjects", help="Show no single subject: to share the report.")
    ] = False,
    samples: Annotated[int, typer.Option(min=20, help="Draws of a forecast.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    missing: flags.Missing = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report.")] = False,
) -> None:
    """Show what a run learned, how good it is, and what is to be minded, in one HTML file that opens offline.

    What was measured comes from crow evaluate: run it first.

    Example: [bold]crow report --run demo/run --subject 9002[/bold]
    """
    from rich.console import Console
    from rich.progress import track

    from crow.errors import ConfigError
    from crow.pipelines.report import Asked
    from crow.pipelines.report import report as run_report

    if labels is not None and atlas is None:
        raise ConfigError(f"--labels {labels}: the names of an atlas. Give it with --atlas.")
    asked = Asked(
        cohort=cohort, evaluation=evaluation, subjects=tuple(dict.fromkeys(subject or [])),
        what_if=tuple(what_if or []), atlas=atlas, labels=labels, samples=samples, seed=seed, missing=missing,
        without_subjects=without_subjects,
    )  # fmt: skip
    made = run_report(
        run, out, asked, overwrite, echo=lambda line: None,
        progress=lambda steps: track(steps, "Report", console=Console(stderr=True), transient=True),
    )  # fmt: skip
    for what, why in made.left_out:
        typer.echo(f"left out: {what}: {why}")
    typer.echo(f"Wrote {made.path} ({made.size / 1e6:.1f} MB)")
