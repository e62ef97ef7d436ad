"""Every command of the README runs, in its order, on a small cohort; what it names is then there."""

import contextlib
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
SCANS = "--subjects 11 --visits 2 --resolution 8 --jobs 1"
VISITS = "--set training.max_epochs=1 --set training.steps_per_epoch=2"
TINY = f"{VISITS} --set images.size=8 --set flow.levels=1 --set flow.depth=2"
SMALLER = {"simulate": "--subjects 30 --visits 4", "train": SETTINGS, "generate": "--samples 20",
           "simulate --scans": SCANS, "prepare": "--resolution 8 --jobs 1", "score": "--samples 20",
           "evaluate": "--samples 20 --jobs 1 --baselines simple",
           "translate --cohort": f"{TINY} --set first_epochs=1", "enhance --cohort": TINY, "segment --cohort": TINY,
           "classify --cohort": VISITS, "synthesize --cohort": VISITS, "enhance --run": "--samples 2",
           "segment --run": "--samples 2"}  # fmt: skip


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


def run(kind: str, command: str) -> None:
    """Run a command where we are; those of crow in this process, which has imported torch already."""
    words = shlex.split(command) if kind == "shell" else ["python"]
    if words[0] == "crow":
        small = shlex.split(SMALLER.get(" ".join(words[1:3]), SMALLER.get(words[1], "")))
        done = CliRunner().invoke(app, [*words[1:], *small], catch_exceptions=False)
        assert done.exit_code == 0, f"{command}\n{done.output}"
    elif words[0] != "make":
        program = [sys.executable, "-c"] if kind == "python" else ["bash", "-c"]
        assert subprocess.run([*program, command], check=False).returncode == 0, command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all commands but make's have run."""
    folder = tmp_path_factory.mktemp("readme")
    with contextlib.chdir(folder):
        for kind, command in commands():
            run(kind, command)
    return folder


def test_commands_make_every_file_that_the_readme_names(folder: Path) -> None:
    shown = "\n".join(text for _, text in BLOCK.findall(README))
    named = set(re.findall(r"\bdemo/[\w./-]+\.(?:csv|png|json)\b", shown))
    assert len(named) > 5
    assert sorted(name for name in named if not (folder / name).exists()) == []


def test_every_command_of_crow_is_in_the_readme() -> None:
    shown = {shlex.split(command)[1] for kind, command in commands() if kind == "shell" and command.startswith("crow")}
    assert shown >= {command.callback.__name__ for command in app.registered_commands if command.callback}


def test_make_demo_runs_and_names_what_it_made(tmp_path: Path) -> None:
    assert ("shell", "make demo") in commands()
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    options = [f"BIN={BIN}", f"DEMO={tmp_path / 'demo'}", "SIMULATE=--subjects 30 --visits 4", f"TRAIN={SETTINGS}",
               f"SCANS={SCANS}", f"TRAIN_SCANS={SETTINGS} --set scans.resolution=8"]  # fmt: skip
    done = subprocess.run(
        ["make", "-o", ".venv/.installed", "demo", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for command in ("simulate", "check", "train", "generate", "score"):
        assert f"{BIN}/crow {command} " in done.stdout
    made = re.findall(rf"^ *({tmp_path}/demo/\S+)", done.stdout.rsplit("Made:", 1)[1], re.MULTILINE)
    assert len(made) > 5
    assert all(Path(path).exists() for path in made)


def test_make_test_runs_ruff_mypy_and_pytest() -> None:
    assert ("shell", "make test") in commands()
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    plan = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(tool in plan for tool in ("/ruff check", "/mypy", "-m pytest"))


def test_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all(0 < (ROOT / picture).stat().st_size < 300_000 for picture in pictures)
