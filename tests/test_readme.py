"""The commands of the README and of docs/ run in their order, on small cohorts, and make the files that they name."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from crow.cli.main import app
from crow.extras import EXTRAS, installed

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {ROOT / "README.md": README} | {
    ROOT / name: (ROOT / name).read_text(encoding="utf-8")
    for name in dict.fromkeys(re.findall(r"\]\((docs/[\w.-]+\.md)\)", README))
}
ALL_INSTALLED = all(installed(library) for name in ("scans", "report", "explore") for library in EXTRAS[name][1])
BLOCK = re.compile(r"^```(console|bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)")

# Sizes of the test. Only these numbers replace those of a page; every other value of an option stays as it is printed.
STEPS = "training.max_epochs=1 training.steps_per_epoch=2"
IMAGES = f"{STEPS} images.size=8 flow.levels=1 flow.depth=2"
SIZES = {
    "simulate": "--subjects 30 --visits 4", "simulate --scans": "--subjects 10 --visits 2 --resolution 8",
    "prepare": "--resolution 8", "train": f"{STEPS} model.members=1",
    "train --cohort demo/scans": f"{STEPS} model.members=1 scans.resolution=8",
    "generate": "--draws 20", "fill": "--draws 20", "score": "--draws 20", "evaluate": "--draws 20",
    "report": "--draws 20", "explore": "--draws 20",
    "translate --cohort": f"{IMAGES} pretrain_epochs=1", "translate --run": "--draws 2",
    "enhance --cohort": IMAGES, "enhance --run": "--draws 2", "segment --cohort": IMAGES, "segment --run": "--draws 2",
    "classify --cohort": STEPS, "synthesize --cohort": STEPS,
}  # fmt: skip


def commands(pages: list[str]) -> list[tuple[str, str]]:
    """Kind and text of each command: a shell line (joined over backslashes), or a whole block of Python."""
    found = []
    for kind, text in (block for page in pages for block in BLOCK.findall(page)):
        if kind == "python":
            found.append((kind, text))
        else:
            lines = text.replace("\\\n", " ").splitlines()
            found += [("shell", line.removeprefix("$ ")) for line in lines if kind == "bash" or line.startswith("$ ")]
    return found


def smaller(words: list[str]) -> list[str]:
    """A command of crow with the numbers of `SIZES` in place of its own."""
    sizes = shlex.split(next((SIZES[key] for n in (3, 2, 1) if (key := " ".join(words[:n])) in SIZES), ""))
    words, at = list(words), 0
    while at < len(sizes):
        pair = ["--set", sizes[at]] if "=" in sizes[at] else sizes[at : at + 2]
        at += 1 if "=" in sizes[at] else 2
        own = [
            k
            for k in range(len(words) - 1)
            if words[k] == pair[0] and (pair[0] != "--set" or words[k + 1].split("=")[0] == pair[1].split("=")[0])
        ]
        for k in own:
            assert re.fullmatch(r"(?:[\w.]+=)?[\d.]+", words[k + 1]), f"{words[k + 1]} is no size"
            words[k + 1] = pair[1]
        if not own:
            words += pair
    return words


def plan(*words: str) -> str:
    """The lines that make would run; by a make of its own, for `make test` may be running this."""
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", "-n", *words], cwd=ROOT, env=own, capture_output=True, text=True, check=True).stdout


def run(words: list[str]) -> None:
    """Run a command of crow in the current folder and in this process, which has imported torch already."""
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
    """The folder in which make demo ran, its commands of crow, and for each path that it lists whether it exists."""
    folder, done, printed = tmp_path_factory.mktemp("readme"), [], ""
    with contextlib.chdir(folder):
        for line in recipe.splitlines():
            if line.startswith("bin/crow "):
                if "scan" in line and not ALL_INSTALLED:
                    continue
                done.append(smaller(shlex.split(line)[1:]))
                run(done[-1])
            else:
                printed += subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^ *(demo/\S+)", printed.split("Results:", 1)[1], re.MULTILINE)
    return folder, done, {path: (folder / path).exists() for path in listed}


NEEDS_ALL = pytest.mark.skipif(not ALL_INSTALLED, reason="the commands of docs/ need all extras")


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([README], id="README"),
        pytest.param(list(PAGES.values()), id="docs", marks=[NEEDS_ALL, pytest.mark.slow]),
    ],
)
def test_commands_make_every_file_that_they_name(
    pages: list[str], demo: tuple[Path, list[list[str]], dict[str, bool]]
) -> None:
    """In the folder in which make demo ran, all commands of the pages that it had not run."""
    folder, done, _ = demo
    with contextlib.chdir(folder):
        if len(pages) > 1:
            shutil.copytree("demo/scan_run_store", "demo/store")  # crow prepare then finds every scan prepared
        for kind, command in commands(pages):
            words = shlex.split(command) if kind == "shell" else ["python"]
            if words[0] == "crow":
                if (small := smaller(words[1:])) not in done:
                    done.append(small)
                    run(small)
            elif words[0] != "make":
                program = [sys.executable, "-c"] if kind == "python" else ["bash", "-c"]
                assert subprocess.run([*program, command], check=False).returncode == 0, command
    shown = "\n".join(text for page in pages for _, text in BLOCK.findall(page))
    named = set(re.findall(r"\bdemo/[\w./-]+\.(?:csv|png|json|html|nii\.gz)\b", shown))
    assert named and sorted(name for name in named if not (folder / name).exists()) == []


@NEEDS_ALL
def test_every_command_of_crow_is_shown() -> None:
    every = commands(list(PAGES.values()))
    shown = {shlex.split(command)[1] for kind, command in every if kind == "shell" and command.startswith("crow")}
    assert shown >= set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_readme_links_every_page() -> None:
    assert set(PAGES) - {ROOT / "README.md"} == set((ROOT / "docs").glob("*.md"))


def test_links_lead_to_files() -> None:
    for path in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for link in LINK.findall(path.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (path.parent / link).exists(), f"{path.name}: {link}"


def test_make_demo_runs_and_lists_its_results(demo: tuple[Path, list[list[str]], dict[str, bool]]) -> None:
    assert ("shell", "make demo") in commands([README])
    _, done, made = demo
    assert {"simulate", "check", "train", "generate", "score"} <= {words[0] for words in done}
    assert len(made) > 5
    needed = {path: exists for path, exists in made.items() if ALL_INSTALLED or not re.search("scan|followup", path)}
    assert all(needed.values()), made


def test_make_plain_installs_what_the_readme_names() -> None:
    (extras,) = set(re.findall(r"'\.(\[[\w,]+\])'` \| [^|]*all commands of this page", README))
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    assert f"'.{extras}' pytest" in plan("plain")


def test_make_test_runs_ruff_mypy_and_pytest() -> None:
    assert ("shell", "make test") in commands([README])
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    lines = plan("test")
    assert all(tool in lines for tool in ("/ruff check", "/mypy", "-m pytest"))


def test_pictures_exist_and_are_small() -> None:
    pictures = [
        path.parent / name for path, page in PAGES.items() for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)
    ]
    assert pictures
    assert all(0 < picture.stat().st_size < 300_000 for picture in pictures)
