"""What commands print: text as it is, whatever names a cohort has and whoever reads the output."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from crow.errors import OutputError
from crow.processes import is_first

if TYPE_CHECKING:
    from rich.console import Console

CONTROL = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}


def plain(text: str) -> str:
    """The text with its control characters shown as ``\\x1b``, so that a name cannot steer the terminal."""
    return text.translate(CONTROL)


def echo(text: str) -> None:
    """Print a line."""
    print(plain(text), flush=True)


def echo_warning(text: object) -> None:
    """Print a warning, whose first word is yellow in a terminal."""
    word = "\x1b[33mwarning:\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else "warning:"
    print(f"{word} {plain(str(text))}", flush=True)


def echo_written(paths: Iterable[Path], more: str = "") -> None:
    """Print which files were written, after checking that each is there; raises OutputError if one is not."""
    paths = list(paths)
    for path in paths if is_first() else ():
        if not os.path.lexists(path):
            raise OutputError(f"{path}: was written, but is not there any more. Run the command again.")
    echo(f"Wrote {', '.join(str(path) for path in paths)}{more}")


def console(stderr: bool = False) -> "Console":
    """A console that prints names as they are: brackets are no markup and :words: no emoji."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


class Output:
    """Standard output that goes on without a reader, or on a full disk: ``crow train | head`` trains to its end.

    Characters that the terminal's encoding lacks are written as escapes. ``lost`` is why some output was not written;
    None for a reader that has left.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: str | None = None
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._to_nowhere(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._to_nowhere(error)

    def _to_nowhere(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            self.lost = error.strerror or str(error)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def protect_output() -> None:
    """Let both outputs survive a closed pipe, a full disk, and characters that they cannot encode.

    Of the processes of one training only the first prints.
    """
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if not (columns := os.environ.get("COLUMNS", "80")).isdecimal() or int(columns) == 0:
        del os.environ["COLUMNS"]  # on a terminal of no column rich prints nothing
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Output) and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, Output(stream))


def lost_output() -> str | None:
    """Why some of the output was not written; None if all was."""
    outputs = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, Output)]
    for stream in outputs:
        stream.flush()
    return next((stream.lost for stream in outputs if stream.lost), None)


def written_run(folder: Path) -> str:
    """What a run folder contains, for the line that reports it."""
    picture = ", training.png" if (folder / "training.png").exists() else ""
    return f" (model, settings, metrics{picture})"
