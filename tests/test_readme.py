"""Every command of the README runs, in its order, on a small cohort; what it names is then there."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crow.cli.main import app

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(console|bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTINGS = "--set model.members=1 --set training.max_epochs=1 --set training.steps_per_epoch=2"
SCANS = "--subjects 10 --visits 2 --resolution 8"
VISITS = "--set training.max_epochs=1 --set training.steps_per_epoch=2"
TINY = f"{VISITS} --set images.size=8 --set flow.levels=1 --set flow.depth=2"
SMALLER = {"simulate": "--subjects 30 --visits 4", "train": SETTINGS, "generate": "--samples 20",
           "train --cohort demo/scans": f"{SETTINGS} --set scans.resolution=8",
           "simulate --scans": SCANS, "prepare": "--resolution 8", "score": "--samples 20",
           "prepare --cohort demo/pet": "--resolution 8 --register none", "report": "--samples 20",
           "evaluate": "--samples 20 --baselines simple",
           "translate --cohort": f"{TINY} --set pretrain_epochs=1", "enhance --cohort": TINY, "segment --cohort": TINY,
           "classify --cohort": VISITS, "synthesize --cohort": VISITS, "enhance --run": "--samples 2",
           "segment --run": "--samples 2"}  # fmt: skip
AGAIN = ("train", "generate", "evaluate", "report")  # commands that the README gives with other options than make demo


def commands() -> list[tuple[str, str]]:
    """Kind and text of each command: a shell line (joined over backslashes), or a whole block of Python."""
    found = []
    for kind, text in BLOCK.findall(README):
        if kind == "python":
            found.append((kind, text))
        else:
            lines = text.replace("\\\n", " ").splitlines()
            found += [("shell", line.removeprefix("$ ")) for line in lines if kind == "bash" or line.startswith("$ ")]
    return found


def smaller(words: list[str]) -> list[str]:
    """A command of crow with the options of `SMALLER` in place of its own."""
    more = shlex.split(next((SMALLER[key] for n in (3, 2, 1) if (key := " ".join(words[:n])) in SMALLER), ""))
    for option in {word for word in more if word.startswith("--")} - {"--set"} & set(words):
        at = words.index(option)
        words = words[:at] + words[at + 2 :]
    return [*words, *more]


def plan(*words: str) -> str:
    """The lines that make would run; by a make of its own, for `make test` may be running this."""
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", "-n", *words], cwd=ROOT, env=own, capture_output=True, text=True, check=True).stdout


def run(words: list[str]) -> None:
    """Run a command of crow where we are and in this process, which has imported torch already."""
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, f"{words}\n{done.output}"


@pytest.fixture(scope="module")
def recipe() -> str:
    """The lines of `make demo`."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    return plan("-o", ".venv/.installed", "demo", "BIN=bin", "SCANS=", "TRAIN_SCANS=").replace("\\\n", " ")


@pytest.fixture(scope="module")
def demo(recipe: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]], dict[str, bool]]:
    """The folder where make demo ran, its commands of crow, and of what it named whether it was there."""
    folder, done, said = tmp_path_factory.mktemp("readme"), [], ""
    with contextlib.chdir(folder):
        for line in recipe.splitlines():
            if line.startswith("bin/crow "):
                done.append(smaller(shlex.split(line)[1:]))
                run(done[-1])
            else:
                said += subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    named = re.findall(r"^ *(demo/\S+)", said.split("Made:", 1)[1], re.MULTILINE)
    return folder, done, {path: (folder / path).exists() for path in named}


@pytest.fixture(scope="module")
def folder(demo: tuple[Path, list[list[str]], dict[str, bool]]) -> Path:
    """Where the README's commands have run after make demo, but those that it ran."""
    folder, done, _ = demo
    with contextlib.chdir(folder):
        shutil.copytree("demo/scan_run_store", "demo/store")  # crow prepare then finds every scan prepared
        for kind, command in commands():
            words = shlex.split(command) if kind == "shell" else ["python"]
            if words[0] == "crow":
                if (small := smaller(words[1:])) not in done:
                    run([*small, *(["--overwrite"] if words[1] in AGAIN else [])])
            elif words[0] != "make":
                program = [sys.executable, "-c"] if kind == "python" else ["bash", "-c"]
                assert subprocess.run([*program, command], check=False).returncode == 0, command
    return folder


def test_commands_make_every_file_that_the_readme_names(folder: Path) -> None:
    shown = "\n".join(text for _, text in BLOCK.findall(README))
    named = set(re.findall(r"\bdemo/[\w./-]+\.(?:csv|png|json)\b", shown))
    assert len(named) > 5
    assert sorted(name for name in named if not (folder / name).exists()) == []


def test_every_command_of_crow_is_in_the_readme() -> None:
    shown = {shlex.split(command)[1] for kind, command in commands() if kind == "shell" and command.startswith("crow")}
    assert shown >= {command.callback.__name__ for command in app.registered_commands if command.callback}


def test_make_demo_runs_and_names_what_it_made(demo: tuple[Path, list[list[str]], dict[str, bool]]) -> None:
    assert ("shell", "make demo") in commands()
    _, done, made = demo
    assert {"simulate", "check", "train", "generate", "score"} <= {words[0] for words in done}
    assert len(made) > 5
    assert all(made.values()), made


def test_make_test_runs_ruff_mypy_and_pytest() -> None:
    assert ("shell", "make test") in commands()
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    lines = plan("test")
    assert all(tool in lines for tool in ("/ruff check", "/mypy", "-m pytest"))


def test_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all(0 < (ROOT / picture).stat().st_size < 300_000 for picture in pictures)
