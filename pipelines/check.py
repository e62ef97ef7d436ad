"""Read a cohort and report everything about it that matters before training."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from crow.cohort import Cohort, Finding, read_cohort
from crow.cohort.findings import Findings
from crow.cohort.reader import read_options
from crow.errors import CohortError
from crow.files import write_text, writing
from crow.tables import save_table

GAP_POINTS = {"least": 0.0, "lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75, "most": 1.0}


@dataclass(frozen=True)
class Check:
    """What a table holds: its cohort, or the ``error`` that keeps it from being one; ``written`` are the files made."""

    path: str
    cohort: Cohort | None = None
    error: str | None = None
    written: tuple[Path, ...] = ()
    before_error: tuple[Finding, ...] = ()

    @property
    def findings(self) -> list[Finding]:
        """What was found, also before the error."""
        return self.cohort.findings if self.cohort else list(self.before_error)

    @property
    def usable(self) -> bool:
        return self.cohort is not None and all(finding.severity != "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values: counts, visits and gaps, the role of every column, missingness, findings."""
        return {
            "path": self.path,
            "usable": self.usable,
            "error": self.error,
            **(_summary(self.cohort) if self.cohort else {}),
            "findings": [dict(vars(finding)) for finding in self.findings],
        }


def check(
    path: Path | Sequence[Path],
    *,
    config: Path | None = None,
    out: Path | None = None,
    write: Path | None = None,
    overwrite: bool = False,
    **flags: Any,
) -> Check:
    """Read a table or a BIDS tree, or several tables of one cohort.

    With ``write``, also write the mapping of its columns, with ``out`` its visits and a log of every finding and change
    beside them. Flags are those of `read_options` and override the ``cohort`` part of the YAML file ``config``. Raises
    ConfigError for settings and OutputError for files that exist or cannot be written.
    """
    given = None
    if config is not None:
        from crow.run.config import load_config  # the classes of all settings: half of the time of a check

        given = load_config(config).cohort
    options = read_options(given, **flags)
    paths = [path] if isinstance(path, Path) else list(path)
    label = ", ".join(map(str, (*paths, *options.join)))
    findings = Findings()
    try:
        cohort = read_cohort(paths, options, strict=False, findings=findings)
    except CohortError as error:
        return Check(label, error=str(error), before_error=tuple(findings))
    result = Check(label, cohort)
    written: list[Path] = []
    if write is not None and cohort.mapping is not None:
        write_text(write, cohort.mapping.text(label, examples=True), overwrite)
        written.append(write)
    if out is not None and result.usable:
        written += _write(cohort, out, overwrite)
    return replace(result, written=tuple(written))


def _summary(cohort: Cohort) -> dict[str, Any]:
    counts = cohort.visits.groupby("subject").size()
    gaps = cohort.visits.groupby("subject")["time"].diff().dropna()
    schema = cohort.schema
    return {
        "subjects": len(counts),
        "visits": len(cohort.visits),
        "layout": schema.layout,
        "scans": len(cohort.visits) if cohort.has_scans else 0,
        "modality": cohort.modality,
        "time": {"column": schema.time, "kind": schema.time_kind},
        "visits_per_subject": {
            str(number): int(people) for number, people in counts.value_counts().sort_index().items()
        },
        "gaps": _quantiles(gaps) if len(gaps) else {},
        "columns": _columns(cohort),
    }


def _quantiles(gaps: pd.Series) -> dict[str, float]:
    return dict(zip(GAP_POINTS, map(float, gaps.quantile([*GAP_POINTS.values()])), strict=True))


def _columns(cohort: Cohort) -> list[dict[str, Any]]:
    """Every column of the table: name, role, kind, share of visits that lack it, and the reason for the role."""
    assert cohort.mapping is not None
    age = "at baseline" if cohort.schema.age_is_baseline else "at the visit"
    kinds: dict[str | None, str | None] = {cohort.schema.age: age}
    kinds |= {cohort.schema.time: cohort.schema.time_kind}
    kinds |= {name: str(values) for name, values in cohort.schema.values.items()}
    if cohort.schema.scan is not None:
        kinds[cohort.schema.scan] = cohort.modality
    return [
        {
            "name": name,
            "role": column.role,
            "kind": kinds.get(name, column.kind),
            "missing": cohort.missing.get(name),
            "reason": column.reason,
        }
        for name, column in cohort.mapping.columns.items()
    ]


def _write(cohort: Cohort, out: Path, overwrite: bool) -> tuple[Path, Path]:
    log = out.with_name(f"{out.stem}.log.csv")
    visits = cohort.visits.rename(columns={"time": "years"})
    if visits["age"].isna().all():
        visits = visits.drop(columns="age")
    with writing(out, overwrite) as table, writing(log, overwrite) as text:
        save_table(visits, table, out.suffix, digits=None)
        text.write_text(_log(cohort), encoding="utf-8")
    return out, log


def _log(cohort: Cohort) -> str:
    """Every finding, then every changed cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["severity", "finding", "column", "lines", "what"])
    for finding in cohort.findings:
        lines = " ".join(map(str, finding.rows))
        writer.writerow([finding.severity, finding.code, finding.column or "", lines, finding.message])
    for change in cohort.changes:
        writer.writerow(["fixed", change.code, change.column, change.line, f"{change.before} -> {change.after}"])
    return text.getvalue()
