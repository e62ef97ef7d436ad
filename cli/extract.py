"""`crow extract`."""

from pathlib import Path
from typing import Annotated

import typer


def extract(
    scans: Annotated[Path, typer.Option(help="The store that crow prepare wrote.")],
    out: Annotated[Path, typer.Option(help="The table to write (.csv or .tsv), a row a visit.")] = Path("regions.csv"),
    atlas: Annotated[Path | None, typer.Option(help="A NIfTI of labels in the store's space.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Their names: a table with index and name, or FreeSurfer's LUT.")
    ] = None,
    parcels: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="How many regions to learn, of PET and maps without --atlas; 50. They are learned from all subjects "
            "of the store, also from those that a later training keeps for testing.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier table.")] = False,
) -> None:
    """Volumes or mean values of regions, out of prepared scans, as a table for crow train.

    Example: [bold]crow extract --scans store --atlas ATLAS.nii.gz --labels LUT.tsv --out regions.csv[/bold]
    """
    from crow.pipelines.extract import extract as run

    done = run(scans, out, atlas=atlas, labels=labels, parcels=parcels, overwrite=overwrite)
    for line in done.notes:
        typer.echo(f"note: {line}.")
    typer.echo(f"{len(done.table):,} visits, {len(done.regions)} regions ({done.what}).")
    typer.echo(f"Wrote {' and '.join(str(path) for path in done.written)}")
