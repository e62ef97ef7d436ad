"""Values that no model can compute with: each is refused with its column, what was found and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from crow.cohort.options import listed
from crow.cohort.value_kinds import ValueKind
from crow.errors import CohortError

MAX_IMPOSSIBLE = 0.1  # of the values of a region: below, they are gross errors
LARGEST = 1e100
SMALLEST_SPREAD = 1e-10  # of the largest value: below it, differences are errors of rounding
FARTHEST = 1e9  # standard deviations: beyond it, squares lose all digits of single precision
LONGEST = 200  # years
UNIT_FACTORS = (10.0, 100.0, 1000.0, 1_000_000.0)
MAX_UNIT_DEVIATION = 0.2  # of a ratio from such a factor, in powers of ten
MIN_UNIT_SHARE = 0.6  # of values
MIN_UNIT_SDS = 2.0  # mean of a region in its sds, for its values to tell the unit


def check_spread(values: pd.DataFrame, where: str) -> None:
    """Raise CohortError if the training values of a region are all the same, or as good as the same."""
    if (flat := values.nunique() < 2).any():
        name = values.columns[flat][0]
        raise CohortError(
            f"{where}, column {name}: found one value only in the {len(values)} training visits. Leave the region out "
            f"(--exclude '{name}')."
        )
    largest = values.abs().max()
    if (close := values.std() <= np.maximum(SMALLEST_SPREAD * largest, 1 / LARGEST)).any():
        name = values.columns[close][0]
        raise CohortError(
            f"{where}, column {name}: its values are as good as equal: their sd is {values[name].std():.2g}, their "
            f"largest {largest[name]:.2g}. Use larger units, or leave the region out (--exclude '{name}')."
        )


def check_kind(values: pd.Series, kind: ValueKind, where: str) -> None:
    """Few impossible values are errors; many are a table that was changed after reading, as by standardising it."""
    outside = ~kind.allows(values.to_numpy(float))
    if outside.sum() > MAX_IMPOSSIBLE * values.notna().sum():
        raise CohortError(
            f"{where}, column {values.name}: {outside.sum():,} values, such as {values[outside].iloc[0]:g}, are "
            f"impossible, since its values are {kind}. If the table was changed after it was read, read the changed "
            "table; else set the kind of the column in a mapping."
        )


def check_size(values: pd.DataFrame, where: str) -> None:
    """Raise CohortError for a value whose square is not finite."""
    if (vast := values.abs().max() > LARGEST).any():
        name = values.columns[vast][0]
        column = values[name].to_numpy()
        found = column[np.nanargmax(np.abs(column))]
        raise CohortError(
            f"{where}, column {name}: found {found:g}, too large to compute with. Correct the value or empty its cell."
        )


def check_near(values: pd.Series, mean: float, sd: float, visits: pd.DataFrame, where: str) -> None:
    """Raise CohortError for a value that is very far from those of the training."""
    far = ((values - mean).abs().to_numpy(float) / sd) > FARTHEST
    if far.any():
        subject, time = visits[["subject", "time"]].iloc[int(far.argmax())]
        raise CohortError(
            f"{where}: subject {subject}, time {time:g}, column {values.name}: found {values[far].iloc[0]:g}, but the "
            f"training visits lie around {mean:g} with an sd of {sd:g}. Correct the value or empty its cell."
        )


def check_order(visits: pd.DataFrame, subject: np.ndarray[Any, Any], names: pd.Index, where: str) -> None:
    """Raise CohortError if visits are not sorted by subject and time, or if a time is out of range."""
    if visits.empty:
        raise CohortError(f"{where}: holds no visit.")
    if visits["time"].max() > LONGEST:
        name, time = visits[["subject", "time"]].iloc[int(visits["time"].argmax())]
        raise CohortError(
            f"{where}: subject {name}: {time:g} years after the first visit; crow takes up to {LONGEST}. Where the "
            "table counts months or days, say so with --time-kind."
        )
    step, apart = np.diff(visits["time"].to_numpy(float)), np.diff(subject)
    if (apart < 0).any() or not (step[apart == 0] > 0).all():
        late = np.flatnonzero((apart < 0) | ((apart == 0) & ~(step > 0)))[0] + 1
        raise CohortError(
            f"{where}: subject {names[subject[late]]}, time {visits['time'].iloc[late]:g}: visits have to be sorted by "
            "subject and time, each time once. Sort them, and take out what stands twice."
        )


def require_units(
    visits: pd.DataFrame, regions: list[str], median: list[float], mean: list[float], sd: list[float], where: str
) -> None:
    """Raise CohortError if the values of a region are those of the training times a factor between units."""
    found = {}
    for d, name in enumerate(regions):
        values = visits[name].dropna().to_numpy(float)
        if not len(values) or not median or median[d] <= 0 or mean[d] < MIN_UNIT_SDS * sd[d]:
            continue
        power = np.log10(np.abs(values).clip(1e-300) / median[d])
        for factor in UNIT_FACTORS:
            same = np.abs(np.abs(power) - np.log10(factor)) < MAX_UNIT_DEVIATION
            if same.mean() > MIN_UNIT_SHARE and (np.sign(power[same]) == np.sign(power[same][0])).all():
                found[name] = (len(values), float(np.median(values)), median[d], factor, power[same][0] > 0)
    # One value alone may be a typing error; several regions of one visit that agree are not.
    if sum(count for count, *_ in found.values()) < 2:
        return
    name, (_, value, usual, factor, larger) = next(iter(found.items()))
    others = f" The same holds for {listed(list(found)[1:])}." if len(found) > 1 else ""
    raise CohortError(
        f"{where}, column {name}: its values (median {value:g}) are about {factor:,.0f} times "
        f"{'larger' if larger else 'smaller'} than in the training (median {usual:g}): other units, such as "
        f"cm³ and mm³. Convert the column.{others}"
    )
