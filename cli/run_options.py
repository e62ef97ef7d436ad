"""The flags of every command that learns a run and applies it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

LEARN, APPLY = "To learn (without --run)", "To apply (with --run)"

Run = Annotated[Path | None, typer.Option(help="A run folder of this command, to apply.", rich_help_panel=APPLY)]
Config = Annotated[
    Path | None, typer.Option(help="YAML settings; configs/ has a preset.", rich_help_panel=LEARN)
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting.", rich_help_panel=LEARN)
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the training that was begun in --out.", rich_help_panel=LEARN)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --out.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the draws.", rich_help_panel=APPLY)]


def show_interrupted(interrupted: bool) -> None:
    """Say how to go on after Ctrl-C, and leave with its exit code."""
    if interrupted:
        typer.echo("Ended early: the run can be used as it is, or gone on with: --resume")
        raise typer.Exit(130)


def refuse(given: Mapping[str, object], why: str) -> None:
    """Raise BadParameter for options that say nothing here."""
    if names := [name for name, value in given.items() if value not in (None, False, [])]:
        raise typer.BadParameter(f"{', '.join(names)}: {why}")
