"""Names that benchmarks, notebooks and pages import from crow exist: nothing else runs all of them."""

import ast
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = [
    *sorted((ROOT / "benchmarks").glob("*.py")), *sorted((ROOT / "notebooks").glob("*.ipynb")),
    *sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md",
]  # fmt: skip


def sources(path: Path) -> Iterator[str]:
    """The Python code of a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield text
    elif path.suffix == ".ipynb":
        cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        yield from ("".join(line for line in cell if not line.startswith("%")) for cell in cells)
    else:
        yield from (block for block in BLOCK.findall(text) if not block.startswith(" "))  # a part of a dictionary


def missing(source: str) -> list[str]:
    """Names of ``from crow... import ...`` that do not exist."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "crow":
            module = importlib.import_module(str(node.module))
            modules = {one.name for one in pkgutil.iter_modules(getattr(module, "__path__", []))}
            names = [name.name for name in node.names if name.name not in modules]
            found += [f"{node.module}.{name}" for name in names if not hasattr(module, name)]
    return found


def test_a_name_that_does_not_exist_is_found() -> None:
    assert missing("from crow.errors import CohortError, NoSuchError") == ["crow.errors.NoSuchError"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_imported_names_exist(path: Path) -> None:
    assert [name for source in sources(path) for name in missing(source)] == []
