"""Visits with exactly the same measurements: copied rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crow.cohort.catalogue import COPIED_ROW
from crow.cohort.checks.rows_by_subject import RowsBySubject
from crow.cohort.parameters import MIN_DISTINCT_SHARE

MAX_PAIRS = 5


def check_copies(rows: RowsBySubject) -> None:
    """One finding for all visits that equal another one in two or more measurements with many different values."""
    regions = rows.rows[rows.schema.regions].iloc[rows.order].reset_index(drop=True)
    count = regions.notna().sum()
    varied = [name for name in regions if regions[name].nunique() > MIN_DISTINCT_SHARE * max(int(count[name]), 1)]
    regions = regions[varied]
    full = np.flatnonzero(regions.notna().sum(axis=1).to_numpy() >= 2)
    if len(full) < 2:
        return
    digest = pd.util.hash_pandas_object(regions.iloc[full], index=False)
    copied = digest.duplicated(keep=False).to_numpy()
    if not copied.any():
        return
    groups = pd.Series(rows.lines[full][copied]).groupby(digest[copied].to_numpy()).apply(lambda lines: sorted(lines))
    lines = sorted(groups)
    pairs = "; ".join(f"lines {' and '.join(map(str, group[:4]))}" for group in lines[:MAX_PAIRS])
    more = f"; and {len(lines) - MAX_PAIRS:,} more" if len(lines) > MAX_PAIRS else ""
    rows.findings.add(COPIED_ROW, rows=rows.lines[full][copied], pairs=pairs + more)
