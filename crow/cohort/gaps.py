"""Visits that lack a region: what they are, and what each choice of ``--missing`` keeps."""

from __future__ import annotations

import pandas as pd

from crow.cohort.catalogue import COSTLY_REGION, LOSS, MISSING_VALUES, NO_REGION
from crow.cohort.findings import Findings
from crow.cohort.options import Missing, listed
from crow.cohort.parameters import MAX_MISSING_SHARE
from crow.cohort.rows import LINE
from crow.cohort.schema import Schema
from crow.errors import CohortError

MAX_LISTED = 12


def usable_visits(rows: pd.DataFrame, schema: Schema, missing: Missing, path: str, findings: Findings) -> pd.DataFrame:
    """The visits that can be used; with ``"model"`` all of them, also one without a region: it has time and covariates.

    Raises CohortError if none is left, and with ``"error"`` at the first gap.
    """
    gaps = rows[schema.regions].isna()
    lacking, empty = gaps.any(axis=1), gaps.all(axis=1)
    if not lacking.any():
        return rows
    if missing == "error":
        lines = rows[LINE][lacking].to_numpy()
        name = schema.regions[int(gaps[lacking].to_numpy()[lines.argmin()].argmax())]
        raise CohortError(
            f"{path}, line {lines.min()}, column {name}: no value. {_loss(rows, lacking, empty)}. "
            "Fill them, or choose --missing model."
        )
    if empty.all():
        raise CohortError(f"{path}: no visit has a single region. Look at the columns of regions (--regions).")
    if missing == "model":
        _report_kept(rows, gaps, empty, findings)
        return rows
    if missing == "drop-visit" and lacking.all():
        worst = gaps.mean().sort_values(ascending=False)
        raise CohortError(
            f"{path}: no visit has all regions. Leave some out with --exclude, or choose --missing model. "
            f"Most often missing: {listed(f'{name} ({share:.0%})' for name, share in worst.items())}."
        )
    kept = {"model": rows, "drop-visit": rows[~lacking], "impute": rows[~empty]}
    options = "; ".join(
        f"--missing {option}{' (now)' if option == missing else ''} keeps {len(visits):,} visits of "
        f"{visits['subject'].nunique():,} subjects"
        for option, visits in kept.items()
    )
    filled = ". Imputed values count as data" if missing == "impute" else f". {_lost(rows, lacking)}"
    findings.add(LOSS, rows=rows[LINE][lacking], loss=_loss(rows, lacking, empty), options=options + filled)
    if missing == "drop-visit":
        _report_costly(gaps[~empty], schema.regions, findings)
    return kept[missing]


def _loss(rows: pd.DataFrame, lacking: pd.Series, empty: pd.Series) -> str:
    """``453 of 890 visits lack at least one region (343 all, 110 some); 8 of 150 subjects have none left``."""
    subjects = rows["subject"]
    lost = subjects.nunique() - subjects[~lacking].nunique()
    all_, some = int(empty.sum()), int((lacking & ~empty).sum())
    return (
        f"{int(lacking.sum()):,} of {len(rows):,} visits lack at least one region ({all_:,} all, {some:,} some); "
        f"{lost:,} of {subjects.nunique():,} subjects have no complete visit"
    )


def _lost(rows: pd.DataFrame, lacking: pd.Series) -> str:
    """How many subjects have fewer than two visits left of those with two."""
    before = int((rows["subject"].value_counts() >= 2).sum())
    after = int((rows["subject"][~lacking].value_counts() >= 2).sum())
    return f"Subjects with two visits or more: {before:,} before, {after:,} after"


def _report_kept(rows: pd.DataFrame, gaps: pd.DataFrame, empty: pd.Series, findings: Findings) -> None:
    """Visits that lack some regions, and those that have none."""
    some = gaps.any(axis=1) & ~empty
    if some.any():
        findings.add(MISSING_VALUES, rows=rows[LINE][some], count=int(gaps[some].to_numpy().sum()))
    if empty.any():
        findings.add(NO_REGION, rows=rows[LINE][empty])


def _report_costly(gaps: pd.DataFrame, regions: list[str], findings: Findings) -> None:
    """A few columns that cost many visits."""
    costly = [name for name in regions if gaps[name].mean() > MAX_MISSING_SHARE]
    if not costly or len(costly) == len(regions):
        return
    rest = [name for name in regions if name not in costly]
    saved = int((~gaps[rest].any(axis=1)).sum() - (~gaps.any(axis=1)).sum())
    if saved > 0:
        others = ", or --missing model" if len(costly) <= MAX_LISTED else " and so on, or --missing model"
        flag = ",".join(costly[:MAX_LISTED])
        findings.add(COSTLY_REGION, costly[0], saved=saved, names=listed(costly), flag=flag, others=others)
