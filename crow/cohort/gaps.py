"""Visits that lack a region: kept as they are, dropped and counted, left to be filled, or refused."""

from __future__ import annotations

import pandas as pd

from crow.cohort.findings import Findings
from crow.cohort.options import Missing, listed
from crow.cohort.rows import LINE, drop
from crow.cohort.schema import Schema
from crow.errors import CohortError


def complete(rows: pd.DataFrame, schema: Schema, missing: Missing, path: str, findings: Findings) -> pd.DataFrame:
    """The visits that can be used; raises CohortError if none is left, and with ``"error"`` at the first gap.

    With ``"model"`` all of them, also one without a single region: it has a time and covariates.
    """
    gaps = rows[schema.regions].isna()
    lacking, nothing = gaps.any(axis=1), gaps.all(axis=1)
    if not lacking.any():
        return rows
    if missing == "error":
        lines = rows[LINE][lacking].to_numpy()
        name = schema.regions[int(gaps[lacking].to_numpy()[lines.argmin()].argmax())]
        raise CohortError(
            f"{path}, line {lines.min()}, column {name}: no value ({len(lines)} visits lack a region). "
            "Fill them, or choose --missing model."
        )
    if missing == "model":
        if nothing.all():
            raise CohortError(f"{path}: no visit has a single region. Look at the columns of regions (--regions).")
        return _told(rows, gaps, lacking & ~nothing, nothing, findings)
    _say_gaps(rows, gaps, schema, missing, findings)
    if missing == "impute":
        return drop(rows, nothing, "no-region", "info", "no region was measured; dropped.", findings)
    if lacking.all():
        worst = gaps.mean().sort_values(ascending=False)
        raise CohortError(
            f"{path}: no visit has all regions. Leave some out with --exclude, or choose --missing model. "
            f"Most often missing: {listed(f'{name} ({share:.0%})' for name, share in worst.items())}."
        )
    return drop(
        rows,
        lacking,
        "missing-region",
        "warning",
        f"a region is missing (all of them at {int(nothing.sum())}); the visits were dropped (--missing drop-visit). "
        f"{_lost(rows, lacking)} --missing model keeps them.",
        findings,
    )


def _told(
    rows: pd.DataFrame, gaps: pd.DataFrame, some: pd.Series, nothing: pd.Series, findings: Findings
) -> pd.DataFrame:
    """The same rows, with a finding for those that lack regions and for those that have none."""
    if some.any():
        lines = rows[LINE][some]
        count = int(gaps[some].to_numpy().sum())
        findings.info(
            "missing-values", f"lack {count:,} values of regions; those that were measured are used.", rows=lines
        )
    if nothing.any():
        said = "no region was measured; their times and covariates are used."
        findings.info("no-region", said, rows=rows[LINE][nothing])
    return rows


def _lost(rows: pd.DataFrame, lacking: pd.Series) -> str:
    """How many subjects have fewer than two visits left of those with two."""
    before = int((rows["subject"].value_counts() >= 2).sum())
    after = int((rows["subject"][~lacking].value_counts() >= 2).sum())
    return f"Subjects with two visits or more: {before:,} before, {after:,} after."


def _say_gaps(rows: pd.DataFrame, gaps: pd.DataFrame, schema: Schema, missing: Missing, findings: Findings) -> None:
    """A few columns that cost many visits, and what to do about them."""
    some = ~gaps.all(axis=1)
    if missing == "impute":
        count = int(gaps[some].to_numpy().sum())
        findings.info(
            "imputed",
            f"{count:,} missing values of regions are filled with the subject's last value or the mean: they count "
            "as data, and a log-likelihood is not that of an observation. --missing model fills nothing.",
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
                f"{','.join(costly[:12])}, or --missing model.",
                costly[0],
            )
