import errno
import subprocess
import sys
from pathlib import Path

import pytest

from crow import locks
from crow.errors import OutputError
from crow.files import write_text
from crow.locks import locked

HOLD = """
import sys
from crow.locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_learns_which_one_writes(tmp_path: Path) -> None:
    path = tmp_path / "run"
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=f"process {process.pid} on .* is writing there now"):
            write_text(path, "text")
        process.kill()
    write_text(path, "text")  # the system has released the lock
    assert [each.name for each in tmp_path.iterdir()] == ["run"]


def test_the_same_process_may_lock_again(tmp_path: Path) -> None:
    with locked(tmp_path / "deep" / "run"), locked(tmp_path / "deep" / "run"):
        write_text(tmp_path / "deep" / "run", "text")
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["run"]


def test_what_a_killed_process_left_is_put_back(tmp_path: Path) -> None:
    """A process that was killed between two renames leaves the old result under a hidden name."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = int(done.stdout)
    (tmp_path / f".run.{dead}.old").write_text("old")
    (tmp_path / f".run.{dead}.part").write_text("half")
    with pytest.raises(OutputError, match="exists already"):
        write_text(tmp_path / "run", "new")
    assert (tmp_path / "run").read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["run"]


def test_a_disk_without_locks_keeps_no_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    write_text(tmp_path / "run", "text")
    assert [each.name for each in tmp_path.iterdir()] == ["run"]
    (tmp_path / ".run.lock").write_text("crow train (process 1)")  # of another process
    write_text(tmp_path / "run", "new", overwrite=True)
    assert (tmp_path / ".run.lock").exists()
