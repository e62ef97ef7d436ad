"""Checks of the values of a cohort: each reports rows, values and the remedy, and corrects what is safe if asked to."""

from __future__ import annotations

import pandas as pd

from crow.cohort.catalogue import FIXED
from crow.cohort.checks.contradictions import check_constants
from crow.cohort.checks.copies import check_copies
from crow.cohort.checks.outliers import check_outliers
from crow.cohort.checks.positive import check_positive
from crow.cohort.checks.rows_by_subject import Change, RowsBySubject
from crow.cohort.checks.scanners import check_scanners
from crow.cohort.checks.times import check_times
from crow.cohort.checks.units import check_units
from crow.cohort.findings import Findings
from crow.cohort.options import listed
from crow.cohort.schema import Schema

__all__ = ["Change", "check_values"]


def check_values(
    rows: pd.DataFrame, schema: Schema, findings: Findings, fix: bool = False
) -> tuple[pd.DataFrame, list[Change]]:
    """Findings about the values of rows (`crow.cohort.rows`); with ``fix``, corrected rows and every changed cell."""
    by_subject = RowsBySubject(rows, schema, findings, fix)
    check_times(by_subject)
    check_units(by_subject)
    check_positive(by_subject)
    check_outliers(by_subject)
    check_constants(by_subject)
    check_copies(by_subject)
    check_scanners(by_subject)
    changes = by_subject.changes
    if changes:
        what = listed(
            f"{sum(change.code == code for change in changes)} {code}" for code in {c.code: 0 for c in changes}
        )
        findings.add(FIXED, count=len(changes), what=what)
    return by_subject.rows, changes
