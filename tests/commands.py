"""Commands as a user gives them, in this process."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from crow.cli.main import main


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What a command says that must leave with 2, on one line."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    said = capsys.readouterr().err
    assert left.value.code == 2, said
    assert "Traceback" not in said
    return " ".join(said.replace("│", " ").split())


def done(words: Sequence[str | Path]) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert not left.value.code
