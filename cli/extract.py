"""`crow extract`."""

from pathlib import Path
from typing import Annotated

import typer

from crow.cli import options


def extract(
    scans: Annotated[Path, typer.Option(help="Store that crow prepare wrote.")],
    out: Annotated[Path, typer.Option(help="Table to write (.csv or .tsv), one row per visit.")] = Path("regions.csv"),
    atlas: options.Atlas = None,
    labels: options.Labels = None,
    parcels: Annotated[
        int | None,
        typer.Option(
            min=2, show_default="50",
            help="Number of regions to learn from PET and maps without --atlas. They are learned from all subjects of "
            "the store, including those of a later test set.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Write volumes or mean values of regions in prepared scans, as a table for crow train.

    Example: [bold]crow extract --scans demo/store --out demo/structures.csv[/bold]
    """
    from crow.pipelines.extract import extract as run

    done = run(scans, out, atlas=atlas, labels=labels, parcels=parcels, overwrite=overwrite)
    for line in done.notes:
        typer.echo(f"note: {line}.")
    typer.echo(f"{len(done.table):,} visits, {len(done.regions)} regions ({done.what}).")
    typer.echo(f"Wrote {' and '.join(str(path) for path in done.written)}")
