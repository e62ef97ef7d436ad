"""A mapping: the role, kind, unit and codes of every column, in a YAML file that can be edited and passed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from crow.cohort.columns import Columns
from crow.cohort.options import NO_SITE, Missing
from crow.cohort.schema import Schema
from crow.cohort.times import AgeUnit, TimeKind
from crow.cohort.value_kinds import KINDS, ValueKind
from crow.cohort.values import is_blank
from crow.errors import ConfigError

Role = Literal[
    "subject", "time", "session", "age", "group", "scan", "covariate", "site", "region", "since baseline", "left out"
]
ONCE: tuple[Role, ...] = ("subject", "time", "session", "age", "group", "scan")
REASONS: dict[Role, str] = {
    "subject": "a subject by its name",
    "time": "the finest time that most visits have",
    "session": "labels of visits",
    "since baseline": "the years to add to the age at baseline",
    "age": "an age by its name or growth",
    "group": "a family by its name and values",
    "scan": "paths of NIfTI files",
}
EXAMPLES = 3
EXAMPLE_ROWS = 1000
MAX_EXAMPLE = 40
HEADER = """\
# How crow reads {path}.
# Edit a line and pass the file with --mapping.
# role: subject, time, session, age, since baseline (years to add to an age at baseline), group (family), scan,
#   covariate, site (a site or scanner), region, left out. kind of a covariate: numeric, categorical; of the time: age,
#   years, months, weeks, days, hours, date, visit; of a region: real, positive, bounded, integer (a score), with bounds
#   [lower, upper] (null is none) and step.
# unit of an age: years, months, weeks, days; of a region: any text, which figures show. missing: numbers and words that
#   mean missing.
"""


class MappedColumn(BaseModel):
    """One column of a mapping; ``reason`` and ``examples`` are for the reader of the file."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    kind: str | None = None
    bounds: tuple[float | None, float | None] | None = None
    step: float | None = None
    unit: str | None = None
    order: Literal["ymd", "mdy", "dmy"] | None = None
    missing: list[float | str] | None = None
    decimal: Literal[".", ","] | None = None
    thousands: str | None = None
    reason: str | None = None
    examples: list[str] = []


class Mapping(BaseModel):
    """Every column of a table by its name."""

    model_config = ConfigDict(extra="forbid")

    missing: Missing | None = None
    bids: bool = False
    columns: dict[str, MappedColumn]

    def text(self, path: str = "a table", examples: bool = False) -> str:
        """The mapping as commented YAML; ``examples`` are cells of the table, for a local file only."""
        columns = {
            name: {
                key: value
                for key, value in column.model_dump(exclude_none=True).items()
                if key != "examples" or (examples and value)
            }
            for name, column in self.columns.items()
        }
        settings: dict[str, Any] = self.model_dump(exclude_defaults=True, exclude={"columns"})
        content = settings | {"columns": columns}
        return HEADER.format(path=path) + _dumped(content)

    def options(self) -> dict[str, Any]:
        """The same as the fields of `ReadOptions`."""
        by_role: dict[str, list[str]] = {role: [] for role in get_args(Role)}
        for name, column in self.columns.items():
            by_role[column.role].append(name)
        given: dict[str, Any] = {role: by_role[role][0] for role in ONCE if by_role[role]}
        if self.bids:
            given.pop("scan", None)
        given["covariates"], given["regions"] = by_role["covariate"], by_role["region"]
        given["site"] = by_role["site"] or NO_SITE
        given["left_out"] = by_role["left out"]
        if self.missing is not None:
            given["missing"] = self.missing
        for column in self.columns.values():
            if column.role == "time":
                given["time_kind"] = column.kind
                given["date_order"] = column.order
            if column.role == "age" or column.kind == "age":
                given["age_unit"] = column.unit
        given["columns"] = {name: options for name, column in self.columns.items() if (options := _options(column))}
        return {name: value for name, value in given.items() if value is not None}


def read_mapping(path: str | Path) -> Mapping:
    """Read a mapping.

    Raises ConfigError for a file that cannot be read, and for a role, kind or unit that does not exist.
    """
    from crow.yaml_file import read_yaml

    content, _ = read_yaml(Path(path), "roles of columns, as crow check --write writes them,")
    try:
        mapping = Mapping.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = " ".join(str(part) for part in problem["loc"]) or "the file"
        raise ConfigError(
            f"{path}, {where}: {problem['msg']}; found {problem['input']!r}. "
            "crow check --write makes a mapping to start from."
        ) from None
    _check(mapping, str(path))
    return mapping


def make_mapping(
    schema: Schema, columns: Columns, reasons: dict[str, str], left_out: dict[str, str], examples: bool = True
) -> Mapping:
    """The mapping of a table that was read by ``schema``."""
    single: list[tuple[Role, str | None]] = [
        ("subject", schema.subject), ("session", schema.session), ("group", schema.group),
        ("scan", schema.scan), ("age", schema.age), ("time", schema.time),
    ]  # fmt: skip
    roles: dict[str, tuple[Role, str | None]] = {name: (role, None) for role, name in single if name is not None}
    roles[schema.time] = ("time", schema.time_kind)
    if schema.since_baseline is not None:
        roles.setdefault(schema.since_baseline, ("since baseline", "years"))
    roles |= {name: ("site" if name in schema.sites else "covariate", kind) for name, kind in schema.covariates.items()}
    roles |= {name: ("region", schema.values.get(name, ValueKind()).kind) for name in schema.regions}
    roles |= {name: ("left out", None) for name in left_out if name not in roles}
    known = {name: REASONS[role] for name, (role, _) in roles.items() if role in REASONS} | left_out | reasons
    present = dict.fromkeys(columns.names)
    ordered = [name for name in present if name in roles]
    ordered += [name for name in roles if name not in present]
    return Mapping(
        missing=schema.missing,
        bids=schema.bids is not None,
        columns={name: _column(name, *roles[name], schema, columns, known.get(name), examples) for name in ordered},
    )


def _dumped(content: dict[str, Any]) -> str:
    """YAML with lists on one line."""
    import yaml  # takes longer to import than a small table to read

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
    )
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _column(
    name: str, role: Role, kind: str | None, schema: Schema, columns: Columns, reason: str | None, examples: bool
) -> MappedColumn:
    column = MappedColumn(role=role, kind=kind, reason=reason or None)
    if role == "region":
        column.unit = schema.units.get(name)
    if role == "region" and (values := schema.values.get(name)) is not None:
        column.bounds, column.step = (values.lower, values.upper), values.step
    if name in (schema.age, schema.time) and (role == "age" or kind == "age"):
        column.unit = schema.age_unit
    if kind == "date":
        column.order = schema.date_order
    if name not in columns:
        return column
    labels = role in ("covariate", "site") and columns.is_number(name)
    if role == "region" or kind == "numeric" or labels:
        read = columns.numbers(name)
        column.missing = columns.codes(name)
        if read.marks.decimal != "." or read.marks.thousands:
            column.decimal, column.thousands = read.marks.decimal, read.marks.thousands or None  # type: ignore[assignment]
    if examples:
        head = columns.cells(name).iloc[:EXAMPLE_ROWS]
        words = head[~is_blank(head)].unique()[:EXAMPLES]
        column.examples = [str(word)[:MAX_EXAMPLE] for word in words]
    return column


def _options(column: MappedColumn) -> dict[str, Any]:
    known: dict[str, Any] = {"missing": column.missing, "decimal": column.decimal, "thousands": column.thousands}
    if column.role == "region":
        known |= {"kind": column.kind, "bounds": column.bounds, "step": column.step, "unit": column.unit}
    elif column.role == "covariate":  # one word changes the role of a region: its numbers stay numbers
        known["kind"] = "numeric" if column.kind in KINDS else column.kind
    return {name: value for name, value in known.items() if value is not None}


def _check(mapping: Mapping, path: str) -> None:
    """One column per role of which a table has one, and kinds that go with the role."""
    for role in ONCE:
        several = [name for name, column in mapping.columns.items() if column.role == role]
        if len(several) > 1:
            raise ConfigError(f"{path}: {', '.join(several)} have the role {role}; only one column can.")
    kinds: dict[str, tuple[str, ...]] = {
        "time": get_args(TimeKind),
        "covariate": ("numeric", "categorical", *KINDS),
        "site": ("categorical",),
        "region": ("numeric", *KINDS),
    }
    for name, column in mapping.columns.items():
        if column.kind is not None and column.role in kinds and column.kind not in kinds[column.role]:
            known = ", ".join(kinds[column.role])
            raise ConfigError(f"{path}, column {name}: kind {column.kind}; of a {column.role} it is one of {known}.")
        is_age = column.role == "age" or column.kind == "age"
        if column.unit is not None and is_age and column.unit not in get_args(AgeUnit):
            known = ", ".join(get_args(AgeUnit))
            raise ConfigError(f"{path}, column {name}: unit {column.unit}; of an age it is one of {known}.")
    if not any(column.role == "subject" for column in mapping.columns.values()):
        raise ConfigError(f"{path}: no column has the role subject.")
