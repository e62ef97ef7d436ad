"""Proof that a folder was written by crow: a marker with the digest of every file, so that nothing else is deleted.

    .crow    {"what": "run", "files": {"model.json": "sha256...", "training.png": "sha256..."}, "digest": "sha256..."}

`mark` writes it when a folder is complete, `register` adds what later commands write into a run, and `foreign` names
the first thing in a folder that crow did not write, or that belongs to another result.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

MARKER = ".crow"
Result = Literal[
    "file", "run", "store", "simulation", "evaluation", "set of filled tables", "set of figures", "set of translations",
    "set of synthetic scans",
]  # fmt: skip
"""What a folder can be; "file" for whatever is no folder."""
WHOLE = ("arrays.zarr", "checkpoints", "logs", "qc")  # subfolders that change while crow works; all in them is crow's
ADDED = ("mapping.yaml", "site_effects.csv", "training.png")  # to a run
FOLDER = "folder"  # has a marker of its own
LARGE = 1 << 20  # bytes; the digest of a larger file is that of its size
IGNORED = (".DS_Store", "Thumbs.db", "desktop.ini")  # which file managers leave behind


def mark(folder: Path, what: Result) -> None:
    """Write the marker of a folder that crow has just made, with the kind of its result."""
    _write(folder, what, {str(path.relative_to(folder)): _fingerprint(path) for path in _files(folder)})


def register(path: Path, always: bool = False) -> None:
    """Note what was just written in the marker of its folder, if it is a part of it or ``always``."""
    what, known = _read(path.parent)
    if always or path.name in known or (path.name in ADDED and what == "run"):
        known[path.name] = FOLDER if path.is_dir() else _fingerprint(path)
        _write(path.parent, what, known)


def is_own(path: Path) -> bool:
    """Whether the marker of its folder has a file, as it is now, or a folder."""
    known = _read(path.parent)[1].get(path.name)
    return known is not None and known == (FOLDER if path.is_dir() else _fingerprint(path))


def foreign(folder: Path, what: str | None = None) -> str | None:
    """Why a folder is not an earlier result of crow, of the kind ``what``: the first file that crow did not write, or
    that changed since; None if it is one."""
    found, known = _read(folder)
    if found is None:
        first = next((str(path.relative_to(folder)) for path in _files(folder)), "nothing")
        return f"it has {first} and no marker of crow (.crow)"
    if what not in (None, found):
        return f"there is a {found} of crow"
    for path in _files(folder):
        name = str(path.relative_to(folder))
        top = name.split(os.sep)[0]
        if known.get(top) == FOLDER:
            if (reason := foreign(folder / top)) is not None:
                return f"{top}: {reason}"
        elif name not in known:
            return f"crow did not write {name}"
        elif known[name] != _fingerprint(path):
            return f"{name} has changed since crow wrote it"
    return None


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, but for the marker, subfolders that are crow's as a whole, and unfinished files."""
    for root, folders, names in os.walk(folder):
        if Path(root) == folder:
            folders[:] = [name for name in folders if name not in WHOLE]
        for name in sorted([*names, *(name for name in folders if (Path(root) / name).is_symlink())]):
            temporary = name.startswith(".") and name.endswith((".part", ".lock", ".old"))
            if name != MARKER and name not in IGNORED and not temporary:
                yield Path(root) / name


def _fingerprint(path: Path) -> str:
    if path.is_symlink():
        return _sha256(os.fsencode(os.readlink(path)))
    size = path.stat().st_size
    return f"{size} bytes" if size > LARGE else _sha256(path.read_bytes())


def _read(folder: Path) -> tuple[str | None, dict[str, str]]:
    """The kind and the files of a marker; None and nothing if there is none, or if crow did not write it."""
    if not (folder / MARKER).is_file():  # nor a pipe, which would never end
        return None, {}
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        what, files = content["what"], content["files"]
        if content["digest"] == _digest(what, files):
            return str(what), dict(files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None, {}


def _write(folder: Path, what: str | None, files: dict[str, str]) -> None:
    content = {"writer": "crow", "what": what, "files": files, "digest": _digest(what, files)}
    text = json.dumps(content, indent=1) + "\n"
    temporary = folder / f".{MARKER[1:]}.{os.getpid()}.part"
    try:
        temporary.unlink(missing_ok=True)  # no link to something else
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / MARKER)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _digest(what: str | None, files: dict[str, str]) -> str:
    return _sha256(json.dumps(["crow wrote this folder", what, files], sort_keys=True).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
