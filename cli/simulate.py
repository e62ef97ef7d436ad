"""`crow simulate`."""

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write cohort.csv, truth.csv and truth.json in.")],
    subjects: Annotated[int, typer.Option(min=1, help="People in the cohort.")] = 200,
    visits: Annotated[int, typer.Option(min=1, help="Visits planned for each; some are missed or people leave.")] = 5,
    regions: Annotated[int, typer.Option(min=1, help="The six of ADNIMERGE, then invented ones.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same cohort.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier simulation.")] = False,
) -> None:
    """Invent a cohort in ADNIMERGE's columns, with the truth beside it.

    Example: [bold]crow simulate --out demo --subjects 200 --visits 5 --seed 0[/bold]
    """
    from crow.pipelines.simulate import simulate as run

    written = run(out, subjects=subjects, visits=visits, regions=regions, seed=seed, overwrite=overwrite)
    typer.echo(f"Invented {written.subjects} people, {written.visits} visits, {len(written.regions)} regions (mm3).")
    for path, what in written.files.items():
        typer.echo(f"  {path}  {what}")
    if written.more:
        typer.echo(f"To model all regions, add to crow check and crow train: --regions {','.join(written.regions)}")
