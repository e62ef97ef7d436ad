"""The `crow` command itself: help, version, and how it tells errors."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from crow.cli.main import app, main
from crow.errors import CohortError


def crow(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", "from crow.cli.main import main; main()", *words],
                          capture_output=True, text=True, check=False)  # fmt: skip


def test_help_lists_every_command_and_loads_no_torch() -> None:
    code = "import sys\nfrom crow.cli.main import main\ntry: main(['--help'])\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    assert names
    for name in names:
        assert f" {name} " in done.stdout
    for heavy in ("'torch'", "'pandas'", "'matplotlib'", "'numpy'"):
        assert heavy not in done.stdout


@pytest.mark.parametrize("command", [c.name or c.callback.__name__ for c in app.registered_commands if c.callback])
def test_help_of_every_command_has_an_example(command: str) -> None:
    done = crow(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"crow {command}" in done.stdout.split("Example", 1)[1]


def test_version() -> None:
    from crow import __version__

    assert crow("--version").stdout == f"crow {__version__}\n"


def test_the_installed_command_is_this_one() -> None:
    installed = Path(sys.executable).with_name("crow")
    done = subprocess.run([installed, "--version"], capture_output=True, text=True, check=False)
    assert done.stdout == crow("--version").stdout != ""


def test_unknown_option_is_a_usage_error() -> None:
    done = crow("simulate", "--subject", "5")
    assert done.returncode == 2
    assert "--subject" in done.stderr


@pytest.mark.parametrize("words", [["fail", "--debug"], ["--debug", "fail"], ["fail"]])
def test_errors_the_user_can_mend(words: list[str], capsys: pytest.CaptureFixture[str], failing: typer.Typer) -> None:
    assert leave(words) == 2
    err = capsys.readouterr().err
    assert "Error: table.csv, line 3, column [AGE]: found 'x'." in err
    assert ("Traceback" in err) == ("--debug" in words)


@pytest.mark.parametrize("debug", [True, False])
def test_faults_of_crow_ask_for_debug(debug: bool, capsys: pytest.CaptureFixture[str], failing: typer.Typer) -> None:
    assert leave(["break", *(["--debug"] if debug else [])]) == 1
    err = capsys.readouterr().err
    assert "crow failed: ZeroDivisionError" in err
    assert ("again with --debug" in err) == (not debug)
    assert ("Traceback" in err) == debug


def test_ctrl_c_leaves_with_130(failing: typer.Typer) -> None:
    assert leave(["stop"]) == 130


def leave(words: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(words)
    return left.value.code


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The real app with three commands more, each ending in its own way."""

    def fail() -> None:
        raise CohortError("table.csv, line 3, column [AGE]: found 'x'.")

    def stop() -> None:
        raise KeyboardInterrupt

    def break_() -> None:
        print(1 / 0)

    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    for name, function in {"fail": fail, "stop": stop, "break": break_}.items():
        app.command(name)(function)
    return app
