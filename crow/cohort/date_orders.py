"""Whether the day or the month comes first in dates that do not tell it themselves, by the ages and the rows."""

from __future__ import annotations

import pandas as pd

from crow.cohort import names
from crow.cohort.columns import Columns
from crow.cohort.dates import DateOrder
from crow.cohort.parameters import MAX_AGE
from crow.cohort.times import DAYS_PER_YEAR

NEAR = 0.25
"""Years by which an age with decimals may differ from the dates."""
CLEAR = 2
"""Rows by which one order must agree better than the other."""


def order_by_others(columns: Columns, name: str, who: pd.Series, guess: DateOrder) -> tuple[DateOrder, str | None]:
    """The order that agrees with the ages, else with the order of the rows; the guess and None if neither tells."""
    orders: tuple[DateOrder, ...] = ("mdy", "dmy")
    years = {order: _years(columns, name, order) for order in orders}
    for other in columns.names:
        if other != name and names.is_age(other) and columns.is_number(other):
            ages = columns.numbers(other).values
            if ages.max() <= MAX_AGE and (ages.dropna() % 1 != 0).any():
                wrong = {order: _apart(years[order] - ages, who) for order in orders}
                if (found := _clearly(wrong)) is not None:
                    return found, f"the ages in {other}"
    back = {order: int((years[order].groupby(who).diff() < 0).sum()) for order in orders}
    if min(back.values()) == 0 and (found := _clearly(back)) is not None:
        return found, "the order of the rows"
    return guess, None


def _years(columns: Columns, name: str, order: DateOrder) -> pd.Series:
    return (columns.times(name, "date", order) - pd.Timestamp(2000, 1, 1)) / pd.Timedelta(days=DAYS_PER_YEAR)


def _apart(born: pd.Series, who: pd.Series) -> int:
    """The rows where the time of birth differs from the subject's own middle."""
    return int(((born - born.groupby(who).transform("median")).abs() > NEAR).sum())


def _clearly(wrong: dict[DateOrder, int]) -> DateOrder | None:
    best, worst = sorted(wrong, key=lambda order: wrong[order])
    return best if wrong[worst] - wrong[best] >= CLEAR and wrong[worst] > 3 * wrong[best] else None
