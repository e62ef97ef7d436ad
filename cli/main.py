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
from crow.cli.signals import ending_in_order
from crow.cli.terminal import console, lost_output, plain, protect_output
from crow.errors import CrowError
from crow.system_limits import limit_reached

MAX_MESSAGE = 3000  # characters; a name or a value of a hostile file may be long

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

    SIGTERM (143) and SIGHUP (129) end it as Ctrl-C does.

    ``--debug`` may stand anywhere on the command line.
    """
    protect_output()
    atexit.register(gc.freeze)  # the objects of torch would be collected one by one: half a second
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    with ending_in_order() as signals:
        status = _status([word for word in words if word != "--debug"], debug, signals)
    if lost := lost_output():
        _show_error(f"the output could not be written to its end: {lost}. Files that were written are whole.", debug)
        status = status or 2
    sys.exit(status)


def _status(words: Sequence[str], debug: bool, signals: Sequence[int]) -> int | str | None:
    """Run a command; its exit status, after its error was shown."""
    try:
        app(list(words), prog_name="crow")
    except SystemExit as end:  # typer turns Ctrl-C into 130
        return 128 + signals[0] if signals and end.code == 130 else end.code
    except CrowError as error:
        _show_error(str(error), debug)
        return 2
    except KeyboardInterrupt:
        console(stderr=True).print("Interrupted.")
        return 128 + signals[0] if signals else 130
    except Exception as error:
        if (reason := limit_reached(error)) is not None:
            _show_error(reason, debug)
            return 2
        advice = "" if debug else " Run the command again with --debug, and report the output."
        _show_error(f"crow failed: {type(error).__name__}: {error}.{advice}", debug)
        return 1
    return 0


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
    elif len(message) > MAX_MESSAGE:
        message = f"{message[: MAX_MESSAGE // 2]} [...] {message[-MAX_MESSAGE // 2 :]}"
    text = Text.assemble(("Error: ", "bold red"), (plain(message), "red"))
    console(stderr=True).print(text, soft_wrap=True)
