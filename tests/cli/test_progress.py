"""Progress bars name what is being done; tables of a forecast have units and no more digits than are known."""

import io
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from crow.cli import progress, terminal


def test_a_bar_names_the_present_item_and_an_estimate_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    shown = Console(file=output, force_terminal=True, width=100)
    monkeypatch.setattr(terminal, "console", lambda stderr=False: shown)
    items = ["privacy", "group \x1b[31meffects"]

    def seen() -> Iterator[str]:
        for item in progress.followed(items, "Evaluating", name=str):
            yield item
            time.sleep(0.15)

    assert list(seen()) == items
    text = output.getvalue()
    assert "Evaluating: privacy" in text and "0/2" in text and "left" in text
    assert "\x1b[31meffects" not in text, "a name does not steer the terminal"


def test_without_a_terminal_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.followed(iter([1, 2]), "Measuring", total=2)) == [1, 2]
    assert capsys.readouterr().out == ""


def test_a_warning_is_marked_and_its_names_do_not_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.echo_warning("sub\x1b[31m-1 is far away.")
    assert capsys.readouterr().out == "warning: sub\\x1b[31m-1 is far away.\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal.echo_warning("far away.")
    assert capsys.readouterr().out == "\x1b[33mwarning:\x1b[0m far away.\n"
