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
    """Standard output that goes on without a reader: ``crow train | head`` trains to its end.

    Characters that the terminal's encoding lacks are written as escapes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._to_nowhere()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._to_nowhere()

    def _to_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def protect_output() -> None:
    """Let both outputs of this process survive a closed pipe and characters that they cannot encode.

    Of the processes of one training only the first prints.
    """
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Output) and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, Output(stream))


def written_run(folder: Path) -> str:
    """What a run folder contains, for the line that reports it."""
    picture = ", training.png" if (folder / "training.png").exists() else ""
    return f" (model, settings, metrics{picture})"
