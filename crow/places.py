"""The inputs and outputs of a command, declared before its work starts, so that an impossible place is refused at once.

A command lists its outputs with `table`, `figure`, `file` and `folder`, and calls `check_places`. This imports nothing
heavy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from crow.errors import OutputError
from crow.extras import require
from crow.files import check_free, read_text
from crow.ownership import Result

TABLES = (".csv", ".tsv")
FIGURES = (".png", ".pdf", ".svg")
PAGES = (".html", ".htm")
RUN = ("model.json", "model.safetensors", "config.yaml", "metrics.json", "findings.json", "log.csv", "checkpoints",
       "logs", "mapping.yaml", "site_effects.csv", "training.png", ".crow")  # fmt: skip
STORE = ("store.json", "visits.csv", "arrays.zarr", "template.nii.gz", "mask.nii.gz", "findings.json", "qc", ".crow")
EVALUATION, REPORT = "_evaluation", "_report.html"  # what follows the name of a run, by default
MAX_NAME, MAX_PATH = 255, 4095  # bytes
DEVICES = ("/dev", "/proc", "/sys")


@dataclass(frozen=True)
class Output:
    """A file or folder that a command writes.

    ``option`` names it in messages. A folder that ``grows`` keeps what it contains; another one is replaced as a whole.
    """

    option: str
    path: Path
    kind: Literal["file", "folder"]
    endings: tuple[str, ...] = ()
    grows: bool = False
    what: Result = "file"

    @property
    def place(self) -> Path:
        """The absolute path without links."""
        return Path(os.path.realpath(self.path))


def table(option: str, path: Path | None) -> list[Output]:
    """A table, written as .csv or .tsv; nothing if it is not wanted."""
    return file(option, path, TABLES)


def figure(option: str, path: Path | None) -> list[Output]:
    """A picture; raises MissingExtra if the library that draws it is not installed."""
    if path is not None:
        require("report", "matplotlib")
    return file(option, path, FIGURES)


def file(option: str, path: Path | None, endings: tuple[str, ...] = ()) -> list[Output]:
    """A file with one of these endings."""
    return [] if path is None else [Output(option, path, "file", endings)]


def folder(option: str, path: Path | None, what: Result, grows: bool = False) -> list[Output]:
    """A folder of a kind of result."""
    return [] if path is None else [Output(option, path, "folder", grows=grows, what=what)]


def beside(path: Path, addition: str) -> Path:
    """``a/scores_subjects.csv`` for ``a/scores.csv`` and ``_subjects``; the path itself if it has no name."""
    return path.with_name(f"{path.stem}{addition}{path.suffix}") if path.name else path


def beside_run(run: Path, addition: str) -> Path:
    """``demo/run_report.html`` for ``demo/run``: what shows single subjects is no part of a run."""
    whole = Path(os.path.abspath(run))
    return (whole if run.name in ("", "..") else run).with_name(f"{whole.name}{addition}")


def check_places(
    outputs: Iterable[Output],
    inputs: Mapping[str, Path | Iterable[Path] | None],
    overwrite: bool = False,
) -> None:
    """Raise OutputError for the first output that cannot be written, or that would harm an input or another output.

    ``inputs`` are files and folders by option. The cohort that a run was trained on counts as an input, too.
    """
    outputs = list(outputs)
    for output in outputs:
        _check_name(output)
        _check_ending(output)
        _check_parents(output)
        if not (overwrite or output.grows):
            check_free(output.path, overwrite, output.what)
        _check_kind(output)
        if overwrite and not output.grows:
            check_free(output.path, overwrite, output.what)
    for k, output in enumerate(outputs):
        for other in outputs[:k]:
            _check_clash(other, output)
    for option, path in _each(inputs):
        for output in outputs:
            _check_input(output, option, path)


def is_store(path: str | Path) -> bool:
    """Whether a folder is a scan store, which `crow.scans.store.ScanStore` opens."""
    return (Path(path) / "store.json").is_file()


def _check_name(output: Output) -> None:
    path = output.path
    if not path.name or path.name == "..":
        raise OutputError(f"{output.option} {path}: not the name of a {output.kind}. Choose another name.")
    if path.parts[0].startswith("~"):
        raise OutputError(
            f"{output.option} {path}: the shell did not replace {path.parts[0]} by your home folder. Write the path in "
            f"full, or put a blank before it ({output.option} ~/name)."
        )
    if any(str(path) == top or str(path).startswith(f"{top}/") for top in DEVICES) or any(
        str(output.place).startswith(f"{top}/") for top in DEVICES
    ):
        raise OutputError(
            f"{output.option} {path}: a device, not a {output.kind}. Results are written as files and folders: choose "
            "another name."
        )
    long = [part for part in path.parts if len(os.fsencode(part)) > MAX_NAME]
    if long or len(os.fsencode(os.path.abspath(path))) > MAX_PATH:
        most = f"{MAX_NAME} bytes per name" if long else f"{MAX_PATH} bytes"
        raise OutputError(f"{output.option} {str(path)[:60]}...: too long for a path (at most {most}). Shorten it.")


def _check_ending(output: Output) -> None:
    name = output.path.name.lower()
    if output.endings and not any(name.endswith(ending) and name != ending for ending in output.endings):
        *most, last = output.endings
        allowed = f"{', '.join(most)} or {last}" if most else last
        found = output.path.suffix or "no ending"
        raise OutputError(f"{output.option} {output.path}: written as {allowed}; found {found}. Choose another name.")


def _check_kind(output: Output) -> None:
    if output.kind == "file" and output.path.is_dir():
        raise OutputError(f"{output.option} {output.path}: is a folder, but a file is written. Choose another name.")
    if output.kind == "folder" and os.path.lexists(output.path) and not output.path.is_dir():
        raise OutputError(f"{output.option} {output.path}: is a file, but a folder is written. Choose another name.")


def _check_parents(output: Output) -> None:
    """Raise OutputError unless the nearest folder above that exists can be written."""
    above = Path(os.path.abspath(output.path)).parents
    try:
        nearest = next(folder for folder in above if os.path.lexists(folder))
    except OSError as error:
        raise OutputError(f"{output.option} {output.path}: cannot be written: {error.strerror}.") from None
    if not nearest.is_dir():
        raise OutputError(
            f"{output.option} {output.path}: cannot be written: {nearest} is not a folder. Choose another name."
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{output.option} {output.path}: cannot be written: {nearest} is read-only. Choose another.")


def _check_clash(first: Output, second: Output) -> None:
    both = f"{first.option} {first.path} and {second.option} {second.path}"
    if first.place == second.place:
        raise OutputError(f"{both}: the same path. Give each its own name.")
    for outer, inner in ((first, second), (second, first)):
        if outer.place in inner.place.parents and not outer.grows:
            what = "a file" if outer.kind == "file" else "a folder, which is written as a whole"
            raise OutputError(f"{both}: {outer.path} is {what}, so nothing else can be in it. Choose other names.")


def _check_input(output: Output, option: str, path: Path) -> None:
    """Raise OutputError if writing ``output`` would replace an input, or a part of it."""
    place, source = output.place, Path(os.path.realpath(path))
    both = f"{output.option} {output.path}"
    if place == source and not (output.grows and output.kind == "folder" and not _protected(source)):
        raise OutputError(f"{both}: is also the input {option}. Choose another name, so that the input stays.")
    if place in source.parents and not output.grows:
        raise OutputError(f"{both}: the input {option} {path} is inside, and would be lost. Choose another name.")
    if source in place.parents and source.is_dir():
        top = place.relative_to(source).parts[0]
        if top in _protected(source):
            raise OutputError(f"{both}: {top} is a part of the input {option} {path}. Choose another name.")
        other = not _protected(source) and "derivatives" not in place.relative_to(source).parts
        if other and output.kind == "file" and place.exists():
            raise OutputError(f"{both}: a file of the input {option} {path}. Choose another name.")


def _protected(source: Path) -> tuple[str, ...]:
    """The names in an input folder that belong to it, if it is a run or a store."""
    if (source / "model.json").is_file() or (source / "checkpoints").is_dir():
        return RUN
    return STORE if is_store(source) else ()


def _each(inputs: Mapping[str, Path | Iterable[Path] | None]) -> Iterable[tuple[str, Path]]:
    for option, paths in inputs.items():
        for path in [paths] if isinstance(paths, str | Path) else paths or []:
            yield option, Path(path)
            if option == "--run" and (source := _training_cohort(Path(path))) is not None:
                yield "(the cohort that the run was trained on)", source


def _training_cohort(run: Path) -> Path | None:
    """The table or store that a run was trained on, as its model.json has it."""
    try:
        content: Any = json.loads(read_text(run / "model.json"))
        path = Path(content["description"]["cohort"]["path"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return path.parent if is_store(path.parent) else path
