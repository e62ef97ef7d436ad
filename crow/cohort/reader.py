"""A table as it was downloaded -> a Cohort, and a finding for everything that was decided on the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
from pydantic import ValidationError

from crow.cohort.bids import read_tree
from crow.cohort.cohort import Cohort
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings
from crow.cohort.frame import NAME, frame_table
from crow.cohort.layouts import Layout, detect_layout
from crow.cohort.names import normal
from crow.cohort.options import ReadOptions, listed, some_columns
from crow.cohort.roles import Roles, find_roles, never_changes
from crow.cohort.scan_paths import USUAL, find_scan
from crow.cohort.schema import Schema
from crow.cohort.table import Table, read_table
from crow.cohort.timeline import Timeline, find_subject, find_timeline
from crow.cohort.visits import make_visits, say_usable
from crow.cohort.wide import SESSION, Wide, find_waves, reshape
from crow.errors import CohortError, ConfigError


def read_cohort(
    path: str | Path | pd.DataFrame,
    options: ReadOptions | None = None,
    *,
    schema: Schema | None = None,
    strict: bool = True,
    **flags: Any,
) -> Cohort:
    """Read a cohort table, from a file or as a DataFrame; ``flags`` are those of `ReadOptions`, and what none names is detected.

    With ``schema`` (of a trained run) the table is read just as that one was. Raises CohortError where the table cannot
    be read as visits, where its columns are not those of ``schema``, and, unless ``strict`` is False, where nothing can
    be learned from it (one visit per subject, but for ``one_visit``; fewer than 10 subjects); ConfigError for a flag
    that does not exist.
    """
    options = read_options(options, **flags)
    findings = Findings()
    if isinstance(path, pd.DataFrame):
        table, path = frame_table(path), NAME
    else:
        table = _table(Path(path), options, schema, findings)
    findings.places = table.places
    if schema is not None:
        columns = _columns_of(table, schema, findings)
        schema = schema.model_copy(update={"missing": options.missing or schema.missing})
        made = make_visits(columns, schema, schema.missing, findings, options.scan_root)
        return Cohort(made.visits, schema, made.start, list(findings), str(path), missing=made.missing)
    columns, schema, left_out = _detect(table, options, findings)
    made = make_visits(columns, schema, schema.missing, findings, options.scan_root)
    say_usable(made.visits, schema, findings, options.one_visit)
    cohort = Cohort(made.visits, schema, made.start, list(findings), str(path), left_out, made.missing)
    if strict:
        cohort.require_usable()
    return cohort


def read_options(options: ReadOptions | dict[str, Any] | None = None, **flags: Any) -> ReadOptions:
    """Options changed by flags that are not None; raises ConfigError for one that is unknown or impossible."""
    given = options.model_dump(exclude_unset=True) if isinstance(options, ReadOptions) else dict(options or {})
    given |= {name: value for name, value in flags.items() if value is not None}
    try:
        return ReadOptions.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        known = f" Known are {listed(ReadOptions.model_fields, 20)}." if problem["type"] == "extra_forbidden" else ""
        raise ConfigError(f"cohort.{name}: {problem['msg']}; found {problem['input']!r}.{known}") from None


def _table(path: Path, options: ReadOptions, schema: Schema | None, findings: Findings) -> Table:
    """The table, or the visits of a BIDS tree as one; raises CohortError for flags that belong to the other."""
    tree = path.is_dir()
    foreign = ("scan", "scan_root") if tree else ("suffix", "space", "desc", "ages")
    if given := [f"--{name.replace('_', '-')}" for name in foreign if getattr(options, name) is not None]:
        kind = "a folder, and is for a table" if tree else "no folder, and is for a BIDS tree"
        raise CohortError(f"{path}: {listed(given)} was given, but the path is {kind}. Leave it out.")
    if tree and schema is not None and schema.scan is None:
        raise CohortError(f"{path}: a folder, but the run was trained on regions without scans. Give a table of them.")
    return read_tree(path, options, schema, findings) if tree else read_table(path, findings)


def _detect(table: Table, options: ReadOptions, findings: Findings) -> tuple[Columns, Schema, dict[str, str]]:
    shaped = _shaped(table, options, findings)
    timeline = find_timeline(shaped.columns, shaped.layout, shaped.subject, options, findings)
    findings.extend(shaped.said.get(timeline.time, ()))
    repeated = set(shaped.wide.columns) if shaped.wide else set()
    roles = find_roles(shaped.columns, shaped.layout, timeline, options, repeated, findings, shaped.scan)
    reasons = {name: reason for reason, names in roles.left_out.items() for name in names}
    left_out = dict.fromkeys(sorted(shaped.excluded), "excluded by flag") | reasons
    return shaped.columns, _schema(table, shaped, timeline, roles, options), left_out


def _schema(table: Table, shaped: _Shaped, timeline: Timeline, roles: Roles, options: ReadOptions) -> Schema:
    columns, wide = shaped.columns, shaped.wide
    used = [name for name in (timeline.time, timeline.age, *roles.covariates, *roles.regions, shaped.scan) if name]
    since = next((name for name in columns.names if normal(name) == "years_bl"), None)
    return Schema(
        layout=shaped.layout.name,
        subject=shaped.subject,
        time=timeline.time,
        time_kind=timeline.kind,
        session=timeline.session,
        age=timeline.age,
        covariates=roles.covariates,
        regions=roles.regions,
        fixed=[name for name in roles.covariates if never_changes(columns, name, columns.cells(shaped.subject))],
        age_is_baseline=timeline.age_is_baseline,
        since_baseline=since if timeline.age_is_baseline else None,
        date_order=timeline.date_order,
        adni=shaped.layout.adni,
        codes={name: list(codes) for name in used if (codes := columns.numbers(name).codes)},
        missing=options.missing or ("drop-visit" if options.one_visit else "model"),
        template=wide.template if wide else None,
        repeated=[name for name in dict.fromkeys(used) if wide and name in wide.columns],
        waves=list(wide.waves) if wide else [],
        separator=table.separator,
        decimal=table.decimal,
        scan=shaped.scan,
        bids=table.bids,
    )


class _Shaped(NamedTuple):
    """A table as one row a visit; ``said`` is what to say of a column if it becomes the time."""

    columns: Columns
    layout: Layout
    subject: str
    excluded: set[str]
    wide: Wide | None = None
    said: Mapping[str, Findings] = MappingProxyType({})
    scan: str | None = None


def _shaped(table: Table, options: ReadOptions, findings: Findings) -> _Shaped:
    layout = table.layout or detect_layout(table.header, findings)
    frame = table.frame(_wanted(table.header, layout, options))
    waves = find_waves(table.header)
    known = dict.fromkeys([*table.header, *(waves.columns if waves else ())])
    excluded = set(some_columns("exclude", options.exclude, known, table.path)[0])
    frame = frame[[name for name in frame.columns if name not in excluded]]
    columns = _columns(table, frame, layout.adni, options)
    subject = find_subject(columns, layout, options, findings)
    wide = None if table.bids or columns.cells(subject).duplicated().any() else find_waves(columns.names)
    if wide is None:
        scan = find_scan(columns, options)
        if scan is not None or options.one_visit or columns.cells(subject).duplicated().any():
            return _Shaped(columns, layout, subject, excluded, scan=scan)
        raise CohortError(
            f"{table.path}: every subject ({subject}) has one row only; at least two visits of a subject are needed. "
            "If another column names the subject, add --subject COLUMN."
        )
    frame, said = reshape(frame, wide, table.decimal, findings)
    frame = frame[[name for name in frame.columns if name not in excluded]]
    columns = _columns(table, frame, layout.adni, options)
    scan = find_scan(columns, options)
    return _Shaped(columns, Layout("wide", session=SESSION), subject, excluded, wide, said, scan)


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
    extra = {schema.session, schema.since_baseline} - {None}
    for name in extra - set(frame.columns):
        frame[name] = ""
    frame = frame[list(dict.fromkeys([*schema.columns, *extra]))]
    return Columns(frame, table.path, decimal=table.decimal, adni=schema.adni, codes=schema.codes, places=table.places)


def _columns(table: Table, frame: pd.DataFrame, adni: bool, options: ReadOptions) -> Columns:
    return Columns(
        frame, table.path, decimal=table.decimal, adni=adni, missing_codes=options.missing_codes, places=table.places
    )


def _wanted(header: list[str], layout: Layout, options: ReadOptions) -> list[str]:
    """All columns, or, of a table whose roles are known, those with a role and those that a flag names."""
    if not layout.regions:
        return header
    named = [name for name in (options.subject, options.time, options.age, options.session, options.scan) if name]
    chosen = set(header) - set(layout.others)
    chosen |= {name for name in header if name in (*named, *layout.times) or normal(name) in ("years_bl", *USUAL)}
    for flag in ("regions", "covariates"):
        if patterns := getattr(options, flag):
            chosen |= set(some_columns(flag, patterns, header, "")[0])
    return [name for name in header if name in chosen]
