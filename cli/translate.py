"""`crow translate`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from crow.cli import cohort_options as flags
from crow.cli import run_options as options


def translate(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Option(
            help="To learn from scans: their store; from a table: its columns, A,B_*. With --run: a store, table, BIDS "
            "tree or NIfTI file.",
        ),
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(help="The target: a store of the same people, or a table.", rich_help_panel=options.LEARN),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="COLUMNS", help="Of a table: what is to be told; all its regions if not given.",
            rich_help_panel=options.LEARN, show_default=False,
        ),
    ] = "",
    config: options.Config = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    run: options.Run = None,
    samples: Annotated[int, typer.Option(min=2, help="Answers for every visit.", rich_help_panel=options.APPLY)] = 8,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run folder to learn into (runs/translate); with --run a folder (translated).")
    ] = None,
    overwrite: options.Overwrite = False,
    subject: flags.Subject = None,
    time: flags.Time = None,
    time_kind: flags.TimeKind = None,
    age: flags.Age = None,
    session: flags.Session = None,
    covariates: flags.Covariates = None,
    regions: flags.Regions = None,
    exclude: flags.Exclude = None,
    missing: flags.Missing = None,
    missing_code: flags.MissingCodes = None,
) -> None:  # fmt: skip
    """Draw what another modality (or other regions) of a visit would look like: many answers, so how sure is seen.

    Example: from two stores of the same people: [bold]crow translate --cohort pet_store --source t1w_store --out
    runs/pet[/bold], then [bold]crow translate --run runs/pet --source new_t1w_store --out pet_of_new[/bold]
    """
    from rich.progress import track

    from crow.models.translator import Translation
    from crow.pipelines import translate as pipeline

    options.one_use(context)
    if run is not None:
        if source is None:
            raise typer.BadParameter("--source: name the scans or the table to translate.")

        def shown(made: Iterator[Translation], count: int) -> Iterator[Translation]:
            return iter(track(made, "Translating", count, transient=True))

        done = pipeline.translate(
            run, Path(source), out or Path("translated"), samples, seed=seed, overwrite=overwrite, echo=typer.echo,
            progress=shown,
        )  # fmt: skip
        typer.echo(f"Translated {done.visits:,} visits, {samples} samples each.")
        typer.echo(f"Wrote {done.folder}")
        return
    if cohort is None:
        raise typer.BadParameter("give --cohort to learn from, or --run to apply.")
    if source is None:
        raise typer.BadParameter("--source: name the store of the scans that are given, or the columns of the table.")
    learned = pipeline.learn(
        cohort, source, out or Path("runs/translate"), target, config=config, sets=sets, resume=resume,
        overwrite=overwrite, echo=typer.echo, **options.reading(context),
    )  # fmt: skip
    options.show_likelihood(learned.model.metrics)
    options.show_written(learned)
