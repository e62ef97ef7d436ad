"""Values in another unit: a factor of 10 or 1,000 between sites, visits, subjects or cells of one column."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from crow.cohort.catalogue import UNIT_FACTOR
from crow.cohort.checks.rows_by_subject import Floats, Mask, RowsBySubject, is_measurement
from crow.cohort.options import counted
from crow.cohort.parameters import (
    MAX_UNIT_DEVIATION,
    MIN_SHARE,
    MIN_UNIT_GAP,
    MIN_VALUES,
    SAFE_UNIT_SHARE,
    UNIT_FACTORS,
)


class OtherUnit(NamedTuple):
    """The smaller group of values, and the factor that brings it to the others."""

    where: Mask
    factor: float


def check_units(rows: RowsBySubject) -> None:
    """A finding per column whose values form two groups a factor apart; ``fix`` converts the smaller group."""
    for name in rows.numeric:
        values = rows.values(name)
        other = find_other_unit(values)
        if other is None:
            continue
        share = other.where.sum() / np.isfinite(values).sum()
        safe = share <= SAFE_UNIT_SHARE
        if other.factor >= 1:
            convert, size = f"multiply them by {other.factor:g}", "smaller"
        else:
            convert, size = f"divide them by {1 / other.factor:g}", "larger"
        if safe and rows.fix:
            rows.change(name, other.where, values * other.factor, UNIT_FACTOR.code)
            remedy = f"--fix did {convert}."
        else:
            remedy = f"--fix would {convert}." if safe else "Convert one of the two groups."
            rows.mark(name, other.where)
        rows.findings.add(
            UNIT_FACTOR,
            name,
            rows.lines[other.where],
            count=counted(int(other.where.sum()), "value"),
            cells=rows.cells(name, other.where),
            factor=max(other.factor, 1 / other.factor),
            size=size,
            where=_explained(rows, other.where, np.isfinite(values)),
            remedy=remedy,
        )


def find_other_unit(values: Floats) -> OtherUnit | None:
    """The smaller of two groups of positive values with a wide gap, if a unit's factor maps it into the other."""
    positive = np.isfinite(values) & (values > 0)
    if positive.sum() < MIN_VALUES:
        return None
    logs = np.sort(np.log10(values[positive]))
    gaps = np.diff(logs)
    cut = int(gaps.argmax())
    if gaps[cut] < MIN_UNIT_GAP or not is_measurement(values[positive]):
        return None
    low, high = logs[: cut + 1], logs[cut + 1 :]
    minor, major, sign = (low, high, 1) if len(low) <= len(high) else (high, low, -1)
    for factor in UNIT_FACTORS:
        moved = minor + sign * np.log10(factor)
        inside = (moved >= major[0] - MAX_UNIT_DEVIATION) & (moved <= major[-1] + MAX_UNIT_DEVIATION)
        near = abs(np.median(moved) - np.median(major)) <= max(MAX_UNIT_DEVIATION, (major[-1] - major[0]) / 2)
        if near and inside.mean() >= MIN_SHARE:
            threshold = 10 ** ((low[-1] + high[0]) / 2)
            with np.errstate(invalid="ignore"):
                where = positive & (values < threshold if sign > 0 else values > threshold)
            return OtherUnit(where, factor if sign > 0 else 1 / factor)
    return None


def _explained(rows: RowsBySubject, where: Mask, known: Mask) -> str:
    """Which sites, visits or subjects hold the values, if all of theirs are among them."""
    visit = pd.Series(rows.who).groupby(rows.who).cumcount().to_numpy() + 1
    groups: list[tuple[str, np.ndarray]] = [(site, rows.words(site)) for site in rows.schema.sites]
    for label, group in (*groups, ("visit", visit)):
        table = pd.DataFrame({"group": group, "where": where})[known]
        share = table.groupby("group")["where"].mean()
        full = share.index[share >= MIN_SHARE]
        if len(full) and table["group"][table["where"]].isin(full).mean() >= MIN_SHARE:
            return f" (all at {label} {', '.join(map(str, full[:4]))})"
    subjects = pd.Series(where[known]).groupby(rows.who[known]).mean()
    alone = int((subjects >= MIN_SHARE).sum())
    return f" (all values of {alone:,} subjects)" if alone and where.sum() >= 2 * alone else ""
