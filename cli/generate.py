"""`crow generate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crow.cli import cohort_options as flags

if TYPE_CHECKING:
    import pandas as pd

    from crow.pipelines.generate import Generated

MOST_VISITS, MOST_REGIONS = 3, 9
Ahead, Many, New = "One or some subjects", "Many at once", "Subjects that do not exist"
Scans = "Follow-up scans (runs of scans)"


def generate(
    run: Annotated[Path, typer.Option(help="The run folder that crow train wrote.")],
    cohort: Annotated[
        Path | None, typer.Option(help="The subjects' visits or scans so far; what was trained on where not given.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Whose visits to forecast.", rich_help_panel=Ahead)
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="YEARS", help="Years after the last visit: 1,2.5,5.", rich_help_panel=Ahead)
    ] = None,
    set_covariate: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE@YEARS", help="A covariate from then on: CDRSB=5@2.5.", rich_help_panel=Ahead),
    ] = None,
    covariates: Annotated[
        Path | None,
        typer.Option(help="Table of covariates to come: subject, time, covariates. With --new: the paths to follow."),
    ] = None,
    visits: Annotated[
        Path | None,
        typer.Option(help="Table of visits: subject, time as in the cohort, any covariates.", rich_help_panel=Many),
    ] = None,
    new: Annotated[
        int | None, typer.Option(min=1, help="How many to invent, in the cohort's own columns.", rich_help_panel=New)
    ] = None,
    future: Annotated[
        Literal["carry", "linear"],
        typer.Option(help="Covariates that nothing is said of: kept, or on the subject's own line."),
    ] = "carry",
    samples: Annotated[int, typer.Option(min=2, help="Draws a visit.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same draws.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="CSV to write; forecast.csv, synthetic.csv with --new, and for scans the folder followup."),
    ] = None,
    samples_out: Annotated[Path | None, typer.Option(help="Also write every draw, a row a visit and sample.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the trajectories: a .png, .pdf or .svg, or a folder for several subjects.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Unit of the regions, written on the figure.")] = "",
    space: Annotated[
        Literal["native", "template"],
        typer.Option(help="Grid of the scans: the subject's last scan, or the template.", rich_help_panel=Scans),
    ] = "native",
    sample_scans: Annotated[
        int, typer.Option(min=0, help="How many whole draws to write beside the median.", rich_help_panel=Scans)
    ] = 0,
    missing: flags.Missing = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier files.")] = False,
) -> None:
    """Forecast visits to come, under any path of the covariates, or invent whole subjects; of a run of scans, write
    follow-up scans (BIDS derivatives) with their uncertainty, the change, and a picture.

    Examples: [bold]crow generate --run demo/run --subject 9002 --at 1,2.5,5 --set-covariate CDRSB=5@2.5[/bold],
    [bold]crow generate --run demo/run --cohort history.csv --visits future.csv[/bold],
    [bold]crow generate --run demo/run --new 100[/bold],
    [bold]crow generate --run demo/scan_run --subject 0001 --at 1.5 --out followup[/bold]
    """
    from crow.models.registry import class_of_run
    from crow.pipelines import generate as pipeline
    from crow.pipelines.covariate_paths import Known, parse_times

    if class_of_run(run).uses_scans:
        _refuse_for_scans(subject, at, set_covariate, covariates, visits, cohort, new, samples_out, figure)
        _write_scans(
            run, out or Path("followup"), subject or [], at, cohort=cohort, visits=visits,
            known=[Known.parse(text) for text in set_covariate or []], covariates=covariates, future=future,
            samples=max(samples, sample_scans), keep=sample_scans, seed=seed, space=space, missing=missing,
            overwrite=overwrite,
        )  # fmt: skip
        return
    if sample_scans or space != "native":
        raise typer.BadParameter("--space and --sample-scans are for runs of scans; this run is of regions.")
    _refuse_mixtures(subject, at, set_covariate, covariates, cohort, visits, new, samples_out, figure)
    if new is not None:
        made = pipeline.new_subjects(
            run, out or Path("synthetic.csv"), new, cohort=cohort, covariates=covariates, seed=seed, missing=missing,
            overwrite=overwrite,
        )  # fmt: skip
        typer.echo(f"Invented {new} subjects with {len(made.forecast.visits)} visits.")
        typer.echo(f"Times and covariates: {made.covariates}.")
        typer.echo(f"Wrote {made.written[0]}")
        return
    outputs = pipeline.Outputs(out or Path("forecast.csv"), samples_out, figure, unit, overwrite)
    if visits is not None:
        assert cohort is not None
        made = pipeline.forecast_visits(
            run, outputs, cohort, visits, future=future, samples=samples, seed=seed, missing=missing
        )
    else:
        made = pipeline.forecast_subjects(
            run, outputs, subject or [], parse_times(at or ""), cohort=cohort,
            known=[Known.parse(text) for text in set_covariate or []], covariates=covariates, future=future,
            samples=samples, seed=seed, missing=missing,
        )  # fmt: skip
    _show(made)


def _refuse_for_scans(
    subject: list[str] | None, at: str | None, set_covariate: list[str] | None, covariates: Path | None,
    visits: Path | None, cohort: Path | None, new: int | None, samples_out: Path | None, figure: Path | None,
) -> None:  # fmt: skip
    for name, value in {"--new": new, "--samples-out": samples_out, "--figure": figure}.items():
        if value:
            raise typer.BadParameter(f"{name} is for runs of regions; a run of scans writes scans and pictures.")
    _refuse_mixtures(subject, at, set_covariate, covariates, cohort, visits, None, None, None)


def _write_scans(run: Path, out: Path, subjects: list[str], at: str | None, **options: Any) -> None:
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from crow.pipelines.covariate_paths import parse_times
    from crow.pipelines.follow_up import follow_up_scans

    made = follow_up_scans(
        run, out, subjects, parse_times(at) if at else [], echo=typer.echo,
        progress=lambda visits: track(visits, "Follow-up scans", console=Console(stderr=True)), **options,
    )  # fmt: skip
    visits, draws = len(made.forecast.visits), made.forecast.values.shape[1]
    typer.echo(f"{visits} follow-up scan{'s' * (visits > 1)}, {draws} draws each.")
    if made.folded:
        typer.echo(f"warning: {made.folded} voxels of the deformations are folded: look at the pictures.")
    if len(made.volumes) and visits <= MOST_VISITS:
        for (subject, session), rows in made.volumes.groupby(["subject", "session"], sort=False):
            table = Table(f"{subject} {session}", "last (ml)", "follow-up (ml)", "change (90 %)", box=None)
            for _, row in rows.iterrows():
                change = f"{row['change']:+.1%} ({row['q05']:+.1%} to {row['q95']:+.1%})"
                table.add_row(row["structure"], f"{row['last'] / 1e3:.2f}", f"{row['median'] / 1e3:.2f}", change)
            Console(highlight=False).print(table)
    typer.echo(f"Wrote {len(made.written)} files into {out}: *_desc-synthetic, -change, -uncertainty, and pictures:")
    for path in made.written:
        if path.suffix == ".png":
            typer.echo(f"  {path}")


def _refuse_mixtures(
    subject: list[str] | None, at: str | None, set_covariate: list[str] | None, covariates: Path | None,
    cohort: Path | None, visits: Path | None, new: int | None, samples_out: Path | None, figure: Path | None,
) -> None:  # fmt: skip
    """Say which options belong together where they do not."""
    ways = {"--subject": subject, "--visits": visits, "--new": new}
    chosen = [name for name, value in ways.items() if value]
    if len(chosen) != 1:
        found = " and ".join(chosen) or "none"
        raise typer.BadParameter(f"Choose one of --subject, --visits and --new; found {found}.")
    allowed = {
        "--subject": {"--at", "--set-covariate", "--covariates", "--samples-out", "--figure"},
        "--visits": {"--samples-out", "--figure"},
        "--new": {"--covariates"},
    }[chosen[0]]
    given = {"--at": at, "--set-covariate": set_covariate, "--covariates": covariates, "--samples-out": samples_out,
             "--figure": figure}  # fmt: skip
    for name, value in given.items():
        if value and name not in allowed:
            raise typer.BadParameter(f"{name} does not go with {chosen[0]}.")
    if subject and not at:
        raise typer.BadParameter("--subject needs --at: years after the last visit, for instance --at 1,2.5,5.")
    if visits and not cohort:
        raise typer.BadParameter("--visits needs --cohort: the table with the subjects' visits so far.")


def _show(made: "Generated") -> None:
    from rich.console import Console
    from rich.table import Table

    forecast = made.forecast
    subjects, samples = forecast.visits["subject"].nunique(), forecast.values.shape[1]
    typer.echo(f"{len(forecast.visits):,} visits of {subjects:,} subject{'s' * (subjects > 1)}, {samples} draws each.")
    typer.echo(f"Covariates to come: {made.covariates}.")
    if subjects == 1 and len(forecast.visits) <= MOST_VISITS and len(forecast.regions) <= MOST_REGIONS:
        visits = [visit for _, visit in forecast.summary.iterrows()]
        table = Table("median (90 %)", *(f"year {visit['time']:.2f}" for visit in visits), box=None)
        for region in forecast.regions:
            table.add_row(region, *(_interval(visit, region) for visit in visits))
        Console(highlight=False).print(table)
    typer.echo(f"Wrote {', '.join(str(path) for path in made.written)}")


def _interval(visit: "pd.Series", region: str) -> str:
    median, low, high = (visit[f"{region}_{statistic}"] for statistic in ("median", "q05", "q95"))
    return f"{_number(median)} ({_number(low)}–{_number(high)})"


def _number(value: float) -> str:
    """At most five characters and a sign: 0.1234, 6357, 30.7k, 1.05M."""
    if abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value / 1e3:.3g}k" if abs(value) < 999_500 else f"{value / 1e6:.3g}M"
