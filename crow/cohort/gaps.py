"""Visits that lack a region: dropped and counted, left open, or refused."""

from __future__ import annotations

import pandas as pd

from crow.cohort.findings import Findings
from crow.cohort.options import Missing, listed
from crow.cohort.rows import LINE, drop
from crow.cohort.schema import Schema
from crow.errors import CohortError


def complete(rows: pd.DataFrame, schema: Schema, missing: Missing, path: str, findings: Findings) -> pd.DataFrame:
    """The visits that can be used; raises CohortError where none is left, and with ``"error"`` at the first gap."""
    gaps = rows[schema.regions].isna()
    lacking, nothing = gaps.any(axis=1), gaps.all(axis=1)
    if not lacking.any():
        return rows
    if missing == "error":
        lines = rows[LINE][lacking].to_numpy()
        name = schema.regions[int(gaps[lacking].to_numpy()[lines.argmin()].argmax())]
        raise CohortError(
            f"{path}, line {lines.min()}, column {name}: no value ({len(lines)} visits lack a region). "
            "Fill them, or choose --missing drop-visit or --missing impute."
        )
    _say_gaps(rows, gaps, schema, missing, findings)
    if missing == "impute":
        return drop(rows, nothing, "no-region", "info", "no region was measured; dropped.", findings)
    if lacking.all():
        worst = gaps.mean().sort_values(ascending=False)
        raise CohortError(
            f"{path}: no visit has all regions. Leave some out with --exclude, or choose --missing impute. "
            f"Most often missing: {listed(f'{name} ({share:.0%})' for name, share in worst.items())}."
        )
    return drop(
        rows,
        lacking,
        "missing-region",
        "warning",
        f"a region is missing (all of them at {int(nothing.sum())}); the visits were dropped (--missing drop-visit).",
        findings,
    )


def _say_gaps(rows: pd.DataFrame, gaps: pd.DataFrame, schema: Schema, missing: Missing, findings: Findings) -> None:
    """A few columns that cost many visits, and what to do about them."""
    some = ~gaps.all(axis=1)
    if missing == "impute":
        count = int(gaps[some].to_numpy().sum())
        findings.info(
            "imputed",
            f"{count:,} missing values of regions stay open, to be filled in training.",
            rows=rows[LINE][some & gaps.any(axis=1)],
        )
        return
    costly = [name for name in schema.regions if gaps[name][some].mean() > 0.2]
    if costly and len(costly) < len(schema.regions):
        rest = [name for name in schema.regions if name not in costly]
        saved = int((~gaps[rest].any(axis=1)).sum() - (~gaps.any(axis=1)).sum())
        if saved > 0:
            findings.warning(
                "costly-region",
                f"{saved:,} more visits could be used without {listed(costly)}: add --exclude "
                f"{','.join(costly[:12])}, or --missing impute.",
                costly[0],
            )
