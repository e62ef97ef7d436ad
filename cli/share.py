"""`crow share`."""

from pathlib import Path
from typing import Annotated

import typer

from crow.cli import options
from crow.cli.terminal import echo_warning, echo_written
from crow.places import check_places, file

MAX_COUNT = 1_000_000


def share(
    run: Annotated[Path, typer.Option(help="Run folder of any command that trains.")],
    out: Annotated[Path, typer.Option(help="Zip file to write.")],
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Licence or terms of the data that the run was trained on.")
    ] = None,
    intended_use: Annotated[str | None, typer.Option(metavar="TEXT", help="What the model is for.")] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(help="The table or store of the training.", show_default="the one that the run names"),
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder that crow evaluate wrote.", show_default="RUN_evaluation")
    ] = None,
    min_count: Annotated[
        int,
        typer.Option(
            min=2, max=MAX_COUNT, help="Smallest number of subjects behind a level, a site or a value; rarer ones are "
            "withheld.",
        ),
    ] = 10,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Pack a run for others, without anything of single subjects.

    The zip file has the weights, settings and description of the run, a data sheet and a model card. Unpacked, it is a
    run again: [bold]python -m zipfile -e model.zip shared_run[/bold]

    Example: [bold]crow share --run demo/run --licence "simulated data, free to use" --out demo/model.zip[/bold]
    """
    inputs = {"--run": run, "--cohort": cohort, "--evaluation": evaluation}
    check_places(file("--out", out, (".zip",)), inputs, overwrite)

    from crow.run.folder import read_description

    read_description(run)

    from crow.pipelines.share import share as run_share

    made = run_share(
        run, out, cohort=cohort, evaluation=evaluation, licence=licence, intended_use=intended_use,
        min_count=min_count, overwrite=overwrite,
    )  # fmt: skip
    for warning in made.warnings:
        echo_warning(warning)
    echo_written([made.path], f" ({', '.join(made.files)})")
