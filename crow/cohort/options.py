"""How the user wants a table read: the flags of every command that takes a cohort, and the ``cohort:`` part of YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

from crow.cohort.dates import DateOrder
from crow.cohort.names import SIZE
from crow.cohort.times import AgeUnit, TimeKind
from crow.cohort.value_kinds import Kind, ValueKind
from crow.errors import CohortError

Missing = Literal["model", "drop-visit", "impute", "error"]


NO_SITE = ["none"]


class ColumnOptions(BaseModel):
    """How one column is read: its kind, its unit, the numbers and words that mean missing, and its marks.

    The kind of a region is ``numeric`` (detected), or that of its values, with ``bounds`` (None is no bound) and
    ``step``; see `crow.cohort.value_kinds`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["numeric", "categorical"] | Kind | None = None
    bounds: tuple[float | None, float | None] | None = None
    step: float | None = None
    unit: str | None = None
    missing: list[float | str] | None = None
    decimal: Literal[".", ","] | None = None
    thousands: str | None = None

    def values(self) -> ValueKind | None:
        """The kind of a region's values, if it is given."""
        if self.kind in (None, "numeric", "categorical"):
            return None
        lower, upper = self.bounds or (None, None)
        return ValueKind(kind=self.kind, lower=lower, upper=upper, step=self.step)


class ReadOptions(BaseModel):
    """What to read as what; whatever is None is detected.

    ``covariates``, ``regions`` and ``exclude`` are column names or patterns such as ``CTX_*``; ``group`` is a column of
    families, whose members stay together in every split. ``site`` are the columns of sites and scanners, whose effects
    are random (``none``: no column is one; those with such a name are then covariates). ``missing`` is the use of a
    visit that lacks a region (default model, and drop-visit with ``one_visit``). ``missing_codes`` are the numbers and
    words that mean missing, everywhere (default: see `crow.cohort.missing_codes`); ``columns`` decides it, and kinds
    and marks, by column. ``left_out`` are columns without a role. A mapping (`crow.cohort.mapping`) sets all of these.
    With ``fix``, safe corrections are made and logged.

    ``scan`` is the column with the paths of NIfTI files, relative to the folder ``scan_root`` (default: the table's).
    Of a BIDS tree, ``suffix``, ``space`` and ``desc`` choose the files, and ``ages`` is a table with the times of its
    sessions.

    ``join`` are more tables of the cohort, whose rows of the same subject and visit, or the nearest in time and at most
    ``within`` (such as 90d, 6m; default 180d) away, give more columns.

    With ``one_visit``, subjects with one visit are enough: for cross-sectional models.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str | None = None
    time: str | None = None
    time_kind: TimeKind | None = None
    date_order: DateOrder | None = None
    age: str | None = None
    age_unit: AgeUnit | None = None
    session: str | None = None
    group: str | None = None
    site: list[str] | None = None
    covariates: list[str] | None = None
    regions: list[str] | None = None
    exclude: list[str] = []
    left_out: list[str] = []
    columns: dict[str, ColumnOptions] = {}
    missing: Missing | None = None
    missing_codes: list[float | str] | None = None
    scan: str | None = None
    scan_root: Path | None = None
    suffix: str | None = None
    space: str | None = None
    desc: str | None = None
    ages: Path | None = None
    join: list[Path] = []
    within: str | None = None
    one_visit: bool = False
    fix: bool = False

    @field_validator("missing_codes", mode="after")
    @classmethod
    def _numbers_are_numbers(cls, value: list[float | str] | None) -> list[float | str] | None:
        return None if value is None else [_number(code) for code in value]

    @field_validator("site", "covariates", "regions", "exclude", "missing_codes", "join", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str | int | float | Path) else value


def _number(code: float | str) -> float | str:
    try:
        return float(code)
    except ValueError:
        return code


def one_column(flag: str, name: str, columns: Iterable[str], path: str) -> str:
    """The column that a flag names; raises CohortError with the closest names if there is none."""
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


def counted(number: int, noun: str) -> str:
    """``1 value``, ``2,000 values``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Iterable[str], most: int = 12) -> str:
    """``A, B, C and 7 more``."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
