"""`crow prepare`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from crow.cli import cohort_options, options
from crow.cli.terminal import echo
from crow.errors import ConfigError
from crow.places import check_places, folder


@options.reads_cohort(cohort_options.OF_TABLES, cohort_options.OF_SCANS)
def prepare(
    cohort: Annotated[Path, typer.Option(help="Table with a column of NIfTI paths, or BIDS tree.")],
    out: Annotated[Path, typer.Option(help="Store of prepared scans to write. It contains the subjects' scans.")],
    reading: options.Reading,
    resolution: Annotated[float, typer.Option(metavar="MM", help="Voxel size of the grid, in mm.")] = 2.0,
    modality: Annotated[
        str | None, typer.Option(help="T1w, T2w, FLAIR, pet, CBF, ...", show_default="from the names of the files")
    ] = None,
    registration: Annotated[
        Literal["auto", "none", "linear", "nonlinear"],
        typer.Option(
            help="Registration to the template. auto is nonlinear, but none for PET and maps in a common space."
        ),
    ] = "auto",
    mask: Annotated[
        Path | None, typer.Option(help="Brain mask in template space.", show_default="the template's mask")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(metavar="REGION", help="PET is divided by its mean in this region: cerebellum, or none."),
    ] = None,
    jobs: options.Jobs = None,
    cluster: options.Cluster = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Bring the scans of a cohort onto one grid, align and normalise them, and write a page of pictures to check.

    After an interruption, the same command continues.

    Example: [bold]crow prepare --cohort demo/scans --suffix T1w --out demo/store[/bold]
    """
    inputs = {"--cohort": [cohort, *(reading["join"] or [])], "--mask": mask, "--mapping": reading["mapping"],
              "--ages": reading["ages"]}  # fmt: skip
    check_places(folder("--out", out, "store", grows=not overwrite), inputs, overwrite)
    if not 0.9 <= resolution <= 16:
        raise ConfigError(f"--resolution {resolution:g}: out of range. Choose 1 to 16 mm.")

    from crow.cluster import check_cluster, on_cluster

    check_cluster(cluster)
    from crow.pipelines.prepare import prepare as run

    with on_cluster(cluster, jobs, echo):
        done = run(
            cohort, out, resolution=resolution, modality=modality, registration=registration, mask=mask,
            reference=reference, jobs=jobs, overwrite=overwrite, echo=echo, **reading,
        )  # fmt: skip
    for finding in done.findings:
        if finding.severity != "info":
            echo(f"{finding.severity}: {finding}")
    echo(repr(done.store))
    echo(f"Check the scans: {done.page}")
