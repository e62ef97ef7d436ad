"""Visits that lack a region: what they are, and what each choice of ``--missing`` keeps."""

from __future__ import annotations

import pandas as pd

from crow.cohort.catalogue import COSTLY_REGION, LOSS
from crow.cohort.findings import Findings
from crow.cohort.options import Missing, listed
from crow.cohort.parameters import MAX_MISSING_SHARE
from crow.cohort.rows import LINE
from crow.cohort.schema import Schema
from crow.errors import CohortError


def usable_visits(rows: pd.DataFrame, schema: Schema, missing: Missing, path: str, findings: Findings) -> pd.DataFrame:
    """The visits that can be used.

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
            "Fill them, or choose --missing drop-visit or --missing impute."
        )
    if missing == "drop-visit" and lacking.all():
        worst = gaps.mean().sort_values(ascending=False)
        raise CohortError(
            f"{path}: no visit has all regions. Leave some out with --exclude, or choose --missing impute. "
            f"Most often missing: {listed(f'{name} ({share:.0%})' for name, share in worst.items())}."
        )
    dropped = empty if missing == "impute" else lacking
    kept = {"drop-visit": rows[~lacking], "impute": rows[~empty]}
    options = "; ".join(
        f"--missing {option}{' (now)' if option == missing else ''} keeps {len(visits):,} visits of "
        f"{visits['subject'].nunique():,} subjects"
        for option, visits in kept.items()
    )
    findings.add(LOSS, rows=rows[LINE][lacking], loss=_loss(rows, lacking, empty), options=options)
    if missing == "drop-visit":
        _report_costly(gaps[~empty], schema.regions, findings)
    return rows[~dropped]


def _loss(rows: pd.DataFrame, lacking: pd.Series, empty: pd.Series) -> str:
    """``453 of 890 visits lack at least one region (343 all, 110 some); 8 of 150 subjects have none left``."""
    subjects = rows["subject"]
    lost = subjects.nunique() - subjects[~lacking].nunique()
    all_, some = int(empty.sum()), int((lacking & ~empty).sum())
    return (
        f"{int(lacking.sum()):,} of {len(rows):,} visits lack at least one region ({all_:,} all, {some:,} some); "
        f"{lost:,} of {subjects.nunique():,} subjects have no complete visit"
    )


def _report_costly(gaps: pd.DataFrame, regions: list[str], findings: Findings) -> None:
    """A few columns that cost many visits."""
    costly = [name for name in regions if gaps[name].mean() > MAX_MISSING_SHARE]
    if not costly or len(costly) == len(regions):
        return
    rest = [name for name in regions if name not in costly]
    saved = int((~gaps[rest].any(axis=1)).sum() - (~gaps.any(axis=1)).sum())
    if saved > 0:
        others = ", or --missing impute" if len(costly) <= 12 else " and so on, or --missing impute"
        findings.add(
            COSTLY_REGION, costly[0], saved=saved, names=listed(costly), flag=",".join(costly[:12]), others=others
        )
