"""What an age is counted in: years, or the months, weeks and days of studies of children."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from crow.cohort.catalogue import AGE_UNIT
from crow.cohort.findings import Findings
from crow.cohort.names import normal
from crow.cohort.times import AGES_PER_YEAR, AgeUnit
from crow.errors import CohortError

MAX_YEARS = 120
MAX_OUTLYING = 2.5
"""Largest age, in ages that 95 % do not exceed, that is no error."""
WORDS: dict[AgeUnit, re.Pattern[str]] = {
    "months": re.compile(r"(.*_)?(months?|mos?|mth|mths|monate?|mois|meses|interview_age)(_.*)?"),
    "weeks": re.compile(r"(.*_)?(weeks?|wks?)(_.*)?"),
    "days": re.compile(r"(.*_)?(days?|tage)(_.*)?"),
    "years": re.compile(r"(.*_)?(years?|yrs?|jahre?|ans?|annees?|anos)(_.*)?"),
}
SYMBOLS: dict[str, AgeUnit] = {"y": "years", "a": "years", "yo": "years", "m": "months", "w": "weeks", "d": "days"}
NEAR = 1.5


def unit_of_words(text: str) -> AgeUnit | None:
    """The unit in a name or a description: ``age_mo``, ``interview_age``, ``Age in months at ...``."""
    words = normal(text)
    found = [(match.start(2), unit) for unit, pattern in WORDS.items() if (match := pattern.fullmatch(words))]
    return min(found)[1] if found else None


def unit_of(text: str) -> AgeUnit | None:
    """The unit that a description gives, in words or as a symbol (``d``)."""
    return SYMBOLS.get(text.strip().lower().rstrip(".")) or unit_of_words(text)


def age_unit(
    path: str,
    name: str,
    values: pd.Series,
    who: pd.Series,
    known: Mapping[str, AgeUnit],
    clocks: Mapping[str, pd.Series],
    labels: Mapping[str, pd.Series],
    findings: Findings,
) -> AgeUnit:
    """The unit of an age: from ``known`` (a sidecar, a layout), the name, its growth, or its size.

    ``clocks`` are times in years that are sure, ``labels`` times in years that the labels of visits hint at. Raises
    CohortError if only the labels speak against years: they are a hint, and the user knows.
    """
    told = known.get(name) or unit_of_words(name)
    if told is not None:
        _report(name, told, "as the table describes it" if name in known else "by its name", findings)
        return told
    for other, years in clocks.items():
        if (grown := _unit_of_growth(values, years, who)) is not None:
            _report(name, grown, f"they grow by {AGES_PER_YEAR[grown]:g} per year of {other}", findings)
            return grown
    largest = float(values.max())
    typical = float(values.quantile(0.95, interpolation="linear"))
    if largest > MAX_OUTLYING * max(typical, 1.0) and typical <= MAX_YEARS:
        largest = typical  # a few cells are errors, and do not decide about the column
    if largest > MAX_YEARS:
        unit: AgeUnit = "months" if largest <= MAX_YEARS * 12 else "days"
        _report(name, unit, f"they reach {largest:g}, which is no age in years", findings)
        return unit
    for other, years in labels.items():
        hinted = _unit_of_growth(values, years, who)
        if hinted not in (None, "years"):
            raise CohortError(
                f"{path}, column {name}: grows by {AGES_PER_YEAR[hinted]:g} per year that the labels in {other} tell, "
                f"so it may hold {hinted} and not years. Add --age-unit {hinted} or --age-unit years, or write "
                f'{{"{name}": {{"Units": "{hinted}"}}}} into a JSON file beside the table.'
            )
    return "years"


def _report(name: str, unit: AgeUnit, reason: str, findings: Findings) -> None:
    if unit != "years":
        findings.add(AGE_UNIT, name, unit=unit, reason=reason)


def _unit_of_growth(values: pd.Series, years: pd.Series, who: pd.Series) -> AgeUnit | None:
    """The unit in which an age grows as fast as time passes; None if it does not move, or like none."""
    both = values.notna() & years.notna()
    ages, times = values[both].groupby(who[both]), years[both].groupby(who[both])
    grown, spent = ages.max() - ages.min(), times.max() - times.min()
    moving = (spent > 0) & (grown > 0)
    if moving.sum() < max(1, len(spent[spent > 0]) / 2):
        return None
    ratio = float(grown[moving].sum() / spent[moving].sum())
    return next((unit for unit, per_year in AGES_PER_YEAR.items() if 1 / NEAR < ratio / per_year < NEAR), None)
