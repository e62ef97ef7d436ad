"""`crow simulate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from crow.cli import options
from crow.cli.terminal import echo
from crow.errors import ConfigError
from crow.places import check_places, folder


def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write the cohort and its truth into.")],
    subjects: Annotated[
        int | None,
        typer.Option(
            min=1, callback=options.at_most(1_000_000, "subjects", 4000), help="Number of subjects.",
            show_default="200; with --scans 80, with --av45 279",
        ),
    ] = None,
    visits: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Planned visits per subject.", show_default="5; with --scans 4, with --av45 3"
        ),
    ] = None,
    regions: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, help="Number of regions; the first six are those of ADNIMERGE.", show_default="6"
        ),
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    av45: Annotated[
        bool, typer.Option("--av45", help="82 AV45 uptake ratios in the columns of TADPOLE, with known group effects.")
    ] = False,
    scans: Annotated[bool, typer.Option("--scans", help="Scans in a BIDS tree instead of a table.")] = False,
    modality: Annotated[
        str | None, typer.Option(help="T1w or pet.", rich_help_panel=options.SCANS, show_default="T1w")
    ] = None,
    resolution: Annotated[
        float | None,
        typer.Option(
            metavar="MM", help="Voxel size in mm, 1 to 8.", rich_help_panel=options.SCANS, show_default="2"
        ),
    ] = None,
    scanner_change: Annotated[
        int | None,
        typer.Option(
            metavar="VISIT", help="Half of the subjects change to another scanner at this visit.",
            rich_help_panel=options.SCANS,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Number of parallel processes.", rich_help_panel=options.SCANS,
            show_default="one per core",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Simulate a cohort with known truth: a table in the columns of ADNIMERGE or TADPOLE, or brain scans.

    Example: [bold]crow simulate --out demo --subjects 200 --visits 5 --seed 0[/bold]

    Example: [bold]crow simulate --av45 --out amyloid --subjects 279 --visits 3[/bold]

    Example: [bold]crow simulate --scans --out brains --subjects 80 --visits 4 --resolution 2 --modality T1w[/bold]
    """
    check_places(folder("--out", out, "simulation"), {}, overwrite)
    size = {"subjects": subjects, "visits": visits}
    only_scans = {"modality": modality, "resolution": resolution, "scanner_change": scanner_change, "jobs": jobs}
    if av45:
        only_scans["scans"] = scans or None
        why = "cannot be used with --av45, which writes a table of 82 regions; leave it out"
        _refuse({"regions": regions, **only_scans}, why)
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
    echo(f"Simulated {written.subjects} subjects, {written.visits} visits, {len(written.regions)} regions (mm3).")
    _list(written.files)
    if written.more:
        echo(f"To model all regions, add to crow check and crow train: --regions {','.join(written.regions)}")


def _write_av45(out: Path, settings: dict[str, Any]) -> None:
    from crow.pipelines.simulate import simulate_tadpole

    written = simulate_tadpole(out, **settings)
    many = len(written.regions)
    echo(f"Simulated {written.subjects} subjects, {written.visits} visits, {many} regions (AV45 uptake ratios).")
    _list(written.files)


def _write_scans(out: Path, settings: dict[str, Any]) -> None:
    from crow.pipelines.simulate_scans import write_scans

    written = write_scans(out, **settings)
    echo(f"Simulated {written.subjects} subjects, {written.scans} scans.")
    _list(written.files)


def _list(files: dict[Path, str]) -> None:
    for path, what in files.items():
        echo(f"  {path}  {what}")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _refuse(values: dict[str, Any], why: str) -> None:
    for name in _given(values):
        raise ConfigError(f"--{name.replace('_', '-')} {why}.")
