"""How the user wants a table read: the flags of every command that takes a cohort, and the ``cohort:`` part of YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

from crow.cohort.names import SIZE
from crow.cohort.times import TimeKind
from crow.errors import CohortError

Missing = Literal["model", "drop-visit", "impute", "error"]


class ReadOptions(BaseModel):
    """What to read as what; whatever is None is detected.

    ``covariates``, ``regions`` and ``exclude`` hold column names or patterns such as ``CTX_*``. ``missing`` is what to
    do with a visit that lacks a region (default model, and drop-visit with ``one_visit``). ``missing_codes`` are the numbers that mean missing,
    everywhere (default: -1, -4, -99, -999 and -9999 where they cannot be values).

    ``scan`` is the column with the paths of NIfTI files, relative to the folder ``scan_root`` (default: the table's).
    Of a BIDS tree, ``suffix``, ``space`` and ``desc`` choose the files, and ``ages`` is a table that says when its
    sessions were.

    With ``one_visit`` a table of people seen once is as good as one of visits: for models of single visits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str | None = None
    time: str | None = None
    time_kind: TimeKind | None = None
    age: str | None = None
    session: str | None = None
    covariates: list[str] | None = None
    regions: list[str] | None = None
    exclude: list[str] = []
    missing: Missing | None = None
    missing_codes: list[float] | None = None
    scan: str | None = None
    scan_root: Path | None = None
    suffix: str | None = None
    space: str | None = None
    desc: str | None = None
    ages: Path | None = None
    one_visit: bool = False

    @field_validator("covariates", "regions", "exclude", "missing_codes", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str | int | float) else value


def one_column(flag: str, name: str, columns: Iterable[str], path: str) -> str:
    """The column that a flag names; raises CohortError with the closest names where there is none."""
    columns = list(columns)
    if name in columns:
        return name
    raise CohortError(f"{path}: --{flag} {name}: there is no such column. {_closest(name, columns)}")


def some_columns(flag: str, patterns: Iterable[str], columns: Iterable[str], path: str) -> tuple[list[str], list[str]]:
    """The columns that names and patterns pick, in table order, and the ``_SIZE_`` columns that a pattern did not mean.

    A name that is no column may be several, separated by commas. Raises CohortError for what picks nothing.
    """
    columns = list(columns)
    chosen: set[str] = set()
    sizes: set[str] = set()
    for given in patterns:
        for pattern in [given] if given in columns else [part.strip() for part in given.split(",")]:
            found = {name for name in columns if name == pattern or fnmatchcase(name, pattern)}
            if not found:
                raise CohortError(f"{path}: --{flag} {pattern}: no column has that name. {_closest(pattern, columns)}")
            meant = flag == "exclude" or "SIZE" in pattern.upper()
            volumes = set() if meant else {name for name in found if SIZE.fullmatch(name)}
            sizes |= volumes
            chosen |= found - volumes
    return [name for name in columns if name in chosen], [name for name in columns if name in sizes - chosen]


def _closest(name: str, columns: list[str]) -> str:
    lower = {column.lower(): column for column in columns}
    near = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(lower[match] for match in near)}?"
    return f"The columns are {listed(columns)}."


def listed(names: Iterable[str], most: int = 12) -> str:
    """``A, B, C and 7 more``."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
