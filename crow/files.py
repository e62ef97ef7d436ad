"""Writing that leaves the whole result or nothing."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crow.errors import OutputError


def write_text(path: str | Path, text: str, overwrite: bool = False) -> None:
    """Write a UTF-8 text file at once; raises OutputError as `writing` does."""
    with writing(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def check_free(path: Path, overwrite: bool) -> None:
    """Raise OutputError where ``path`` exists and is not to be replaced."""
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path}: exists already. Choose another name, or replace it with --overwrite.")


@contextmanager
def writing(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a sibling of ``path`` to write a file or a folder at; it takes the name ``path`` when the block ends.

    Whatever goes wrong, the sibling is removed and what stood at ``path`` stays. Raises OutputError where ``path``
    exists and ``overwrite`` is not set, and where the system refuses to write (with its reason).
    """
    path = Path(path)
    check_free(path, overwrite)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _rename(temporary, path)
    except OSError as error:
        if not _concerns(error, path, temporary):
            raise
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}. Nothing was left there; "
            "make room or choose another place, then run the command again."
        ) from error
    finally:
        _remove(temporary)


def _rename(temporary: Path, path: Path) -> None:
    if not (temporary.is_dir() or path.is_dir()):
        temporary.replace(path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if os.path.lexists(path):
        path.rename(old)
    try:
        temporary.rename(path)
    except BaseException:
        if os.path.lexists(old):
            old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _concerns(error: OSError, path: Path, temporary: Path) -> bool:
    """Whether the error is about the place written to, and not about a file that the block only reads."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (temporary, path, *path.parents) or temporary in named.parents
