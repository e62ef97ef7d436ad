"""Future visits as a user writes them down: subject, time, and the covariates that are known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from crow.cohort.cohort import Cohort
from crow.cohort.columns import Columns
from crow.cohort.findings import Findings, at_lines
from crow.cohort.options import listed
from crow.cohort.rows import states
from crow.cohort.table import read_table
from crow.cohort.values import is_blank
from crow.errors import CohortError

SINCE_FIRST = "time"


def read_future(path: str | Path, cohort: Cohort) -> pd.DataFrame:
    """The visits asked for: ``subject``, ``time`` (years since the subject's first visit), and the covariates given.

    The table has the cohort's subject column, its time column (or ``time``, in years since the first visit) and any of
    its covariates; other columns of the cohort may stand there and are not looked at. Empty covariates stay missing.
    Raises CohortError with the line for an unknown subject or column, and for a time that cannot be read, is not after
    the subject's last visit, or stands twice.
    """
    findings = Findings()
    table = read_table(path, findings)
    schema = cohort.schema
    frame = table.frame()
    time = schema.time if schema.time in frame else SINCE_FIRST
    _require(str(path), list(frame.columns), time, cohort)
    covariates = [name for name in schema.covariates if name in frame]
    columns = Columns(frame, table.path, decimal=table.decimal, adni=schema.adni, codes=schema.codes, only_codes=True)
    future = pd.DataFrame({"subject": columns.cells(schema.subject)})
    _refuse(columns, ~future["subject"].isin(cohort.start.index), schema.subject, "the cohort has no such subject")
    own = columns.cells(time)
    if time == schema.time:
        future["time"] = cohort.years(future["subject"], own)
    else:
        future["time"] = columns.checked(time, findings)
    _refuse(columns, future["time"].isna(), time, f"not a time of the kind {schema.time_kind}")
    last = cohort.visits.groupby("subject")["time"].max()
    _refuse(columns, future["time"] <= future["subject"].map(last), time, "not after the subject's last visit")
    _refuse(columns, future.duplicated(["subject", "time"]), time, "a second row for the same subject and time")
    for name in covariates:
        numeric = schema.covariates[name] == "numeric"
        future[name] = columns.checked(name, findings) if numeric else states(name, columns, findings)
    return future.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)


def _require(path: str, names: list[str], time: str, cohort: Cohort) -> None:
    schema = cohort.schema
    if missing := [name for name in (schema.subject, time) if name not in names]:
        wanted = f"{schema.subject}, and {schema.time} or {SINCE_FIRST} (years since the first visit)"
        raise CohortError(f"{path}: {listed(missing)} is missing among {listed(names)}; needed are {wanted}.")
    known = {SINCE_FIRST, schema.session, schema.since_baseline, *schema.columns}
    if unknown := [name for name in names if name not in known]:
        raise CohortError(
            f"{path}: {listed(unknown)}: no covariate of the cohort. Known are {listed(schema.covariates) or 'none'}. "
            "Take the other columns out."
        )


def _refuse(columns: Columns, where: pd.Series, name: str, reason: str) -> None:
    if not where.any():
        return
    rows = list(where.index[where])
    cell = columns.cells(name)[rows[0]]
    found = "an empty cell" if is_blank(columns.cells(name))[rows[0]] else repr(cell)
    others = f" The same in {at_lines(columns.lines[rows[1:]])}." if len(rows) > 1 else ""
    raise CohortError(f"{columns.path}, line {columns.lines[rows[0]]}, column {name}: found {found}: {reason}.{others}")
