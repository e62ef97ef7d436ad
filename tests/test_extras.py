"""A library that only some tasks need: its import is guarded, and a command without it names the install."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crow.data.forecast import Forecast
from crow.errors import MissingExtra
from crow.extras import DISTRIBUTIONS, EXTRAS, extra, installed, require
from crow.simulate import simulate_adni

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
EXTRA_OF = {library: name for name, (_, libraries) in EXTRAS.items() for library in libraries}
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
from crow.cli.main import main
main(sys.argv[2:])
"""


def without(names: str, *words: object, where: Path) -> subprocess.CompletedProcess[str]:
    """A command of crow in a process that cannot import the libraries of some extras, separated by commas."""
    libraries = [library for name in names.split(",") for library in EXTRAS[name][1]]
    command = [sys.executable, "-c", WITHOUT, ",".join(libraries), *map(str, words)]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table as CSV, Excel and Parquet, and a run."""
    folder = tmp_path_factory.mktemp("extras")
    table = simulate_adni(20, 3, seed=1).table
    table.to_csv(folder / "t.csv", index=False)
    table.to_excel(folder / "t.xlsx", index=False)
    table.to_parquet(folder / "t.parquet", index=False)
    words = ["train", "--cohort", folder / "t.csv", "--out", folder / "run", "--set", "training.max_epochs=1"]
    done = without("report", *words, "--set", "model.members=1", where=folder)
    assert done.returncode == 0, done.stderr
    assert "Figures are left out." in done.stdout and "[report]'" in done.stdout
    assert not (folder / "run" / "training.png").exists() and not (folder / "run" / "logs").exists()
    return folder


COMMANDS = {
    "scans": ["simulate", "--scans", "--out", "made"],
    "report": ["generate", "--run", "run", "--subject", "9002", "--at", "1", "--out", "f.csv", "--figure", "f.png"],
    "baselines": ["evaluate", "--run", "run", "--baselines", "mixed", "--folds", "2"],
    "explore": ["explore", "--run", "run", "--cohort", "t.csv"],
    "excel": ["check", "t.xlsx"],
    "parquet": ["check", "t.parquet"],
    "cluster": ["evaluate", "--run", "run", "--folds", "2", "--cluster", "tcp://127.0.0.1:1"],
}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(
            ["evaluate", "--run", "run", "--folds", "2", "--baselines", "simple", "--draws", "20", "--out", "apart"],
            marks=pytest.mark.slow,
        ),
        pytest.param(["report", "--run", "run", "--subject", "9002", "--draws", "20"], marks=pytest.mark.slow),
        ["score", "--run", "run", "--cohort", "t.csv", "--out", "s.csv", "--figure", "s.png", "--draws", "20"],
        ["explore", "--run", "run", "--cohort", "t.csv", "--subject", "9002", "--export", "e.html", "--draws", "20"],
    ],
    ids=lambda words: words[0],
)
def test_tables_need_no_libraries_of_scans(words: list[str], folder: Path) -> None:
    done = without("scans", *words, where=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_without_its_extra_prints_one_sentence_with_the_install(name: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    done = without(name, *COMMANDS[name], where=folder)
    assert done.returncode == 2, done.stderr
    assert f"pip install 'crow-longitudinal[{name}]'" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert sorted(folder.rglob("*")) == before  # nothing was computed or written before


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--run", "run", "--subject", "9002", "--at", "1", "--out", "forecast.csv"],
        ["score", "--run", "run", "--cohort", "t.csv", "--out", "scores.csv", "--draws", "20"],
        ["fill", "--run", "run", "--cohort", "t.csv", "--out", "filled.csv", "--draws", "20"],
    ],
    ids=lambda words: words[0],
)
def test_tables_need_no_extra(words: list[str], folder: Path) -> None:
    done = without("scans,report,explore,baselines,cluster", *words, where=folder)
    assert done.returncode == 0, done.stderr


def test_a_dataset_without_xarray_names_the_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    visits = pd.DataFrame({"subject": ["a"], "session": ["s"], "time": [0.0], "age": [70.0]})
    with pytest.raises(MissingExtra, match=r"pip install 'crow-longitudinal\[xarray\]'$"):
        Forecast(visits, ["ROI01"], np.zeros((1, 2, 1))).to_xarray()


def test_every_extra_is_an_extra_of_the_package() -> None:
    for name, (_, libraries) in EXTRAS.items():
        declared = {re.split(r"[\[<>=!~; ]", text)[0] for text in OPTIONAL[name]} - {PROJECT["name"]}
        assert declared == {DISTRIBUTIONS.get(library, library) for library in libraries}
    everything = set(re.findall(r"[\w-]+", OPTIONAL["all"][0].partition("[")[2]))
    assert everything == set(EXTRAS) - {"boosting"}


def imports() -> Iterator[tuple[str, str, str | None]]:
    """Place and library of each import of an optional library, and the extra that guards it ('types': not executed)."""
    for path in sorted(path for folder in ("crow", "pipelines", "cli") for path in (ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        guards: dict[ast.AST, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                guards |= dict.fromkeys(ast.walk(node), "types")
            elif isinstance(node, ast.With) and (found := re.match(r"extra\('(\w+)'", ast.unparse(node.items[0]))):
                guards |= dict.fromkeys(node.body, found[1])
        for node in ast.walk(tree):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for library in {name.partition(".")[0] for name in names} & set(EXTRA_OF):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", library, guards.get(node)


def test_every_import_of_an_optional_library_is_guarded_by_its_extra() -> None:
    found = list(imports())
    assert {library for _, library, _ in found} >= {"nibabel", "zarr", "matplotlib", "statsmodels", "starlette"}
    assert [(place, library) for place, library, guard in found if guard not in ("types", EXTRA_OF[library])] == []


def test_an_error_inside_a_library_is_not_taken_for_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), extra("scans"):
        import no_such_module  # noqa: F401


def test_an_installed_extra_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require("report")
    assert installed("matplotlib") and not installed("no_such_module")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match="matplotlib"):
        require("report")
    require("report", "jinja2")
