"""Values far from all others, and changes within a subject far faster than all others."""

from __future__ import annotations

import numpy as np

from crow.cohort.catalogue import OUTLIER, OUTLYING_CHANGE
from crow.cohort.checks.rows_by_subject import Floats, Mask, RowsBySubject
from crow.cohort.parameters import (
    MAX_CHANGE_DEVIATION,
    MAX_LEVEL_DEVIATION,
    MIN_CHANGE_INTERVAL,
    MIN_LEVELS,
    MIN_VALUES,
)

NORMAL = 1.4826
"""Standard deviations of a normal distribution in median absolute deviations."""


def check_outliers(rows: RowsBySubject) -> None:
    """A finding per column with outliers of level, and one with outliers of change per year."""
    for name in rows.numeric:
        values = rows.values(name)
        if np.isfinite(values).sum() < MIN_VALUES:
            continue
        level = outlying_levels(values)
        if level.any():
            rows.findings.add(OUTLIER, name, rows.lines[level], cells=rows.cells(name, level))
            rows.mark(name, level)
        change = outlying_changes(np.where(level, np.nan, values), rows.years, rows.who)
        if change.any():
            rows.findings.add(OUTLYING_CHANGE, name, rows.lines[change], cells=rows.cells(name, change))


def deviations(values: Floats) -> Floats:
    """Distances from the median in robust standard deviations of each side; NaN if more than half are equal.

    ``values`` has no NaN.
    """
    middle = np.median(values)
    apart = values - middle
    below, above = apart[apart <= 0], apart[apart >= 0]
    scale = np.where(apart < 0, NORMAL * np.median(-below), NORMAL * np.median(above))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(scale > 0, apart / scale, np.nan)


def outlying_levels(values: Floats) -> Mask:
    """Values beyond the limit, on the scale of the values and, if all are positive, on that of their logarithms too."""
    known = values[np.isfinite(values)]
    low, high = known.min(), known.max()
    lower, middle, upper = np.quantile(known, [0.25, 0.5, 0.75], method="linear")
    if max(high - middle, middle - low) < MAX_LEVEL_DEVIATION / 2 * (upper - lower):
        return np.zeros(len(values), bool)
    outlying = np.zeros(len(values), bool)
    if not has_levels(known, MIN_LEVELS):
        return outlying
    far = np.abs(deviations(known)) > MAX_LEVEL_DEVIATION
    if low > 0 and far.any():
        far &= np.abs(deviations(np.log(known))) > MAX_LEVEL_DEVIATION
    outlying[np.isfinite(values)] = far
    return outlying


def has_levels(values: Floats, least: int) -> bool:
    """Whether there are ``least`` different values; most columns show that in their first cells."""
    return len(np.unique(values[: 100 * least])) >= least or len(np.unique(values)) >= least


def outlying_changes(values: Floats, years: Floats, who: np.ndarray) -> Mask:
    """The values that a change per year beyond the limit leads to or, at a subject's first visit, comes from."""
    outlying = np.zeros(len(values), bool)
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < MIN_VALUES:
        return outlying
    same = who[known][1:] == who[known][:-1]
    rate = np.diff(values[known]) / np.maximum(np.diff(years[known]), MIN_CHANGE_INTERVAL)
    rated = same & ~np.isnan(rate)
    if rated.sum() < MIN_VALUES or not has_levels(rate[rated], MIN_LEVELS):
        return outlying
    fast = np.zeros(len(rate), bool)
    fast[rated] = np.abs(deviations(rate[rated])) > MAX_CHANGE_DEVIATION
    if not fast.any():
        return outlying
    into, out_of = np.r_[False, fast], np.r_[fast, False]
    starts, ends = np.r_[True, ~same], np.r_[~same, True]
    spike = into & out_of
    beside = np.r_[spike[1:], False] | np.r_[False, spike[:-1]]
    first = starts & out_of & ~ends & ~np.r_[into[1:] & out_of[1:], False]
    after_first = np.r_[False, first[:-1]]
    outlying[known] = spike | first | (into & ~beside & ~after_first)
    return outlying
