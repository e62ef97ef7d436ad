"""Writing of files and folders: the whole result, or nothing."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crow.errors import OutputError


def write_text(path: str | Path, text: str, overwrite: bool = False) -> None:
    """Write a UTF-8 text file; raises OutputError as `writing` does."""
    with writing(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def check_free(path: Path, overwrite: bool) -> None:
    """Raise OutputError if ``path`` exists and ``overwrite`` is not set."""
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path}: exists already. Choose another name, or replace it with --overwrite.")


@contextmanager
def writing(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` for a file or a folder, which is renamed to ``path`` when the block ends.

    If anything fails, the temporary is removed and whatever was at ``path`` stays.

    Parameters
    ----------
    path : str or Path
        Where the result goes.
    overwrite : bool
        Replace an existing file or folder.

    Raises
    ------
    OutputError
        If ``path`` exists and ``overwrite`` is not set, or if the system refuses to write (with its reason).
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
            f"{path}: cannot be written: {error.strerror or error}. Nothing was left behind. "
            "Free some space or choose another place, then run the command again."
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
    """Whether the error is about the output, and not about a file that the block only reads."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (temporary, path, *path.parents) or temporary in named.parents
