"""Zero and negative values of volumes."""

from __future__ import annotations

import numpy as np

from crow.cohort.catalogue import NOT_POSITIVE
from crow.cohort.checks.rows_by_subject import RowsBySubject, is_measurement
from crow.cohort.parameters import MIN_POSITIVE_SHARE, MIN_POSITIVE_SIZE, MIN_VALUES


def check_positive(rows: RowsBySubject) -> None:
    """A finding per column that is positive and far from zero but for a few cells; ``fix`` empties these."""
    for name in rows.numeric:
        values = rows.values(name)
        known = np.isfinite(values)
        positive = values[known & (values > 0)]
        if len(positive) < max(MIN_VALUES, MIN_POSITIVE_SHARE * known.sum()) or len(positive) == known.sum():
            continue
        least = np.quantile(positive, 0.005, method="linear")
        if least < MIN_POSITIVE_SIZE * np.median(positive) or not is_measurement(positive):
            continue
        where = known & (values <= 0)
        cells = rows.cells(name, where)
        if rows.fix:
            rows.change(name, where, np.full(len(values), np.nan), NOT_POSITIVE.code)
        else:
            rows.mark(name, where)
        remedy = "--fix emptied the cells." if rows.fix else "Correct the cells; --fix empties them."
        rows.findings.add(NOT_POSITIVE, name, rows.lines[where], cells=cells, remedy=remedy)
