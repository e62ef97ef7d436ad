"""One command at a time on an output: a lock file beside it, which names the process that works there."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from crow.errors import OutputError

try:
    import fcntl
except ImportError:  # not on Windows: no locks there
    fcntl = None  # type: ignore[assignment]

MAX_HOLDER = 200  # bytes
WRITERS = ("crow", "a program that uses crow")  # how a lock begins
_held: dict[Path, int] = {}
"""How often this process holds the lock of each path."""


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold the lock of an output file or folder; the system releases it when the process ends, however it ends.

    Raises OutputError with the command and number of the process that holds it. The same process may lock a path again.
    """
    place = Path(os.path.realpath(path))
    key = place.with_name(hidden_name(place.name, "lock"))
    if fcntl is None or key in _held:
        _held[key] = _held.get(key, 0) + 1
        file, made = None, []
    else:
        made = _make_parents(place)
        file = _acquire(key, Path(path))
        _held[key] = 1
    try:
        yield
    finally:
        _held[key] -= 1
        if not _held[key]:
            del _held[key]
        if file is not None:
            with suppress(OSError):
                key.unlink()  # still locked, so nobody else can hold it
            file.close()
        for folder in made:
            with suppress(OSError):
                folder.rmdir()  # unless something was written there


def hidden_name(name: str, ending: str) -> str:
    """A hidden name beside ``name``, short enough for any disk."""
    short = name if len(os.fsencode(name)) <= 200 else os.fsencode(name)[:180].decode("utf-8", "ignore")
    return f".{short}.{ending}"


def _make_parents(path: Path) -> list[Path]:
    """Make the folders above ``path``; returns those that were missing, innermost first."""
    missing = [folder for folder in path.parents if not os.path.lexists(folder)]
    path.parent.mkdir(parents=True, exist_ok=True)
    return missing


def _acquire(key: Path, path: Path) -> IO[bytes] | None:
    """The locked file; None where the disk has no locks. Raises OutputError for a file that is no lock of crow."""
    while True:
        try:
            number = os.open(key, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR):
                raise _not_a_lock(key, path) from None
            return None  # the folder cannot be written, which whoever writes there reports with its reason
        file = os.fdopen(number, "rb+", buffering=0)  # it stays open while locked
        if not stat.S_ISREG(os.fstat(number).st_mode):
            file.close()
            raise _not_a_lock(key, path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file) or "another process"
            file.close()
            raise OutputError(
                f"{path}: {holder} is writing there now. Wait until it has finished, or choose another name."
            ) from None
        except OSError:  # a disk without locks
            if not os.fstat(number).st_size:  # made just now: a lock that somebody holds has a name
                with suppress(OSError):
                    key.unlink()
            file.close()
            return None
        if not _is_at(file, key):
            file.close()  # its holder removed it in the meantime
            continue
        if (content := _holder(file)) and not content.startswith(WRITERS):
            file.close()
            raise _not_a_lock(key, path)
        place = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%H:%M')}"
        with suppress(OSError):  # a full disk: the lock holds, and has no name
            file.truncate(0)
            file.write(f"{_command()} ({place})".encode("utf-8", "replace"))
        return file


def _holder(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MAX_HOLDER).decode("utf-8", "replace").strip()


def _not_a_lock(key: Path, path: Path) -> OutputError:
    return OutputError(f"{path}: cannot be locked, since {key} is no lock of crow. Remove it or choose another name.")


def _is_at(file: IO[bytes], key: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(key))
    except OSError:
        return False


def _command() -> str:
    words = [word for word in sys.argv[1:2] if not word.startswith("-")]
    return " ".join(["crow", *words]) if Path(sys.argv[0]).stem == "crow" else WRITERS[1]
