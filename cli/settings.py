"""`crow settings`."""

from typing import TYPE_CHECKING, Annotated

import typer

from crow.cli.terminal import console, echo

if TYPE_CHECKING:
    from crow.run.describe import Kind


def _commands(incomplete: str) -> list[str]:
    from crow.run.describe import commands_with_settings

    return [name for name in commands_with_settings() if name.startswith(incomplete)]


def settings(
    command: Annotated[
        str | None,
        typer.Argument(
            help="Command that trains a model: train, synthesize, translate, classify, enhance or segment.",
            show_default="all of them", autocompletion=_commands,
        ),
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="Only the settings of this architecture.", show_default="all of the command")
    ] = None,
    yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the defaults as a commented YAML file, a start for --config.")
    ] = False,
) -> None:  # fmt: skip
    """Print every setting of a command with its default and meaning, and the presets for --config.

    Example:
    [bold]crow settings train[/bold]
    [bold]crow settings classify --architecture infocnf --yaml[/bold]
    """
    from crow.run.describe import chosen_settings, commented_yaml, default_header

    chosen = chosen_settings(command, architecture)
    if yaml:
        if len(chosen) > 1:
            raise typer.BadParameter("--yaml prints one file: name a command, and an --architecture if it has several.")
        echo(commented_yaml(chosen[0].model_validate({}), default_header(chosen[0])).rstrip("\n"))
        return
    for kind in chosen:
        _show(kind)
    echo("Change settings with --set KEY=VALUE, or --config with a preset or a YAML file (--yaml prints one).")


def _show(kind: "Kind") -> None:
    from rich import box
    from rich.table import Table

    from crow.run.describe import command_line, describe, presets_of

    title = f"{command_line(kind)} (presets: {', '.join(presets_of(kind)) or 'none'})"
    table = Table("setting", "default", "meaning", box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for setting in describe(kind):
        table.add_row(*setting)
    console().print(table)
