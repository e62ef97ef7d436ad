"""Run notebooks again with their full settings and keep what comes out: make notebooks."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
LIMIT = 1800  # seconds a cell


def execute(path: Path) -> NotebookNode:
    """The notebook with the outputs of a run in a fresh kernel and an empty folder, without times or addresses.

    Raises `nbclient.exceptions.CellExecutionError` at the first cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=LIMIT, startup_timeout=LIMIT, resources={"metadata": {"path": folder}}
        )
        client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            if " at 0x" in output.get("data", {}).get("text/plain", ""):
                del output["data"]["text/plain"]
    return notebook


def main(names: list[str]) -> None:
    for path in [HERE / name for name in names] or sorted(HERE.glob("*.ipynb")):
        began = time.perf_counter()
        nbformat.write(execute(path), path)
        print(f"{path.name}: {time.perf_counter() - began:.0f} s, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
