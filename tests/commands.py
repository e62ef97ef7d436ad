"""Commands as a user gives them, in this process."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crow.cli.main import app, main


def run(*words: str | Path) -> str:
    """The output of a command that has to succeed."""
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The message, on one line, of a command that has to exit with status 2."""
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    message = capsys.readouterr().err
    assert exit_.value.code == 2, message
    assert "Traceback" not in message
    return " ".join(message.replace("│", " ").split())


def done(words: Sequence[str | Path]) -> None:
    """Run a command that has to succeed; its output is that of the test."""
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    assert not exit_.value.code
