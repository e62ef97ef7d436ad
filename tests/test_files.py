import subprocess
import sys
from pathlib import Path

import pytest

from crow.errors import OutputError
from crow.files import write_text, writing


def test_text_is_written_with_its_folders_and_nothing_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "a.txt", "é\n")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == "é\n".encode()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_an_existing_file_is_refused_unless_overwritten(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(OutputError, match=r"a\.txt: exists already.*--overwrite"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    write_text(tmp_path / "a.txt", "new", overwrite=True)
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_leaves_what_stood_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "result"
    with writing(path) as temporary:
        _make(temporary, kind, "old")
    with pytest.raises(ZeroDivisionError), writing(path, overwrite=True) as temporary:
        _make(temporary, kind, "new")
        raise ZeroDivisionError
    assert _content(path) == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_overwriting_replaces_what_crow_wrote(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "result"
    for content in ("old", "new"):
        with writing(path, overwrite=True) as temporary:
            _make(temporary, kind, content)
    assert _content(path) == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize(("before", "after"), [("file", "folder"), ("folder", "file")])
def test_files_and_folders_do_not_replace_each_other(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "result"
    with writing(path) as temporary:
        _make(temporary, before, "old")
    refused = pytest.raises(OutputError, match=f"a {before}, which a {after} does not replace")
    with refused, writing(path, overwrite=True) as temporary:
        _make(temporary, after, "new")
    assert _content(path) == "old"


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    with writing(tmp_path / "result") as temporary:
        _make(temporary, "folder", "new")
    assert _content(tmp_path / "result") == "new"


def test_an_error_about_another_file_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path / "out.csv"):
        Path("elsewhere/input.csv").read_text()


def test_a_place_that_cannot_be_written_names_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"out\.csv: cannot be written: (File exists|Not a directory)"):
        write_text(tmp_path / "file" / "out.csv", "text")


FULL_DISK = """
import resource, signal, sys
from crow.errors import OutputError
from crow.files import write_text

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
write_text(sys.argv[1], "short")
try:
    write_text(sys.argv[1], "x" * 20_000, overwrite=True)
except OutputError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    done = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True)
    assert f"{path}: cannot be written: File too large" in done.stdout
    assert path.read_text() == "short"
    assert list(tmp_path.iterdir()) == [path]


def _make(path: Path, kind: str, content: str) -> None:
    if kind == "file":
        path.write_text(content)
    else:
        path.mkdir()
        (path / "inside").write_text(content)


def _content(path: Path) -> str:
    return (path / "inside" if path.is_dir() else path).read_text()
