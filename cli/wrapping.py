"""Text that fits the terminal without breaking a word."""

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def print_wrapped(console: "Console", label: str, text: str, style: str = "") -> None:
    """Print a coloured label and a text, wrapped between words; a word longer than the line is left whole."""
    from rich.text import Text

    from crow.cli.terminal import plain

    text = plain(text)
    lines = textwrap.wrap(
        label + text,
        max(console.width, 20),
        subsequent_indent=" " * len(label) if not label.rstrip().endswith(":") else "",
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    shown = Text("\n".join(lines))
    lead = len(label) if label else len(shown)
    shown.stylize(style, 0, lead)
    console.print(shown, soft_wrap=True)
