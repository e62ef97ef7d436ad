"""Writing of files and folders: the whole result, or nothing."""

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crow.errors import OutputError
from crow.locks import hidden_name, locked
from crow.ownership import MARKER, Result, foreign, is_own, mark, register
from crow.processes import is_first

MAX_TEXT = 64 << 20  # bytes


def write_text(path: str | Path, text: str, overwrite: bool = False) -> None:
    """Write a UTF-8 text file; raises OutputError as `writing` does."""
    with writing(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_text(path: Path) -> str:
    """The UTF-8 text of a small file, such as settings; raises OSError for a pipe or device, which may never end."""
    facts = path.stat()
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
        raise OSError(errno.ESPIPE, "a pipe or a device, and not a file", str(path))
    if facts.st_size > MAX_TEXT:
        raise OSError(errno.EFBIG, f"larger than {MAX_TEXT >> 20} MiB", str(path))
    return path.read_text(encoding="utf-8-sig")


def check_free(path: Path, overwrite: bool, what: Result = "file") -> None:
    """Raise OutputError if ``path`` exists and may not be replaced.

    An empty folder may be replaced; a file with ``overwrite``; a folder with ``overwrite`` if crow wrote all of it, and
    wrote it as the same kind of result.
    """
    if not is_first():
        return  # the first process of a training checks
    try:
        if not os.path.lexists(path) or _is_empty_folder(path):
            return
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}. Choose another place.") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OutputError(f"{path}: a device or a pipe, not a file or folder. Choose another name.")
    if not overwrite:
        raise OutputError(f"{path}: exists already. Choose another name, or replace it with --overwrite.")
    if stat.S_ISDIR(mode) and (reason := foreign(path, what)):
        raise OutputError(
            f"{path}: --overwrite replaces only earlier results of the same kind, and here {reason}. Nothing was "
            "deleted. Choose another name, or remove the folder yourself."
        )


def file_name(text: str) -> str:
    """A name of a subject as the name of a file: letters, digits and ``.+-_``, and not too long.

    Examples
    --------
    >>> file_name("9002"), file_name("a/b"), file_name("../etc")
    ('9002', 'a_b', '_.._etc')
    """
    plain = re.sub(r"[^\w.+-]", "_", text)
    plain = f"_{plain}" if not plain or plain[0] in ".-" else plain
    if len(os.fsencode(plain)) <= 100:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{os.fsencode(plain)[:80].decode('utf-8', 'ignore')}-{digest}"


@contextmanager
def writing(
    path: str | Path,
    overwrite: bool = False,
    what: Result = "file",
    keeping: Callable[[str], bool] | None = None,
) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` for a file or a folder, which is renamed to ``path`` when the block ends.

    If anything fails, the temporary is removed and whatever was at ``path`` stays. While the block runs, no other
    process can write there. Of the processes of one training (`crow.processes`) only the first writes; what the others
    write is discarded.

    Parameters
    ----------
    path : str or Path
        Where the result goes.
    overwrite : bool
        Replace an existing file, or a folder that crow wrote.
    what : str
        The kind of result, of which a folder is: an earlier one is replaced by one of the same kind only.
    keeping : callable, optional
        Complete an existing folder instead: what else it contains stays, if its name is among those that are kept.

    Raises
    ------
    OutputError
        If ``path`` exists and may not be replaced, if another process writes there, or if the system refuses to write
        (with its reason).
    """
    path = Path(path)
    if not path.name:
        raise OutputError(f"{path}: not the name of a file or folder. Choose another name.")
    if not is_first():
        with tempfile.TemporaryDirectory() as nowhere:
            yield Path(nowhere) / path.name
        return
    temporary = path.with_name(hidden_name(path.name, f"{os.getpid()}.part"))
    try:
        with locked(path):
            _recover(path)
            if keeping is None:
                check_free(path, overwrite, what)
            _remove(temporary)  # of an earlier process with this number, or a link to something else
            yield temporary
            if temporary.is_dir():
                mark(temporary, what)
                if keeping is not None and path.is_dir():
                    _carry(path, temporary, keeping)
            _rename(temporary, path)
            register(path)
        if not os.path.lexists(path):
            raise OutputError(f"{path}: was written, but has disappeared. Choose another place and run again.")
    except OSError as error:
        if not _concerns(error, path, temporary):
            raise
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}. No part of it was left behind. "
            "Free some space or choose another place, then run the command again."
        ) from error
    finally:
        _remove(temporary)


def _carry(path: Path, temporary: Path, keeping: Callable[[str], bool]) -> None:
    """Copy what else ``path`` contains into the folder that replaces it; what crow did not write stays unmarked."""
    for entry in sorted(path.iterdir()):
        beside = temporary / entry.name
        if os.path.lexists(beside) or entry.name == MARKER or not keeping(entry.name):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, beside, symlinks=True)
        else:
            shutil.copy2(entry, beside, follow_symlinks=False)
        if is_own(entry):
            register(beside, always=True)


def _rename(temporary: Path, path: Path) -> None:
    if path.is_dir() and not temporary.is_dir():
        raise OutputError(f"{path}: a folder, which a file does not replace. Choose another name.")
    if not temporary.is_dir():
        temporary.replace(path)
        return
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: a file, which a folder does not replace. Choose another name.")
    old = path.with_name(hidden_name(path.name, f"{os.getpid()}.old"))
    if os.path.lexists(path):
        path.rename(old)
    try:
        temporary.rename(path)
    except BaseException:
        if os.path.lexists(old):
            old.rename(path)
        raise
    _remove(old)


def _recover(path: Path) -> None:
    """Undo what a process left behind that was killed while it wrote ``path``; the lock of ``path`` is held."""
    with suppress(OSError):
        beside = list(os.scandir(path.parent))
        start = hidden_name(path.name, "")
        for entry in beside:
            process, _, ending = entry.name.removeprefix(start).partition(".")
            if not (entry.name.startswith(start) and process.isdigit() and ending in ("part", "old")):
                continue
            if int(process) == os.getpid() or _is_alive(int(process)):
                continue
            if ending == "old" and not os.path.lexists(path):
                os.rename(entry.path, path)
            else:
                _remove(Path(entry.path))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _concerns(error: OSError, path: Path, temporary: Path) -> bool:
    """Whether the error is about the output, and not about a file that the block only reads."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (temporary, path, *path.parents) or temporary in named.parents
