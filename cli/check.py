"""`crow check`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crow.cli import cohort_options, options

if TYPE_CHECKING:
    from rich.console import Console

    from crow.pipelines.check import Check

COLOURS = {"info": "cyan", "warning": "yellow", "error": "bold red"}
MOST_COLUMNS = 40


@options.reads_cohort(cohort_options.OF_TABLES, cohort_options.OF_SCANS)
def check(
    cohort: Annotated[Path, typer.Argument(help="The table, as it was downloaded, or a BIDS folder.")],
    reading: options.Reading,
    config: Annotated[
        Path | None, typer.Option(help="YAML settings, whose part cohort has the same keys.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the visits as a clean CSV, with a log beside it.")] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Report what a cohort contains, how it is read, and what has to be corrected.

    Exits with status 0 if the cohort is usable, otherwise 2.

    Example: [bold]crow check demo/cohort.csv[/bold]
    """
    from crow.pipelines.check import check as run

    result = run(cohort, config=config, out=out, overwrite=overwrite, **reading)
    if as_json:
        typer.echo(json.dumps(result.as_dict(), indent=2))
    else:
        _show(result)
    if not result.usable:
        raise typer.Exit(2)


def _show(result: "Check") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if result.cohort is not None:
        _show_cohort(result, console)
    for finding in result.findings:
        console.print(f"[{COLOURS[finding.severity]}]{finding.severity:>7}[/] ", end="")
        console.print(str(finding), markup=False, soft_wrap=True)
    if result.error:
        Console(stderr=True).print(f"Error: {result.error}", markup=False, style="bold red", soft_wrap=True)
    elif result.usable:
        console.print("[bold green]usable[/]")
        if result.written:
            console.print(f"Wrote {' and '.join(str(path) for path in result.written)}", markup=False, soft_wrap=True)
    else:
        console.print("[bold red]not usable[/]")


def _show_cohort(result: "Check", console: "Console") -> None:
    from rich.table import Table

    summary = result.as_dict()
    console.print(
        f"[bold]{summary['subjects']:,}[/] subjects, [bold]{summary['visits']:,}[/] visits"
        f" ({_what(summary)}, time: {summary['time']['column']}, {summary['time']['kind']})"
    )
    counts = Table("visits", "subjects", "", title="Visits per subject", title_justify="left", box=None)
    most = max(summary["visits_per_subject"].values())
    for number, people in summary["visits_per_subject"].items():
        counts.add_row(number, f"{people:,}", "▇" * max(1, round(30 * people / most)))
    console.print(counts)
    if gaps := summary["gaps"]:
        console.print("Years between visits: " + ", ".join(f"{name} {value:.2f}" for name, value in gaps.items()))
    roles = Table("column", "role", "kind", "missing", title="Columns", title_justify="left", box=None)
    for column in summary["columns"][:MOST_COLUMNS]:
        share = "" if column["missing"] is None else f"{column['missing']:.1%}"
        roles.add_row(column["name"], column["role"], column["kind"] or "", share)
    console.print(roles)
    if (rest := len(summary["columns"]) - MOST_COLUMNS) > 0:
        console.print(f"and {rest:,} more columns (--json lists all)")


def _what(summary: dict[str, Any]) -> str:
    kind = "BIDS tree" if summary["layout"] == "bids" else f"{summary['layout']} table"
    return (
        f"{kind}, {summary['scans']:,} scans, {summary['modality'] or 'of no known modality'}"
        if summary["scans"]
        else kind
    )
