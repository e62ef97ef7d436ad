"""`crow prepare`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from crow.cli import cohort_options as flags


def prepare(
    cohort: Annotated[Path, typer.Option(help="A table with a column of NIfTI paths, or a BIDS tree.")],
    out: Annotated[Path, typer.Option(help="The store of prepared scans to write; it holds subjects' scans.")],
    resolution: Annotated[float, typer.Option(metavar="MM", help="Voxel size of the grid.")] = 2.0,
    modality: Annotated[
        str | None, typer.Option(help="T1w, T2w, FLAIR, pet, CBF, ...; told by file names where not given.")
    ] = None,
    register: Annotated[
        Literal["auto", "none", "linear", "nonlinear"],
        typer.Option(help="auto: nonlinear, and none for PET and maps that are in a common space already."),
    ] = "auto",
    mask: Annotated[
        Path | None, typer.Option(help="A brain mask in template space; the template's if not given.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="REGION", help="PET is divided by its mean here: cerebellum, or none.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; as many as there are cores if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier store.")] = False,
    subject: flags.Subject = None,
    time: flags.Time = None,
    time_kind: flags.TimeKind = None,
    age: flags.Age = None,
    session: flags.Session = None,
    covariates: flags.Covariates = None,
    regions: flags.Regions = None,
    exclude: flags.Exclude = None,
    missing: flags.Missing = None,
    missing_code: flags.MissingCodes = None,
    scan: flags.Scan = None,
    scan_root: flags.ScanRoot = None,
    suffix: flags.Suffix = None,
    space: flags.Space = None,
    desc: flags.Desc = None,
    ages: flags.Ages = None,
) -> None:
    """Bring a cohort's scans onto one grid: aligned, normalised, with a page to look at. Interrupted, run it again.

    Example: [bold]crow prepare --cohort bids --suffix T1w --out store[/bold]
    """
    from crow.pipelines.prepare import prepare as run

    done = run(
        cohort,
        out,
        resolution=resolution,
        modality=modality,
        register=register,
        mask=mask,
        reference=reference,
        jobs=jobs,
        overwrite=overwrite,
        echo=typer.echo,
        subject=subject,
        time=time,
        time_kind=time_kind,
        age=age,
        session=session,
        covariates=covariates,
        regions=regions,
        exclude=exclude,
        missing=missing,
        missing_codes=missing_code,
        scan=scan,
        scan_root=scan_root,
        suffix=suffix,
        space=space,
        desc=desc,
        ages=ages,
    )
    for finding in done.findings:
        if finding.severity != "info":
            typer.echo(f"{finding.severity}: {finding}")
    typer.echo(repr(done.store))
    typer.echo(f"Look at the scans: {done.page}")
