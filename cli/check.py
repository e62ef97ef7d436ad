"""`crow check`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crow.cli import cohort_options, options
from crow.cli.terminal import console, echo, echo_written, plain
from crow.cli.wrapping import print_wrapped
from crow.places import check_places, file, table

if TYPE_CHECKING:
    from rich.console import Console

    from crow.cohort import Finding
    from crow.pipelines.check import Check

COLOURS = {"info": "cyan", "warning": "yellow", "error": "bold red"}
YAML = (".yaml", ".yml")
ROLES = {
    "covariate": ("covariate", "covariates"),
    "site": ("site or scanner, with random effects", "sites or scanners, with random effects"),
    "region": ("region", "regions"),
    "left out": ("column left out", "columns left out"),
}
SEVERITIES = ("error", "warning", "info")
SCREEN_LINES, LINES_OF_CODES = 24, 3
MINOR = frozenset({
    "empty-column", "title-rows", "second-header", "short-row", "mixed-decimals", "text-code", "duplicate", "order",
    "two-digit-year",
})  # fmt: skip
"""Warnings that are printed after all others: they seldom change what is modelled."""
MIN_LETTERS, MAX_LETTERS = 150, 900
"""Of one finding, and of all of them: with the summary they fill one screen of 24 lines."""


@options.reads_cohort(cohort_options.OF_TABLES, cohort_options.OF_SCANS)
def check(
    cohort: Annotated[Path, typer.Argument(help="The table, as it was downloaded, or a BIDS folder; or several.")],
    reading: options.Reading,
    config: Annotated[
        Path | None, typer.Option(help="YAML settings, whose part cohort has the same keys.", show_default=False)
    ] = None,
    columns: Annotated[bool, typer.Option("--columns", help="Also print the role of every column.")] = False,
    full: Annotated[bool, typer.Option("--all", help="Print every finding in full.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="YAML",
            help="Write a mapping of all columns, to edit and to pass with --mapping.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the visits as a clean CSV, with a log beside it.", show_default=False),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Report what a cohort contains, how it is read, and what has to be corrected.

    Exits with status 0 if the cohort is usable, otherwise 2.

    Example:
    [bold]crow check demo/cohort.csv[/bold]
    """
    inputs = {"PATH": [cohort, *(reading["join"] or [])], "--config": config, "--mapping": reading["mapping"]}
    log = None if out is None else out.with_name(f"{out.stem}.log.csv") if out.name else out
    check_places([*table("--out", out), *file("--out", log), *file("--write", write, YAML)], inputs, overwrite)

    from crow.pipelines.check import check as run

    result = run(cohort, config=config, out=out, write=write, overwrite=overwrite, **reading)
    if as_json:
        echo(json.dumps(result.as_dict(), indent=2, default=str))
    else:
        _show(result, columns, full)
    if not result.usable:
        raise typer.Exit(2)


def _show(result: "Check", columns: bool, full: bool) -> None:
    screen, found = console(), result.as_dict()
    with screen.capture() as summary:
        if result.cohort is not None:
            _show_summary(found, screen)
    room = SCREEN_LINES - summary.get().count("\n") - 1 - bool(result.written)
    _show_findings(result.findings, full, room, screen)
    if result.cohort is not None:
        _show_summary(found, screen)
        if columns:
            _show_columns(found["columns"], screen)
    if result.error:
        print_wrapped(console(stderr=True), "Error: ", result.error, "bold red")
    elif result.usable:
        screen.print("usable", style="bold green")
    else:
        screen.print("not usable", style="bold red")
    if result.written:
        echo_written(result.written)


def _show_findings(findings: "list[Finding]", full: bool, room: int, screen: "Console") -> None:
    """Errors and warnings first, one line per kind and as many as there is ``room`` for; of the rest, the codes."""
    kinds = list(_by_kind(findings))
    important = [kind for kind in kinds if full or kind[0] != "info"]
    letters = max(MIN_LETTERS, MAX_LETTERS // max(len(important), 1))
    rest = []
    room -= LINES_OF_CODES + len(kinds) // 12
    for kind in kinds:
        with screen.capture() as shown:
            _show_kind(*kind, full, letters, screen)
        room -= shown.get().count("\n")
        if kind in important and (full or room >= 0 or kind[0] == "error"):
            _show_kind(*kind, full, letters, screen)
        else:
            rest.append(kind)
            room = room if kind not in important else -1
    codes = {
        name: ", ".join(code for severity, code, _ in rest if (severity == "info") == is_note)
        for name, is_note in (("warnings", False), ("notes", True))
    }
    if told := "; ".join(f"{name} {listed}" for name, listed in codes.items() if listed):
        print_wrapped(screen, "   also ", f"{told} (--all prints every finding, --json too)", "cyan")


def _show_kind(severity: str, _: str, alike: "list[Finding]", full: bool, letters: int, screen: "Console") -> None:
    for finding in alike if full else alike[:1]:
        text = str(finding) if full else _short(str(finding), letters)
        print_wrapped(screen, f"{severity:>7} ", text, COLOURS[severity])
    if not full and len(alike) > 1:
        others = [finding.column or finding.message for finding in alike[1:]]
        more = f", and {len(others) - 5} more" if len(others) > 5 else ""
        print_wrapped(screen, " " * 8, f"The same for {_short(', '.join(others[:5]), MIN_LETTERS)}{more}.")


def _by_kind(findings: "list[Finding]") -> "Iterator[tuple[str, str, list[Finding]]]":
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), one.code in MINOR)):
        kinds.setdefault((finding.severity, finding.code), []).append(finding)
    for (severity, code), alike in kinds.items():
        yield severity, code, alike


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[:letters].rsplit(" ", 1)[0] + " ..."


def _show_summary(summary: dict[str, Any], screen: "Console") -> None:
    print_wrapped(
        screen,
        "",
        f"{summary['subjects']:,} subjects, {summary['visits']:,} visits"
        f" ({_what(summary)}, time: {summary['time']['column']}, {summary['time']['kind']})",
        "bold",
    )
    counts = {int(number): count for number, count in summary["visits_per_subject"].items()}
    visits = ", ".join(f"{number}: {count:,}" for number, count in list(counts.items())[:8])
    print_wrapped(screen, "", f"Subjects by number of visits: {visits}{', ...' if len(counts) > 8 else ''}")
    if gaps := summary["gaps"]:
        gaps_text = ", ".join(f"{name} {_years(value)}" for name, value in gaps.items())
        print_wrapped(screen, "", f"Years between visits: {gaps_text}")
    for role, (one, several) in ROLES.items():
        columns = [column for column in summary["columns"] if column["role"] == role]
        if columns:
            noun, names = one if len(columns) == 1 else several, [column["name"] for column in columns]
            kinds = [column["kind"] for column in columns if role == "region" and column["kind"]]
            if len(set(kinds)) == 1:
                noun = f"{noun}, {kinds[0]}"
            elif kinds:
                names = [f"{name} ({kind})" for name, kind in zip(names, kinds, strict=True)]
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            print_wrapped(screen, "", f"{len(names)} {noun}: {_short(', '.join(names[:6]), MIN_LETTERS)}{more}")


def _show_columns(columns: list[dict[str, Any]], screen: "Console") -> None:
    from rich.table import Table

    rows = Table("column", "role", "kind", "missing", "reason", title="Columns", title_justify="left", box=None)
    for column in columns:
        share = "" if column["missing"] is None else f"{column['missing']:.1%}"
        cells = (column["name"], column["role"], column["kind"] or "", share, column["reason"] or "")
        rows.add_row(*map(plain, cells))
    screen.print(rows)


def _years(value: float) -> str:
    return f"{value:.2f}" if value >= 0.095 or value == 0 else f"{value:.2g}"


def _what(summary: dict[str, Any]) -> str:
    kind = "BIDS tree" if summary["layout"] == "bids" else f"{summary['layout']} table"
    return (
        f"{kind}, {summary['scans']:,} scans, {summary['modality'] or 'of no known modality'}"
        if summary["scans"]
        else kind
    )
