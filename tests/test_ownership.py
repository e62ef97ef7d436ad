from collections.abc import Callable
from pathlib import Path

import pytest

from crow.errors import OutputError
from crow.files import write_text, writing
from crow.ownership import foreign


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that crow wrote: a file, a file in a subfolder, and a subfolder that changes while crow works."""
    with writing(tmp_path / "made", what="run") as temporary:
        (temporary / "tables").mkdir(parents=True)
        (temporary / "tables" / "a.csv").write_text("1")
        (temporary / "config.yaml").write_text("seed: 0")
        (temporary / "logs").mkdir()
    return tmp_path / "made"


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file of the user": lambda folder: (folder / "notes.txt").write_text("mine"),
    "a file of the user in a subfolder": lambda folder: (folder / "tables" / "notes.txt").write_text("mine"),
    "a folder of the user": lambda folder: ((folder / "mine").mkdir(), (folder / "mine" / "b.csv").write_text("2")),
    "a changed file": lambda folder: (folder / "tables" / "a.csv").write_text("2"),
    "no marker": lambda folder: (folder / ".crow").unlink(),
    "a marker with other files": lambda folder: (folder / ".crow").write_text('{"files": {}, "digest": ""}'),
    "a marker that is nested without end": lambda folder: (folder / ".crow").write_text("[" * 100_000),
    "a link": lambda folder: (folder / "link").symlink_to("/"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_with_anything_else_is_not_replaced(folder: Path, change: str) -> None:
    CHANGES[change](folder)
    before = sorted(folder.rglob("*"))
    refused = pytest.raises(OutputError, match=r"replaces only earlier results of the same kind.*Nothing was deleted")
    with refused, writing(folder, True, "run") as temporary:
        temporary.mkdir()
    assert sorted(folder.rglob("*")) == before


def test_what_crow_adds_later_belongs_to_the_folder(folder: Path) -> None:
    write_text(folder / "training.png", "picture")
    write_text(folder / "training.png", "another picture", overwrite=True)
    (folder / "logs" / "events").write_text("of the training")
    assert foreign(folder) is None
    (folder / ".DS_Store").write_text("of a file manager")
    assert foreign(folder) is None
    write_text(folder / "forecast.csv", "another result of crow")
    assert "crow did not write forecast.csv" in str(foreign(folder))
    (folder / "forecast.csv").unlink()
    with writing(folder / "evaluation") as temporary:
        temporary.mkdir()
        (temporary / "metrics.json").write_text("{}")
    assert "crow did not write evaluation/" in str(foreign(folder))


def test_completing_a_folder_keeps_what_the_user_put_there(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    with writing(folder, what="run", keeping=lambda name: name != "logs") as temporary:
        temporary.mkdir()
        (temporary / "model.json").write_text("{}")
    assert sorted(path.name for path in folder.iterdir()) == [
        ".crow", "config.yaml", "model.json", "notes.txt", "tables",
    ]  # fmt: skip
    assert "crow did not write notes.txt" in str(foreign(folder))
