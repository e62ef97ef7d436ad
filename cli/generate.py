"""`crow generate`."""

import difflib
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crow.cli import cohort_options, options
from crow.cli.progress import followed
from crow.cli.terminal import console, echo, echo_warning, echo_written, plain
from crow.errors import ConfigError, OutputError
from crow.models.registry import FOLLOW_UPS, kind_of_run
from crow.places import FIGURES, Output, check_places, file, folder, table
from crow.places import figure as picture
from crow.report.numbers import decimals_of, fixed

if TYPE_CHECKING:
    import pandas as pd

    from crow.pipelines.generate import Generated

MAX_VISITS, MAX_REGIONS = 3, 9
SERIES = (".gif", ".nii.gz", ".nii")
AHEAD, MANY, NEW = "Forecasts for some subjects", "Forecasts for a table of visits", "New subjects"


@options.joins_tables
def generate(
    run: options.Run,
    cohort: Annotated[
        Path | None,
        typer.Option(help="The subjects' visits or scans so far.", show_default="the cohort of the training"),
    ] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Subject to forecast; may be repeated.", rich_help_panel=AHEAD),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="YEARS", help="Years after the last visit: 1,2.5,5; or 1m:24m, every month of two years.",
                     rich_help_panel=AHEAD),
    ] = None,
    set_covariate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE@YEARS", rich_help_panel=AHEAD,
            help="Value of a covariate from that time on: CDRSB=5@2.5; may be repeated.",
        ),
    ] = None,
    covariates: Annotated[
        Path | None,
        typer.Option(
            help="Table of future covariates: subject, time, covariates. With --new-subjects, the visits of the new "
            "subjects.",
        ),
    ] = None,
    visits: Annotated[
        Path | None,
        typer.Option(
            help="Table of the visits to forecast: subject, time as in the cohort, any covariates.",
            rich_help_panel=MANY,
        ),
    ] = None,
    new_subjects: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000_000, help="Number of new subjects, in the columns of the cohort.", rich_help_panel=NEW,
        ),
    ] = None,
    covariates_of_subjects: Annotated[
        bool,
        typer.Option(
            "--covariates-of-subjects",
            help="Copy times and covariates from real subjects, instead of drawing them from a model of the cohort. "
            "The table then contains data of these subjects.",
            rich_help_panel=NEW,
        ),
    ] = False,
    future_covariates: options.FutureCovariates = "carry",
    path: Annotated[
        bool,
        typer.Option(
            "--path",
            help="Draw a subject's visits together, as trajectories. Otherwise each requested time is answered on its "
            "own, whatever other times are requested.",
        ),
    ] = False,
    draws: Annotated[int, options.draws(2)] = 200,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="CSV file to write; for scans, a folder.",
            show_default="forecast.csv; synthetic.csv for new subjects; followup for scans",
        ),
    ] = None,
    save_draws: Annotated[
        Path | None, typer.Option(help="CSV file for the draws, one row per visit and draw.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="Picture of the trajectories: .png, .pdf or .svg, or a folder for several subjects."),
    ] = None,
    unit: Annotated[str, options.unit("Unit of the regions, for the figure.", "the known unit of each region")] = "",
    space: Annotated[
        Literal["native", "template"],
        typer.Option(help="Grid of follow-up scans: the subject's last scan, or the template.",
                     rich_help_panel=options.SCANS),
    ] = "native",
    save_scan_draws: Annotated[int, options.save_scan_draws(options.SCANS)] = 0,
    series: Annotated[
        Path | None,
        typer.Option(help="One file with the last scan and all follow-ups of a subject: .gif, or 4-D .nii.gz.",
                     rich_help_panel=options.SCANS),
    ] = None,
    missing: cohort_options.Missing = None,
    jobs: options.Jobs = None,
    cluster: options.Cluster = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Forecast future visits of subjects, under any course of their covariates, or simulate new subjects.

    For a run of scans, write follow-up scans (BIDS derivatives) with their uncertainty, their change, and a picture.

    Example:
    [bold]crow generate --run demo/run --subject 9002 --at 1,5 --set-covariate CDRSB=5@2[/bold]
    [bold]crow generate --run demo/run --new-subjects 100[/bold]
    [bold]crow generate --run demo/scan_run --subject 0001 --at 1.5 --out demo/followup[/bold]
    [bold]crow generate --run demo/scan_run --subject 1 --at 1m:24m --series film.gif[/bold]
    """
    given = {
        "--subject": subject, "--at": at, "--set-covariate": set_covariate, "--covariates": covariates,
        "--visits": visits, "--new-subjects": new_subjects, "--save-draws": save_draws, "--figure": figure,
        "--covariates-of-subjects": covariates_of_subjects,
    }  # fmt: skip
    scans = kind_of_run(run, "train") in FOLLOW_UPS
    if path and (scans or new_subjects):
        raise typer.BadParameter("--path is for forecasts of regions.")
    of_scans = {"--space": space != "native", "--save-scan-draws": save_scan_draws, "--series": series}
    _check_kind({**given, **of_scans}, scans)
    _check_together(given, cohort)
    out = out or Path("followup" if scans else "forecast.csv" if new_subjects is None else "synthetic.csv")
    inputs = {"--run": run, "--cohort": cohort, "--covariates": covariates, "--visits": visits}
    outputs = [*_outputs(scans, out, save_draws, figure, subject or []), *_film(series)]
    if new_subjects is not None:
        outputs += file("--out (its provenance)", out.with_name(f"{out.stem}.provenance.json") if out.name else out)
        if covariates is not None and covariates_of_subjects:
            raise typer.BadParameter("--covariates-of-subjects cannot be used with --covariates, which gives them.")
    check_places(outputs, inputs, overwrite)
    _check_covariates(run, set_covariate or [])

    from crow.pipelines import generate as pipeline
    from crow.pipelines.covariate_paths import CovariateChange, parse_times
    from crow.pipelines.forecast_parts import Asked

    if new_subjects is not None or scans or cluster is not None:
        from crow.cluster import check_cluster, on_cluster

        check_cluster(cluster)
    if new_subjects is not None:
        from crow.pipelines.new_subjects import new_subjects as simulate

        with on_cluster(cluster, jobs, echo):
            found = simulate(
                run, out, new_subjects, cohort=cohort, covariates=covariates, of_subjects=covariates_of_subjects,
                seed=seed, missing=missing, overwrite=overwrite, jobs=jobs, progress=followed,
            )  # fmt: skip
        echo(f"{found.subjects:,} new subjects with {found.visits:,} visits.")
        echo(f"Times and covariates: {found.covariates}.")
        if covariates_of_subjects:
            echo_warning("the table has times and covariates of real subjects: keep it as confidential as the cohort.")
        echo_written(found.written)
        return
    changes = [CovariateChange.parse(text) for text in set_covariate or []]
    if scans:
        with on_cluster(cluster, jobs, echo):
            _write_scans(
                run, out, subject or [], at, cohort=cohort, visits=visits, changes=changes,
                covariates=covariates, future=future_covariates, samples=max(draws, save_scan_draws),
                keep=save_scan_draws, seed=seed, space=space, series=series, missing=missing,
                overwrite=overwrite, jobs=jobs,
            )  # fmt: skip
        return
    targets = pipeline.Outputs(out, save_draws, figure, unit, overwrite)
    shared: dict[str, Any] = {
        "asked": Asked(future_covariates, draws, seed, path), "missing": missing, "jobs": jobs, "progress": followed,
    }  # fmt: skip
    with nullcontext() if cluster is None else on_cluster(cluster, jobs, echo):
        if visits is not None and cohort is not None:
            made = pipeline.forecast_visits(run, targets, cohort, visits, **shared)
        else:
            made = pipeline.forecast_subjects(
                run, targets, subject or [], parse_times(at or ""), cohort=cohort, changes=changes,
                covariates=covariates, **shared,
            )  # fmt: skip
    _show(made)


def _outputs(scans: bool, out: Path, draws: Path | None, figure: Path | None, subjects: list[str]) -> list[Output]:
    if scans:
        return folder("--out", out, "file", grows=True)
    if figure is not None and figure.suffix.lower() in FIGURES and len(set(subjects)) > 1:
        raise OutputError(
            f"{figure}: one file cannot show {len(set(subjects))} subjects. Name a folder, without an ending."
        )
    one = figure is not None and figure.suffix
    pictures = picture("--figure", figure) if one else folder("--figure", figure, "set of figures")
    return [*table("--out", out), *table("--save-draws", draws), *pictures]


def _film(series: Path | None) -> list[Output]:
    """The film of a subject, and the JSON file beside a NIfTI."""
    ending = next((one for one in SERIES[1:] if series is not None and series.name.lower().endswith(one)), None)
    sidecar = None if series is None or ending is None else series.with_name(f"{series.name[: -len(ending)]}.json")
    return [*file("--series", series, SERIES), *file("--series (its sidecar)", sidecar)]


def _check_covariates(run: Path, changes: list[str]) -> None:
    """Raise ConfigError for a covariate that the run does not have."""
    from crow.run.folder import read_description

    known = read_description(run).get("schema", {}).get("covariates", {})
    for text in changes:
        name = text.partition("=")[0].strip()
        if name and "=" in text and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Its covariates are {', '.join(known) or 'none'}."
            raise ConfigError(f"--set-covariate {name}: the run has no such covariate. {hint}")


def _check_kind(given: dict[str, Any], scans: bool) -> None:
    """Raise BadParameter for options of the other kind of run."""
    for_regions = ("--new-subjects", "--save-draws", "--figure")
    for_scans = ("--space", "--save-scan-draws", "--series")
    advice = "regions; a run of scans writes scans and pictures" if scans else "scans; this is a run of regions"
    for name in for_regions if scans else for_scans:
        if given[name]:
            raise typer.BadParameter(f"{name} is for runs of {advice}.")


def _check_together(given: dict[str, Any], cohort: Path | None) -> None:
    """Raise BadParameter for options that do not belong together."""
    allowed = {
        "--subject": {"--at", "--set-covariate", "--covariates", "--save-draws", "--figure"},
        "--visits": {"--save-draws", "--figure"},
        "--new-subjects": {"--covariates", "--covariates-of-subjects"},
    }
    chosen = [name for name in allowed if given[name]]
    if len(chosen) != 1:
        raise typer.BadParameter(
            f"Choose one of --subject, --visits and --new-subjects; found {' and '.join(chosen) or 'none'}."
        )
    for name, value in given.items():
        if value and name not in {*chosen, *allowed[chosen[0]]}:
            raise typer.BadParameter(f"{name} cannot be used with {chosen[0]}.")
    if given["--subject"] and not given["--at"]:
        raise typer.BadParameter("--subject needs --at: years after the last visit, for instance --at 1,2.5,5.")
    if given["--visits"] and not cohort:
        raise typer.BadParameter("--visits needs --cohort: the table with the subjects' visits so far.")


def _write_scans(run: Path, out: Path, subjects: list[str], at: str | None, **options: Any) -> None:
    from rich.table import Table

    from crow.pipelines.covariate_paths import parse_times
    from crow.pipelines.follow_up import follow_up_scans
    from crow.pipelines.generate import ahead

    made = follow_up_scans(
        run, out, subjects, parse_times(at) if at else [], echo=echo,
        progress=followed, **options,
    )  # fmt: skip
    visits, draws = len(made.forecast.visits), made.forecast.values.shape[1]
    echo(f"{visits} follow-up scan{'s' * (visits > 1)}, {draws} draws each.")
    if made.folded:
        echo_warning(f"the deformations fold at {made.folded} voxels: check the pictures.")
    if len(made.volumes) and visits <= MAX_VISITS:
        for (subject, _), rows in made.volumes.groupby(["subject", "session"], sort=False):
            name = plain(f"{subject}, {ahead(float(rows['years'].iloc[0]))}")
            rows_of = Table(name, "last (cm³)", "follow-up (cm³)", "change (90 %)", box=None)
            for _, row in rows.iterrows():
                # Adding 0 makes a negative zero positive.
                middle, low, high = (f"{round(row[part], 3) + 0.0:+.1%}" for part in ("change", "q05", "q95"))
                change = f"{middle} ({low} to {high})"
                rows_of.add_row(row["structure"], f"{row['last'] / 1e3:.2f}", f"{row['median'] / 1e3:.2f}", change)
            console().print(rows_of)
    if missing := [path for path in made.written if not path.exists()]:
        raise OutputError(f"{missing[0]}: was written, but is not there any more. Run the command again.")
    echo(f"Wrote {len(made.written)} files into {out}: *_desc-synthetic, -change, -uncertainty, and pictures:")
    for path in made.written:
        if path.suffix == ".png":
            echo(f"  {path}")


def _show(made: "Generated") -> None:
    import numpy as np
    from rich.table import Table

    from crow.cohort.units import scaled

    forecast = made.forecast
    subjects, draws = forecast.visits["subject"].nunique(), forecast.values.shape[1]
    visits = len(forecast.visits)
    counts = f"{visits:,} visit{'s' * (visits > 1)} of {subjects:,} subject{'s' * (subjects > 1)}"
    echo(f"{counts}, {draws:,} draws{' each' * (visits > 1)}.")
    echo(f"Future covariates: {made.covariates}.")
    if made.sites:
        echo(f"Forecasts are for {made.sites}.")
    for line in made.warning.splitlines():
        echo_warning(line)
    if made.note:
        echo(made.note)
    if subjects == 1 and len(forecast.visits) <= MAX_VISITS and len(forecast.regions) <= MAX_REGIONS:
        each = [visit for _, visit in forecast.summary.iterrows()]
        cells = Table("median (90 %)", *map(plain, made.times), box=None)
        for k, region in enumerate(forecast.regions):
            unit, factor = scaled(forecast.units.get(region, ""), float(np.abs(forecast.values[..., k]).max()))
            name = f"{region} ({unit})" if unit else region
            cells.add_row(plain(name), *(_interval(visit, region, factor) for visit in each))
        console().print(cells)
    echo_written(made.written)


def _interval(visit: "pd.Series", region: str, factor: float) -> str:
    """Median and 90 % interval, with two digits of the interval's half width."""
    median, low, high = (float(visit[f"{region}_{statistic}"]) / factor for statistic in ("median", "q05", "q95"))
    decimals = decimals_of((high - low) / 20)
    return f"{fixed(median, decimals or 0)} ({fixed(low, decimals or 0)} to {fixed(high, decimals or 0)})"
