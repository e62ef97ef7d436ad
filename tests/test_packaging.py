"""The wheel installs, and brings presets and templates; the plain install has every package that crow imports."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = ("dev", "benchmark")  # extras for who works on crow
OPTIONAL = {"leaspy"}  # needs older versions of numpy and torch; `crow evaluate` runs without it
EVERYTHING = """
import importlib, pkgutil, crow
from importlib.util import find_spec
from crow.extras import EXTRAS
without = []
for module in pkgutil.walk_packages(crow.__path__, "crow."):
    try:
        importlib.import_module(module.name)
    except crow.errors.MissingExtra:
        without.append(module.name)
print(crow.__file__)
print("installed extras:", [name for name, (_, libraries) in EXTRAS.items() if all(map(find_spec, libraries))])
print("modules of extras:", without)
from crow.evaluation.baselines import BASELINES
print([make().name for name, make in BASELINES.items() if name not in ("leaspy", "mixed")])
from importlib.resources import files
for package, folder in ("crow.report", "templates"), ("crow.explore", "static"):
    print(sorted(path.name for path in files(package).joinpath(folder).iterdir()))
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(name: str) -> set[str]:
    """A distribution and all that it requires here, by normal name."""
    from packaging.requirements import Requirement

    found, left = set(), [(name, frozenset[str]())]
    while left:
        name, extras = left.pop()
        if (normal(name), extras) in found:
            continue
        found.add((normal(name), extras))
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, requirements):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                left.append((requirement.name, frozenset(requirement.extras)))
    return {name for name, _ in found}


def imports() -> Iterator[tuple[str, str]]:
    """Every package that crow imports, and the file that does."""
    for folder in ("crow", "pipelines", "cli"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    yield from ((name.name.split(".")[0], str(path)) for name in node.names)
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    yield node.module.split(".")[0], str(path)


def test_every_import_is_declared() -> None:
    """As a dependency, or as an extra for users; importing a module needs no extra (see the plain install)."""
    extras = [text for name, texts in PROJECT["optional-dependencies"].items() if name not in OURS for text in texts]
    declared = {normal(requirement_name(text)) for text in (*PROJECT["dependencies"], *extras)}
    homes = packages_distributions()
    missing = {
        f"{package} ({path})"
        for package, path in imports()
        if package not in {"crow", *sys.stdlib_module_names, *OPTIONAL}
        and not {normal(name) for name in homes.get(package, [package])} & declared
    }
    assert missing == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `make wheel` builds it, of a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("crow", "pipelines", "cli", "configs"):
        copy_sources(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


def copy_sources(folder: Path, target: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and just what it requires, as links to the packages of this one."""
    folder = tmp_path_factory.mktemp("plain")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", f"--python={folder / 'bin' / 'python'}"]
    subprocess.run([*pip, "install", "-q", "--no-deps", str(wheel)], check=True, capture_output=True, text=True)
    names = set().union(*(required(text) for text in map(requirement_name, PROJECT["dependencies"])))
    for name in names - {normal(PROJECT["name"])}:
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            continue
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            place = Path(str(distribution(name).locate_file(top)))
            if place.exists() and not (site / top).exists():
                (site / top).symlink_to(place)
    return folder


def requirement_name(text: str) -> str:
    return re.split(r"[\[<>=!~; ]", text)[0]


def run(plain: Path, *words: str, where: Path) -> str:
    """The output of a command in the fresh environment, which sees nothing of the sources."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [plain / "bin" / words[0], *words[1:]], cwd=where, env=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_runs(plain: Path, tmp_path: Path) -> None:
    assert run(plain, "crow", "--version", where=tmp_path).startswith("crow ")
    assert "training.max_epochs" in run(plain, "crow", "settings", where=tmp_path)
    assert "presets: default, published" in run(plain, "crow", "settings", "train", where=tmp_path)
    run(plain, "crow", "simulate", "--out", "demo", "--subjects", "20", "--visits", "3", where=tmp_path)
    words = ["train", "--cohort", "demo/cohort.csv", "--covariates", "DX", "--config", "published", "--out", "demo/run"]
    output = run(plain, "crow", *words, "--set", "training.max_epochs=1", where=tmp_path)
    assert "published objective" in output
    quick = ["--set", "training.max_epochs=1", "--set", "model.members=1"]
    table = ["--cohort", "demo/cohort.csv"]
    run(plain, "crow", "train", *table, "--test", "0.2", "--out", "demo/run", *quick, "--overwrite", where=tmp_path)
    words = ["generate", "--run", "demo/run", "--subject", "9002", "--at", "1,2", "--out", "demo/forecast.csv"]
    run(plain, "crow", *words, where=tmp_path)
    run(plain, "crow", "score", "--run", "demo/run", *table, "--out", "demo/scores.csv", where=tmp_path)
    output = run(plain, "crow", "evaluate", "--run", "demo/run", "--draws", "20", where=tmp_path)
    assert "pip install 'crow-longitudinal[report]'" in output
    learn = ["--out", "demo/classes", "--label", "DX", "--set", "training.max_epochs=1"]
    run(plain, "crow", "classify", *table, *learn, where=tmp_path)


@pytest.mark.slow
def test_every_module_baseline_and_template_is_in_the_plain_install(plain: Path, tmp_path: Path) -> None:
    output = run(plain, "python", "-c", EVERYTHING, where=tmp_path)
    assert str(plain) in output and "multivariate" in output
    assert "installed extras: []" in output
    assert "crow.scans.nifti" in output and "crow.explore.server" in output
    assert not re.search(r"modules of extras: .*'crow\.(cohort|models\.crow|cli|training|flows)", output)
    for pages in ("report/templates", "explore/static"):
        assert all(path.name in output for path in (ROOT / "crow" / pages).iterdir())
