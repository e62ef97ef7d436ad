"""Read a cohort and say everything about it that matters before training."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crow.cohort import Cohort, Finding, read_cohort
from crow.cohort.reader import read_options
from crow.errors import CohortError
from crow.files import writing
from crow.run.config import load_config

GAP_POINTS = {"least": 0.0, "lower quarter": 0.25, "median": 0.5, "upper quarter": 0.75, "most": 1.0}


@dataclass(frozen=True)
class Check:
    """What a table holds: its cohort, or the ``error`` that keeps it from being one; ``written`` are the files made."""

    path: str
    cohort: Cohort | None = None
    error: str | None = None
    written: tuple[Path, ...] = ()

    @property
    def findings(self) -> list[Finding]:
        return self.cohort.findings if self.cohort else []

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
            "findings": [asdict(finding) for finding in self.findings],
        }


def check(
    path: Path, *, config: Path | None = None, out: Path | None = None, overwrite: bool = False, **flags: Any
) -> Check:
    """Read a table or a BIDS tree; with ``out``, also write its visits and, beside them, a log of what changed.

    Flags are those of `ReadOptions` and go before the ``cohort`` part of the YAML file ``config``. Raises ConfigError
    for settings and OutputError for files that exist or cannot be written.
    """
    options = read_options(load_config(config).cohort, **flags)
    try:
        cohort = read_cohort(path, options, strict=False)
    except CohortError as error:
        return Check(str(path), error=str(error))
    result = Check(str(path), cohort)
    if out is None or not result.usable:
        return result
    return Check(str(path), cohort, written=_write(cohort, out, overwrite))


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
        "gaps": {name: float(gaps.quantile(point)) for name, point in GAP_POINTS.items()} if len(gaps) else {},
        "columns": _columns(cohort),
    }


def _columns(cohort: Cohort) -> list[dict[str, Any]]:
    """Every column of the table: name, role, kind, and the share of visits that lack it."""
    schema = cohort.schema
    roles: list[tuple[str, str, str | None]] = [(schema.subject, "subject", None)]
    roles.append((schema.time, "time", schema.time_kind))
    if schema.session not in (None, schema.time):
        roles.append((str(schema.session), "session", None))
    if schema.age not in (None, schema.time):
        roles.append((str(schema.age), "age", "at baseline" if schema.age_is_baseline else "at the visit"))
    roles += [(name, "covariate", kind) for name, kind in schema.covariates.items()]
    roles += [(name, "region", None) for name in schema.regions]
    roles += [(schema.scan, "scan", cohort.modality)] if schema.scan else []
    roles += [(name, "left out", reason) for name, reason in cohort.left_out.items()]
    return [
        {"name": name, "role": role, "kind": kind, "missing": cohort.missing.get(name) if role != "left out" else None}
        for name, role, kind in roles
    ]


def _write(cohort: Cohort, out: Path, overwrite: bool) -> tuple[Path, Path]:
    log = out.with_name(f"{out.stem}.log.csv")
    visits = cohort.visits.rename(columns={"time": "years"})
    if visits["age"].isna().all():
        visits = visits.drop(columns="age")
    with writing(out, overwrite) as table, writing(log, overwrite) as text:
        visits.to_csv(table, index=False, lineterminator="\n")
        text.write_text(_log(cohort.findings), encoding="utf-8")
    return out, log


def _log(findings: list[Finding]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["severity", "finding", "column", "lines", "what"])
    for finding in findings:
        lines = " ".join(map(str, finding.rows))
        writer.writerow([finding.severity, finding.code, finding.column or "", lines, finding.message])
    return text.getvalue()
