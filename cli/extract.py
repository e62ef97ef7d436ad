"""`crow extract`."""

from pathlib import Path
from typing import Annotated

import typer

from crow.cli import options
from crow.cli.progress import followed
from crow.cli.terminal import echo, echo_written
from crow.places import check_places, table


def extract(
    scans: Annotated[Path, typer.Option(help="Store that crow prepare wrote.")],
    out: Annotated[Path, typer.Option(help="Table to write (.csv or .tsv), one row per visit.")] = Path("regions.csv"),
    atlas: options.Atlas = None,
    labels: options.Labels = None,
    parcels: Annotated[
        int | None,
        typer.Option(
            min=2, max=100_000, show_default="50",
            help="Number of regions to learn from PET and maps without --atlas. They are learned from all subjects of "
            "the store, including those of a later test set.",
        ),
    ] = None,
    as_registered: Annotated[
        bool,
        typer.Option(
            "--as-registered",
            help="Volumes of the template's structures as registration finds them, without the correction of its bias.",
        ),
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Write volumes or mean values of regions in prepared scans, as a table for crow train.

    Example:
    [bold]crow extract --scans demo/store --out demo/structures.csv[/bold]
    """
    check_places(table("--out", out), {"--scans": scans, "--atlas": atlas, "--labels": labels}, overwrite)

    from crow.pipelines.extract import extract as run

    done = run(
        scans, out, atlas=atlas, labels=labels, parcels=parcels, as_registered=as_registered,
        overwrite=overwrite,
        progress=lambda rows: followed(rows, "Measuring scans"),
    )  # fmt: skip
    for line in done.notes:
        echo(f"note: {line}.")
    echo(f"{len(done.table):,} visits, {len(done.regions)} regions ({done.what}).")
    echo_written(done.written)
