"""`crow translate`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from crow.cli import cohort_options, options, two_uses
from crow.cli.progress import followed
from crow.cli.terminal import echo, echo_written
from crow.models.registry import kind_of_run
from crow.places import check_places, folder


@options.reads_cohort(cohort_options.OF_TABLES)
def translate(
    context: typer.Context,
    reading: options.Reading,
    source: Annotated[
        str | None,
        typer.Option(
            help="Source of a training: the store of its scans, or columns of the table (A,B_*). With --run, what to "
            "translate: a store, table, BIDS tree or NIfTI file.",
        ),
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(help="Target: a store of the same subjects, or a table.", rich_help_panel=options.TRAINING),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="COLUMNS", help="Target columns of a table.", rich_help_panel=options.TRAINING,
            show_default="all regions but the source",
        ),
    ] = "",
    config: options.Config = None,
    sets: options.Sets = None,
    test: options.Test = None,
    resume: options.Resume = False,
    run: options.AppliedRun = None,
    draws: Annotated[int, options.draws(2, options.APPLYING)] = 8,
    seed: options.AppliedSeed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder to write; with --run, the folder for translations.",
            show_default="runs/translate; with --run translated",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Draw another modality, or other regions, of a visit, many times, so that the uncertainty is visible.

    Example:
    [bold]crow translate --cohort demo/pet_store --source demo/store --out demo/to_pet[/bold]
    [bold]crow translate --run demo/to_pet --source demo/store --out demo/pet_of_t1w[/bold]
    """
    two_uses.check_use(context)
    if run is not None:
        if source is None:
            raise typer.BadParameter("--source is missing: name the scans or the table to translate.")
        out = out or Path("translated")
        check_places(folder("--out", out, "set of translations"), {"--run": run, "--source": Path(source)}, overwrite)
        kind_of_run(run, "translate")

        from crow.pipelines import translate as pipeline

        def shown(made: Iterator[Any], count: int) -> Iterator[Any]:
            return followed(made, "Translating", count)

        done = pipeline.translate(
            run, Path(source), out, draws, seed=seed, overwrite=overwrite, echo=echo,
            progress=shown,
        )  # fmt: skip
        echo(f"Translated {done.visits:,} visits, {draws} draws each.")
        echo_written([done.folder])
        return
    if cohort is None:
        raise typer.BadParameter("Give --cohort to train, or --run to apply a trained model.")
    if source is None:
        raise typer.BadParameter("--source is missing: name the store of the source scans, or columns of the table.")
    out, sets = out or Path("runs/translate"), options.with_test(sets, test)
    store = Path(source) if (Path(source) / "store.json").is_file() else None
    options.check_reading(out, cohort, config, reading, resume, overwrite, source=store)
    from crow.run.cross_sectional_config import named_settings

    named_settings("translate", config, sets or [])

    from crow.pipelines import translate as pipeline

    learned = pipeline.learn(
        cohort, source, out, target, config=config, sets=sets, resume=resume, overwrite=overwrite, echo=echo, **reading,
    )  # fmt: skip
    two_uses.show_likelihood(learned.model.metrics)
    two_uses.show_written(learned)
