"""The `crow` command: its subcommands, and how errors are shown."""

import atexit
import gc
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from crow import __version__
from crow.cli.commands import CommandGroup
from crow.cli.terminal import console, plain, protect_output
from crow.errors import CrowError

app = typer.Typer(
    name="crow",
    cls=CommandGroup,
    help="Longitudinal neuroimaging with the conditional recurrent flow: forecasts and exact sequence likelihoods.",
    epilog="Everything runs on this computer. To begin: crow simulate --out demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(args: Sequence[str] | None = None) -> None:
    """Run a command and exit: status 0 success, 1 a fault of crow, 2 an error that the user can correct, 130 Ctrl-C.

    ``--debug`` may stand anywhere on the command line.
    """
    protect_output()
    atexit.register(gc.freeze)  # the objects of torch would be collected one by one: half a second
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    try:
        app([word for word in words if word != "--debug"], prog_name="crow")
    except CrowError as error:
        _show_error(str(error), debug)
        sys.exit(2)
    except KeyboardInterrupt:
        console(stderr=True).print("Interrupted.")
        sys.exit(130)
    except Exception as error:
        advice = "" if debug else " Run the command again with --debug, and report the output."
        _show_error(f"crow failed: {type(error).__name__}: {error}.{advice}", debug)
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crow {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
) -> None:
    pass


def _show_error(message: str, debug: bool) -> None:
    from rich.text import Text

    if debug:
        traceback.print_exc()
    text = Text.assemble(("Error: ", "bold red"), (plain(message), "red"))
    console(stderr=True).print(text, soft_wrap=True)
