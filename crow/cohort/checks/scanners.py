"""Scanners and sites that change with time only, so that their effects cannot be separated from those of time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crow.cohort.catalogue import SCANNER_FOLLOWS_TIME
from crow.cohort.checks.rows_by_subject import RowsBySubject
from crow.cohort.options import listed
from crow.cohort.parameters import MIN_SCANNER_CHANGES, MIN_SHARE


def check_scanners(rows: RowsBySubject) -> None:
    """A finding per scanner or site that many subjects change, and always in the same direction."""
    for name in rows.schema.sites:
        words = pd.Series(rows.words(name))
        known = words.notna().to_numpy()
        level, who = words[known].astype(str).to_numpy(), rows.who[known]
        same = who[1:] == who[:-1]
        several = len(np.unique(who[1:][same]))
        changed = same & (level[1:] != level[:-1])
        share = len(np.unique(who[1:][changed])) / max(several, 1)
        if share < MIN_SCANNER_CHANGES:
            continue
        steps = pd.Series(list(zip(level[:-1][changed], level[1:][changed], strict=True))).value_counts()
        backwards = sum(min(count, steps.get((new, old), 0)) for (old, new), count in steps.items()) / 2
        if backwards > (1 - MIN_SHARE) * steps.sum():
            continue
        change = listed((f"from {old} to {new}" for old, new in steps.index), 3)
        rows.findings.add(SCANNER_FOLLOWS_TIME, name, share=share, change=change)
