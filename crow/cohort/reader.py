"""A table as it was downloaded -> a Cohort, and a finding for everything that was decided on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
from pydantic import ValidationError

from crow.cohort.cohort import Cohort
from crow.cohort.columns import Columns
from crow.cohort.families import find_group, groups_of
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.load import Source, load, name_of_source
from crow.cohort.mapping import make_mapping, read_mapping
from crow.cohort.names import FAMILY, SITE, matches, normal
from crow.cohort.number_marks import Marks
from crow.cohort.options import ColumnOptions, ReadOptions, listed, some_columns
from crow.cohort.parts import TablePart
from crow.cohort.role_detector import Roles
from crow.cohort.roles import find_roles, never_changes
from crow.cohort.scan_paths import USUAL, find_scan
from crow.cohort.schema import Schema
from crow.cohort.subject import find_subject
from crow.cohort.subject_writings import one_writing, report_mixed
from crow.cohort.table import Table
from crow.cohort.timeline import Timeline, find_timeline
from crow.cohort.times import date_mark
from crow.cohort.units import region_units
from crow.cohort.value_kinds import kinds_of
from crow.cohort.visits import make_visits, report_usable
from crow.cohort.wide import SESSION, Wide, find_waves, reshape
from crow.errors import CohortError, ConfigError


def read_cohort(
    path: Source | Sequence[Source],
    options: ReadOptions | None = None,
    *,
    schema: Schema | None = None,
    strict: bool = True,
    findings: Findings | None = None,
    **flags: Any,
) -> Cohort:
    """Read a cohort: a table (a file or a DataFrame), a BIDS tree, or several tables of one cohort.

    Parameters
    ----------
    path
        A file, a folder or a DataFrame, or a list of them. Several tables are joined by subject and visit, or by the
        nearest time (`crow.cohort.join`).
    options
        How to read it. All that is not given is detected.
    schema
        The schema of a trained run: the table is read just as that one was.
    strict
        Whether a cohort from which nothing can be learned is refused.
    findings
        Receives the findings, also those of a refused cohort.
    **flags
        The fields of `ReadOptions` by name.

    Returns
    -------
    Cohort
        One row per visit.

    Raises
    ------
    CohortError
        If the table cannot be read as visits, if its columns are not those of ``schema``, and, unless ``strict`` is
        False, if nothing can be learned from it (one visit per subject without ``one_visit``; fewer than 10 subjects).
    ConfigError
        For a flag that does not exist.

    Examples
    --------
    >>> import crow
    >>> cohort = crow.read_cohort("adni.csv", missing="model")
    >>> cohort.regions, cohort.covariates
    (['Hippocampus', 'Ventricles', 'Entorhinal'], ['sex', 'DX', 'CDRSB'])
    """
    options = read_options(options, **flags)
    findings = Findings() if findings is None else findings
    sources = [path] if isinstance(path, str | Path | pd.DataFrame | TablePart) else list(path)
    path = name_of_source(sources[0])
    table = load([*sources, *options.join], options, schema, findings)
    findings.places = table.places
    if schema is not None:
        columns = _columns_of(table, schema, findings)
        schema = schema.model_copy(update={"missing": options.missing or schema.missing})
        made = make_visits(columns, schema, schema.missing, findings, options.scan_root, options.fix)
        groups = groups_of(columns, schema.subject, schema.group)
        return Cohort(
            made.visits,
            schema,
            made.start,
            list(findings),
            str(path),
            missing=made.missing,
            groups=groups,
            changes=made.changes,
            as_read=made.as_read,
        )
    columns, schema, roles = _detect(table, options, findings)
    made = make_visits(columns, schema, schema.missing, findings, options.scan_root, options.fix)
    given = {name: kind for name, column in options.columns.items() if (kind := column.values()) is not None}
    schema = schema.model_copy(update={"values": kinds_of(made.visits, schema.regions, given)})
    report_usable(made.visits, schema, findings, options.one_visit)
    groups = groups_of(columns, schema.subject, schema.group)
    mapping = make_mapping(schema, columns, roles.reasons, roles.left_out)
    cohort = Cohort(
        made.visits,
        schema,
        made.start,
        list(findings),
        str(path),
        roles.left_out,
        made.missing,
        groups,
        mapping,
        made.changes,
        made.as_read,
    )
    if strict:
        cohort.require_usable()
    return cohort


def read_options(options: ReadOptions | dict[str, Any] | None = None, **flags: Any) -> ReadOptions:
    """Options changed by flags that are not None; raises ConfigError for one that is unknown or impossible.

    ``mapping``, the path of a mapping, sets what the others do not.
    """
    given = options.model_dump(exclude_unset=True) if isinstance(options, ReadOptions) else dict(options or {})
    given |= {name: value for name, value in flags.items() if value is not None}
    if (path := given.pop("mapping", None)) is not None:
        given = read_mapping(path).options() | given
    try:
        return ReadOptions.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        known = f" Known are {listed(ReadOptions.model_fields, 20)}." if problem["type"] == "extra_forbidden" else ""
        raise ConfigError(f"cohort.{name}: {problem['msg']}; found {problem['input']!r}.{known}") from None


def _detect(table: Table, options: ReadOptions, findings: Findings) -> tuple[Columns, Schema, Roles]:
    shaped = _shaped(table, options, findings)
    described = {name: ColumnOptions(kind="categorical") for name in shaped.layout.categories}
    options = options.model_copy(update={"columns": described | options.columns})
    timeline = find_timeline(shaped.columns, shaped.layout, shaped.subject, options, findings)
    findings.extend(shaped.said.get(timeline.time, ()))
    repeated = set(shaped.wide.columns) if shaped.wide else set()
    taken = {name for name in (shaped.subject, timeline.time, timeline.session, timeline.age, shaped.scan) if name}
    group = find_group(shaped.columns, shaped.subject, taken, options, findings)
    roles = find_roles(shaped.columns, shaped.layout, timeline, options, repeated, findings, shaped.scan, group)
    mapped = set(options.left_out)
    excluded = {n: f"excluded by a {'mapping' if n in mapped else 'flag'}" for n in sorted(shaped.excluded)}
    roles.left_out = excluded | dict(shaped.layout.left_out) | roles.left_out
    return shaped.columns, _schema(table, shaped, timeline, roles, options, group), roles


def _schema(
    table: Table, shaped: _Shaped, timeline: Timeline, roles: Roles, options: ReadOptions, group: str | None
) -> Schema:
    columns, wide = shaped.columns, shaped.wide
    used = [name for name in (timeline.time, timeline.age, *roles.covariates, *roles.regions, shaped.scan) if name]
    since = next((name for name in columns.names if normal(name) == "years_bl"), None)
    return Schema(
        layout=shaped.layout.name,
        subject=shaped.subject,
        time=timeline.time,
        time_kind=timeline.kind,
        session=timeline.session,
        group=group,
        sites=roles.sites,
        age=timeline.age,
        covariates=roles.covariates,
        regions=roles.regions,
        units=region_units(roles.regions, shaped.layout.name, shaped.layout.units, _given_units(options)),
        fixed=[name for name in roles.covariates if never_changes(columns, name, columns.cells(shaped.subject))],
        age_is_baseline=timeline.age_is_baseline,
        age_unit=timeline.age_unit,
        since_baseline=since if timeline.age_is_baseline else None,
        date_order=timeline.date_order,
        date_mark=date_mark(columns.cells(timeline.time)) if timeline.kind == "date" else None,
        adni=shaped.layout.adni,
        visit_codes=timeline.visit_codes,
        codes={name: codes for name in used if (codes := columns.codes(name))},
        missing=options.missing or ("drop-visit" if options.one_visit else "model"),
        template=wide.template if wide else None,
        repeated=[name for name in dict.fromkeys(used) if wide and name in wide.columns],
        waves=list(wide.waves) if wide else [],
        separator=table.separator,
        decimal=table.decimal,
        scan=shaped.scan,
        bids=table.bids,
        within=options.within,
    )


def _given_units(options: ReadOptions) -> dict[str, str]:
    """The units of a mapping, by column."""
    return {name: one.unit for name, one in options.columns.items() if one.unit}


class _Shaped(NamedTuple):
    """A table as one row per visit; ``said`` are the findings about a column if it becomes the time."""

    columns: Columns
    layout: Layout
    subject: str
    excluded: set[str]
    wide: Wide | None = None
    said: Mapping[str, Findings] = MappingProxyType({})
    scan: str | None = None


def _shaped(table: Table, options: ReadOptions, findings: Findings) -> _Shaped:
    layout = table.layout or Layout("plain")
    frame = table.frame(_wanted(table.header, layout, options))
    waves = find_waves(table.header)
    known = dict.fromkeys([*table.header, *(waves.columns if waves else ())])
    excluded = {*some_columns("exclude", options.exclude, known, table.path)[0], *(set(options.left_out) & set(known))}
    frame = frame[[name for name in frame.columns if name not in excluded]]
    columns = _columns(table, frame, layout.adni, options)
    subject = find_subject(columns, layout, options, findings)
    report_mixed(frame, subject, findings)
    if (alike := one_writing(frame, subject, findings)) is not frame:
        frame = alike
        columns = _columns(table, frame, layout.adni, options)
    wide = None if table.bids or columns.cells(subject).duplicated().any() else find_waves(columns.names)
    if wide is None:
        scan = find_scan(columns, options)
        if scan is not None or options.one_visit or columns.cells(subject).duplicated().any():
            return _Shaped(columns, layout, subject, excluded, scan=scan)
        raise CohortError(
            f"{table.path}: every subject ({subject}) has one row only; at least two visits of a subject are needed. "
            "If another column names the subject, add --subject COLUMN. If columns repeat by wave, give them names "
            "such as Hippocampus_w1 and Hippocampus_w2, with the age or the date at each wave."
        )
    frame, said = reshape(frame, wide, table.decimal, findings)
    frame = frame[[name for name in frame.columns if name not in excluded]]
    columns = _columns(table, frame, layout.adni, options)
    scan = find_scan(columns, options)
    return _Shaped(
        columns, replace(layout, name="wide", session=SESSION, subject=None), subject, excluded, wide, said, scan
    )


def _columns_of(table: Table, schema: Schema, findings: Findings) -> Columns:
    """The columns of another table, by a schema; raises CohortError naming what is missing and what is not known."""
    frame = table.frame()
    wide = find_waves(table.header) if schema.layout == "wide" and schema.time not in table.header else None
    if wide is not None:
        frame, trials = reshape(frame, wide, table.decimal, findings)
        findings.extend(trials.get(schema.time, ()))
    missing = [name for name in schema.columns if name not in frame]
    if missing:
        unexpected = [name for name in frame.columns if name not in schema.columns]
        raise CohortError(
            f"{table.path}: its columns are not those of the run. Missing: {listed(missing)}. "
            f"Not known to the run: {listed(unexpected) or 'none'}. Rename them, or add them, empty where unknown."
        )
    extra = {schema.session, schema.since_baseline, schema.group} - {None}
    for name in extra - set(frame.columns):
        frame[name] = ""
    frame = one_writing(frame[list(dict.fromkeys([*schema.columns, *extra]))], schema.subject, findings)
    return Columns(
        frame,
        table.path,
        decimal=table.decimal,
        mixed=table.mixed,
        adni=schema.adni,
        codes=schema.codes,
        only_codes=True,
        places=table.places,
    )


def _columns(table: Table, frame: pd.DataFrame, adni: bool, options: ReadOptions) -> Columns:
    return Columns(
        frame,
        table.path,
        decimal=table.decimal,
        mixed=table.mixed,
        adni=adni,
        missing_codes=options.missing_codes,
        codes={name: given.missing for name, given in options.columns.items() if given.missing is not None},
        marks={
            name: Marks(given.decimal, given.thousands or "")
            for name, given in options.columns.items()
            if given.decimal
        },
        places=table.places,
    )


def _wanted(header: list[str], layout: Layout, options: ReadOptions) -> list[str]:
    """All columns, or, of a table whose roles are known, those with a role and those that a flag names."""
    if not layout.regions:
        asked = {name for flag in ("regions", "covariates", "site") for name in _asked(header, flag, options)}
        return [name for name in header if name not in layout.left_out or name in asked]
    flags = (options.subject, options.time, options.age, options.session, options.scan, options.group)
    named = {*(name for name in flags if name), *layout.times}
    chosen = set(header) - set(layout.others)
    chosen |= {name for name in header if name in named or normal(name) in ("years_bl", *USUAL)}
    chosen |= {name for name in header if matches(SITE, name) or matches(FAMILY, name)}
    for flag in ("regions", "covariates", "site"):
        chosen |= _asked(header, flag, options)
    chosen |= set(options.columns)
    return [name for name in header if name in chosen]


def _asked(header: list[str], flag: str, options: ReadOptions) -> set[str]:
    """The columns of the table that a flag may mean; of a wide table it names measures, which are no columns yet."""
    patterns = [part.strip() for given in getattr(options, flag) or () for part in (given, *given.split(","))]
    return {name for name in header if any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)}
