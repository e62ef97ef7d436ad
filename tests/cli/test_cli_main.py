"""The `crow` command itself: help, version, completion, and how it shows errors."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from crow.cli.main import app, main
from crow.errors import CohortError

SHARED = ("--draws", "--save-scan-draws", "--seed", "--set", "--test", "--resume", "--missing", "--jobs", "--atlas",
          "--labels", "--overwrite", "--time", "--covariates", "--suffix")  # fmt: skip
OLD = ("--samples", "--samples-out", "--sample-scans", "--register", "--model", "--future", "--new", "--maps",
       "--without-subjects", "--most")  # fmt: skip
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def crow(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from crow.cli.main import main; main()", *words], env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def examples() -> Iterator[str]:
    """The command lines that the help of all commands shows."""
    for command in COMMANDS.values():
        text = " ".join((command.help or "").split())
        yield from re.findall(r"\[bold\]crow (.*?)\[/bold\]", text)


def test_help_lists_every_command_and_loads_no_torch() -> None:
    code = "import sys\nfrom crow.cli.main import main\ntry: main(['--help'])\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(COMMANDS) > 15
    for name in COMMANDS:
        assert f" {name} " in done.stdout
    for heavy in ("'torch'", "'pandas'", "'matplotlib'", "'numpy'"):
        assert heavy not in done.stdout


def test_each_command_has_one_line_in_a_panel_at_80_columns() -> None:
    lines = crow("--help", COLUMNS="80", NO_COLOR="1", TERM="dumb").stdout.splitlines()
    for name, command in COMMANDS.items():
        (line,) = [line for line in lines if line[1:].split()[:1] == [name]]
        assert " ".join(line.strip("│| ").split()[1:]) == command.short_help
    assert [panel for panel in ("Cohorts", "Longitudinal models", "Single visits", "Settings")
            if not any(f"─ {panel} ─" in line for line in lines)] == []  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_help_begins_with_one_sentence_and_has_an_example(name: str) -> None:
    first, *others = (COMMANDS[name].help or "").split("\n\n")
    assert re.fullmatch(r"[A-Z][^.]*\.", " ".join(first.split())), first
    assert any(text.lstrip().startswith("Example") for text in others)
    assert any(example.startswith(f"{name} ") for example in examples())


@pytest.mark.parametrize("example", list(examples()))
def test_examples_are_valid(example: str) -> None:
    name, *words = shlex.split(example)
    COMMANDS[name].make_context(name, words)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_can_be_pasted_from_a_terminal_of_80_columns(name: str) -> None:
    lines = [line.strip() for line in crow(name, "--help", COLUMNS="80", NO_COLOR="1", TERM="dumb").stdout.splitlines()]
    own = [f"crow {example}" for example in examples() if example.startswith(f"{name} ")]
    assert own and not [example for example in own if example not in lines]


def test_every_option_is_explained() -> None:
    unexplained = [f"{name} {option.opts}" for name, command in COMMANDS.items() for option in command.params
                   if not (option.help or "").rstrip(".)").strip()]  # fmt: skip
    assert unexplained == []


@pytest.mark.parametrize("shared", SHARED)
def test_a_shared_option_means_the_same_in_every_command(shared: str) -> None:
    meanings = {name: option.help for name, command in COMMANDS.items() for option in command.params
                if shared in option.opts and (name, shared) != ("generate", "--covariates")}  # fmt: skip
    assert len(meanings) > 1
    assert len(set(meanings.values())) == 1, meanings


@pytest.mark.parametrize("old", OLD)
def test_old_names_are_gone(old: str) -> None:
    assert not [name for name, command in COMMANDS.items() for option in command.params if old in option.opts]


@pytest.mark.parametrize(
    ("words", "expected"),
    [("crow ge", ["generate"]), ("crow train --res", ["--resume"]), ("crow train --config pub", ["published"]),
     ("crow settings cla", ["classify"]), ("crow classify --architecture c", ["ccnf"])],
)  # fmt: skip
def test_completion(words: str, expected: list[str]) -> None:
    at = str(len(words.split()) - 1)
    done = crow(_CROW_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=at)
    assert done.stdout.split() == expected, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_and_installed(shell: str, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "SHELL": f"/bin/{shell}", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = crow("--show-completion", shell, **environment)
    assert shown.returncode == 0 and "_CROW_COMPLETE" in shown.stdout, shown.stderr
    installed = crow("--install-completion", shell, **environment)
    assert installed.returncode == 0, installed.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_CROW_COMPLETE" in path.read_text() for path in files)


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
def test_errors_of_the_user(words: list[str], capsys: pytest.CaptureFixture[str], failing: typer.Typer) -> None:
    assert exit_status(words) == 2
    err = capsys.readouterr().err
    assert "Error: table.csv, line 3, column [AGE]: found 'x'." in err
    assert ("Traceback" in err) == ("--debug" in words)


@pytest.mark.parametrize("debug", [True, False])
def test_faults_of_crow_ask_for_debug(debug: bool, capsys: pytest.CaptureFixture[str], failing: typer.Typer) -> None:
    assert exit_status(["break", *(["--debug"] if debug else [])]) == 1
    err = capsys.readouterr().err
    assert "crow failed: ZeroDivisionError" in err
    assert ("again with --debug" in err) == (not debug)
    assert ("Traceback" in err) == debug


def test_ctrl_c_exits_with_130(failing: typer.Typer) -> None:
    assert exit_status(["stop"]) == 130


def exit_status(words: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    return exit_.value.code


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
