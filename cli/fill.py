"""`crow fill`."""

from pathlib import Path
from typing import Annotated

import typer

from crow.cli import options
from crow.cli.terminal import echo, echo_warning, echo_written
from crow.models.registry import kind_of_run
from crow.places import beside, check_places, folder, table


def fill(
    run: options.Run,
    cohort: Annotated[Path, typer.Option(help="A table in the columns of the training, with missing regions.")],
    out: Annotated[
        Path,
        typer.Option(help="Table to write; <out>_intervals has one row per filled value. With --tables, a folder."),
    ] = Path("filled.csv"),
    tables: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, metavar="M", help="Write M completed tables, each one draw, for multiple imputation."
        ),
    ] = None,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Also use a subject's later visits. --tables always does.")
    ] = False,
    draws: Annotated[int, options.draws(2)] = 500,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Fill missing regions with medians and intervals, or with draws for multiple imputation.

    A value is drawn given everything measured of the subject up to and including its visit. Measured values stay as
    they are.

    Example:
    [bold]crow fill --run demo/run --cohort demo/cohort.csv --out demo/filled.csv[/bold]
    """
    if tables is None:
        outputs = [*table("--out", out), *table("--out (its intervals)", beside(out, "_intervals"))]
    else:
        outputs = folder("--out", out, "set of filled tables")
    check_places(outputs, {"--run": run, "--cohort": cohort}, overwrite)
    kind_of_run(run, "train")

    from crow.pipelines.fill import fill as run_fill

    made = run_fill(run, cohort, out, tables=tables, smooth=smooth, draws=draws, seed=seed, overwrite=overwrite)
    filled = made.filled
    values, visits = int(filled.missing.sum()), len(filled.rows)
    if not values:
        echo("No region is missing: the table is complete.")
    else:
        subjects = filled.visits["subject"].iloc[filled.rows].nunique()
        given = "all visits of the subject" if filled.smooth else "the visit and those before it"
        echo(f"{values:,} missing values of {visits:,} visits of {subjects:,} subjects, drawn given {given}.")
        if (low := float(filled.effective.min())) < draws / 20:
            echo_warning(f"at one visit {draws} draws are worth {low:.0f} independent ones. Raise --draws.")
    if made.warning:
        echo_warning(made.warning)
    echo_written(made.written)
