"""`crow simulate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from crow.errors import ConfigError

SCANS = "With --scans"


def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write the cohort and its truth in.")],
    subjects: Annotated[
        int | None, typer.Option(min=1, help="People in the cohort; 200, with --scans 80, --av45 279.")
    ] = None,
    visits: Annotated[
        int | None, typer.Option(min=1, help="Visits planned for each; 5, with --scans 4, --av45 3.")
    ] = None,
    regions: Annotated[int | None, typer.Option(min=1, help="6: those of ADNIMERGE; more are invented.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same cohort.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier simulation.")] = False,
    av45: Annotated[
        bool, typer.Option("--av45", help="82 AV45 uptake ratios in TADPOLE's columns, with known group effects.")
    ] = False,
    scans: Annotated[bool, typer.Option("--scans", help="Scans in a BIDS tree instead of a table.")] = False,
    modality: Annotated[
        str | None, typer.Option(help="T1w (the default) or pet.", rich_help_panel=SCANS, show_default=False)
    ] = None,
    resolution: Annotated[
        float | None, typer.Option(help="Size of a voxel in mm, 1 to 8; 2.", rich_help_panel=SCANS, show_default=False)
    ] = None,
    scanner_change: Annotated[
        int | None,
        typer.Option(help="Half of the people move to another scanner at this visit.", rich_help_panel=SCANS),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes; one a core.", rich_help_panel=SCANS, show_default=False)
    ] = None,
) -> None:
    """Invent a cohort, with the truth beside it: a table in columns of ADNIMERGE or TADPOLE, or scans of brains.

    Example: [bold]crow simulate --out demo --subjects 200 --visits 5 --seed 0[/bold]

    Example: [bold]crow simulate --av45 --out amyloid --subjects 279 --visits 3[/bold]

    Example: [bold]crow simulate --scans --out brains --subjects 80 --visits 4 --resolution 2 --modality T1w[/bold]
    """
    size = {"subjects": subjects, "visits": visits}
    only_scans = {"modality": modality, "resolution": resolution, "scanner_change": scanner_change, "jobs": jobs}
    if av45:
        only_scans["scans"] = scans or None
        _refuse({"regions": regions, **only_scans}, "does not go with --av45: a table of 82 regions; leave it out")
        _write_av45(out, {**_given(size), "seed": seed, "overwrite": overwrite})
    elif scans:
        _refuse({"regions": regions}, "is for tables; leave it out with --scans")
        _write_scans(out, {**_given({**size, **only_scans}), "seed": seed, "overwrite": overwrite})
    else:
        _refuse(only_scans, "is for scans; add --scans")
        _write_table(out, {**_given({**size, "regions": regions}), "seed": seed, "overwrite": overwrite})


def _write_table(out: Path, settings: dict[str, Any]) -> None:
    from crow.pipelines.simulate import simulate as run

    written = run(out, **settings)
    typer.echo(f"Invented {written.subjects} people, {written.visits} visits, {len(written.regions)} regions (mm3).")
    _list(written.files)
    if written.more:
        typer.echo(f"To model all regions, add to crow check and crow train: --regions {','.join(written.regions)}")


def _write_av45(out: Path, settings: dict[str, Any]) -> None:
    from crow.pipelines.simulate import simulate_tadpole

    written = simulate_tadpole(out, **settings)
    many = len(written.regions)
    typer.echo(f"Invented {written.subjects} people, {written.visits} visits, {many} regions (ratios of AV45 uptake).")
    _list(written.files)


def _write_scans(out: Path, settings: dict[str, Any]) -> None:
    from crow.pipelines.simulate_scans import write_scans

    written = write_scans(out, **settings)
    typer.echo(f"Invented {written.subjects} people, {written.scans} scans.")
    _list(written.files)


def _list(files: dict[Path, str]) -> None:
    for path, what in files.items():
        typer.echo(f"  {path}  {what}")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse(options: dict[str, Any], why: str) -> None:
    for name in _given(options):
        raise ConfigError(f"--{name.replace('_', '-')} {why}.")
