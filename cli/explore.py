"""`crow explore`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from crow.cli import cohort_options, options
from crow.cli.terminal import echo, echo_written
from crow.places import PAGES, check_places, file

SAVED = "A saved page (with --export)"


@options.joins_tables
def explore(
    run: options.Run,
    cohort: Annotated[
        Path | None,
        typer.Option(
            help="The subjects' visits so far, or a store of scans.", show_default="the cohort of the training"
        ),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="ID", help="Subject to begin with.", show_default="the first")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="HTML file to write instead: one subject and some courses, opens offline.",
                     rich_help_panel=SAVED),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE@YEARS,...", show_default="low and high values of a covariate", rich_help_panel=SAVED,
            help="Course of covariates to show; may be repeated.",
        ),
    ] = None,
    horizon: Annotated[
        float, typer.Option(min=0.5, max=40, metavar="YEARS", help="Years ahead.", rich_help_panel=SAVED)
    ] = 5.0,
    unit: Annotated[str, options.unit("Unit of the regions, for the charts.", "the known unit of each region")] = "",
    draws: Annotated[int, options.draws(20)] = 200,
    seed: options.Seed = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    missing: cohort_options.Missing = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Explore forecasts of a subject in the browser: change its covariates, and compare two courses.

    The page is served on this computer only, and nothing is written. Ctrl-C ends it.

    Example:
    [bold]crow explore --run demo/run --cohort demo/cohort.csv[/bold]
    [bold]crow explore --run demo/scan_run[/bold]
    [bold]crow explore --run demo/run --subject 9002 --export demo/subject_9002.html[/bold]
    """
    if export is None and what_if:
        raise typer.BadParameter("--what-if is for --export; the page itself has sliders.")
    if export is not None and subject is None:
        raise typer.BadParameter("--export needs --subject.")
    check_places(file("--export", export, PAGES), {"--run": run, "--cohort": cohort}, overwrite)

    from crow.explore.open_run import open_run

    explorer = open_run(run, cohort, missing=missing, draws=draws, seed=seed, unit=unit, subject=subject)
    if export is not None:
        from crow.cli.progress import followed
        from crow.explore.saved import save_page

        save_page(
            explorer, export, str(explorer.source.subject), what_if or [], horizon, overwrite,
            progress=lambda scans: followed(scans, "Follow-up scans"),
        )  # fmt: skip
        echo_written([export], ". It contains data of this subject: keep it as confidential as the cohort.")
        return
    _serve(explorer, browser)


def _serve(explorer: Any, browser: bool) -> None:
    import webbrowser

    from crow.explore.server import listening, serve

    own, address = listening()

    def ready() -> None:
        echo(f"Open {address.url}")
        echo("The page is on this computer only. Press Ctrl-C to end it.")
        if browser:
            webbrowser.open(address.url)

    serve(explorer, own, address, ready)
    echo("Ended.")
