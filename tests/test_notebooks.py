"""Every notebook runs in a kernel of its own, with small settings; what is committed with it is whole and clean."""

import re
from pathlib import Path
from tempfile import gettempdir

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PLACES = re.compile(rf"(?<![\w.])(?:{re.escape(gettempdir())}|/home|/root|/Users|/work|[A-Z]:\\)[/\\]")


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem[:2], marks=[pytest.mark.slow] if number > 0 else [])
        for number, path in enumerate(NOTEBOOKS)
    ],
)
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROW_NOTEBOOK_SMALL", "1")
    notebook = nbformat.read(path, as_version=4)
    committed = [{kind for output in cell.outputs for kind in output.get("data", {})} for cell in codes(notebook)]
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [{kind for output in cell.outputs for kind in output.get("data", {})} for cell in codes(notebook)]
    assert [kinds & {"image/png", "text/html"} for kinds in shown] == [
        kinds & {"image/png", "text/html"} for kinds in committed
    ]
    assert [output.text for output in outputs(notebook) if output.get("name") == "stderr"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:2])
def test_committed_outputs_are_whole_and_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    count = len(codes(notebook))
    assert [cell.execution_count for cell in codes(notebook)] == list(range(1, count + 1))
    assert {output.output_type for output in outputs(notebook)} <= {"execute_result", "display_data", "stream"}
    assert {output.name for output in outputs(notebook) if output.output_type == "stream"} <= {"stdout"}
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    text = path.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert PLACES.findall(text) == []


def test_the_page_of_notebooks_links_each() -> None:
    page = (FOLDER.parent / "docs/notebooks.md").read_text(encoding="utf-8")
    assert re.findall(r"\(\.\./notebooks/([^)]+\.ipynb)\)", page) == [path.name for path in NOTEBOOKS]


def codes(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
