"""`crow train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crow.cli import cohort_options as flags

if TYPE_CHECKING:
    from crow.cohort import Cohort
    from crow.pipelines.train import Trained


def train(
    cohort: Annotated[
        Path, typer.Option(help="The table as it was downloaded, a BIDS tree, or a store of crow prepare.")
    ],
    out: Annotated[Path | None, typer.Option(help="Run folder to write; runs/<table> where not given.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML settings; configs/default.yaml lists all.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, before those of the YAML.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training that was begun in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run.")] = False,
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
    """Learn the density of a cohort's sequences. Ctrl-C ends early with a usable run (exit code 130).

    Examples: [bold]crow train --cohort demo/cohort.csv --out demo/run --set seed=1[/bold],
    [bold]crow train --cohort demo/scans --out demo/scan_run --set scans.resolution=3[/bold]
    """
    from crow.pipelines.train import train as run

    trained = run(
        cohort,
        out or Path("runs") / cohort.stem.removesuffix("_store"),
        config=config,
        sets=sets,
        resume=resume,
        overwrite=overwrite,
        on_cohort=_show_cohort,
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
    _show(trained)


def _show_cohort(cohort: "Cohort") -> None:
    typer.echo(repr(cohort))
    for finding in cohort.findings:
        if finding.severity == "warning":
            typer.echo(f"warning: {finding}")


def _show(trained: "Trained") -> None:
    metrics = trained.model.metrics
    if "validation_objective" in metrics:
        typer.echo(f"Held-out subjects: published objective {metrics['validation_objective']:.3f}.")
    else:
        start = "mixed model" if "mixed_model_nll_per_visit" in metrics else "linear forecast"
        nll, other = (metrics[f"{name}_nll_per_visit"] for name in ("validation", start.replace(" ", "_")))
        what = " of coefficients" if "mode_01" in trained.model.schema.regions else ""
        typer.echo(f"Held-out subjects: {nll:.3f} nats a visit{what} (negative log-likelihood); {start} {other:.3f}.")
    if "test_nll_per_visit" in metrics:
        typer.echo(f"{metrics['test_subjects']} test subjects: {metrics['test_nll_per_visit']:.3f} nats a visit.")
    typer.echo(f"Wrote {trained.folder} (model, settings, metrics, training.png)")
    if trained.interrupted:
        typer.echo("Ended early: the run can be used as it is, or gone on with: --resume")
        raise typer.Exit(130)
