"""Findings about subjects, times and ages."""

from __future__ import annotations

from crow.cohort.findings import Kind

# Subject, time and age
MIXED_DATE_ORDER = Kind(
    "mixed-date-order", "warning", "Some dates have the day first, others the month.",
    "most dates are {order}; these have another order and were not read. Write all dates as 2011-03-05.",
)  # fmt: skip
NUMBERED_DATE = Kind(
    "numbered-date", "warning", "Dates are numbers of days or seconds.",
    "numbers were read as dates, {what}, by their size: {example}. The times between visits do not depend on it.",
)  # fmt: skip
PLACEHOLDER_DATE = Kind(
    "placeholder-date", "warning", "A date stands for a missing one.",
    "{codes} is far from all other dates and was read as missing. Correct the cells, or empty them.",
)  # fmt: skip
UNREAD_TIME = Kind(
    "unread-time", "warning", "A column has the name of a date or an age, but its cells cannot be read as one.",
    "cells such as {example} are no {what} that can be read, so the column is left out. {remedy}",
)  # fmt: skip
DATE_BY_VALUES = Kind(
    "date-by-values", "warning", "A column was found to be the date of the visit by its values.",
    "the only column of dates that change within subjects, so it is the time; if not, name another with --time COLUMN.",
)  # fmt: skip
DATE_ORDER_FOUND = Kind(
    "date-order-found", "info", "Day and month were separated by other columns.",
    "no day above 12 shows which comes first; {order} agrees with {reason}.",
)  # fmt: skip
VISIT_CODES = Kind(
    "visit-codes", "info", "Labels of visits are those of a study.",
    "read as ABCD's labels: 02A is year 2, 02M the middle of the year that follows it (2.5 years).",
)  # fmt: skip
SUBJECT = Kind(
    "subject", "info", "Several columns name the same subjects.", "{names} name the same subjects; {first} was used."
)
SUBJECT_FOUND = Kind(
    "subject-found", "warning", "A column was found to name the subjects by its values.",
    "taken as the subject, because each value stands in a few rows; if that is wrong, add --subject COLUMN.",
)  # fmt: skip
SUBJECT_WRITINGS = Kind(
    "subject-writings", "warning", "One subject is written in several ways.",
    "{count:,} subjects are written in several ways ({example}) and were read as one. If they are different subjects, "
    "write them clearly apart.",
)  # fmt: skip
MIXED_SUBJECTS = Kind(
    "mixed-subjects", "warning", "Rows of several subjects have one name.",
    "has several values in {count:,} of {total:,} subjects ({subject}), so their rows may belong to several subjects. "
    "{remedy}",
)  # fmt: skip
DATE_ORDER = Kind(
    "date-order", "warning", "Day and month cannot be separated.",
    "no day above 12 shows which comes first; dates were read as {order}.",
)  # fmt: skip
TIME_UNIT = Kind(
    "time-unit", "info", "The unit of the time was decided by its size.",
    "by its size, it holds {what}; if not, add --time-kind.",
)  # fmt: skip
TIME_DISAGREES = Kind(
    "time-disagrees", "warning", "Two time columns contradict each other.",
    "{other} and {best} differ by more than half a year; {best} was used.",
)  # fmt: skip
SEVERAL_TIMES = Kind(
    "several-times", "warning", "Several ages could be the time, and they differ by a year at most.",
    "{best} has most visits ({count:,}) and was used as the time, not {others}; choose another with --time {flag}.",
)  # fmt: skip
NO_AGE = Kind(
    "no-age", "info", "There is no age.", "no age column was found; name it with --age COLUMN if there is one."
)
SEVERAL_AGES = Kind(
    "age", "info", "Several columns are ages.", "{names} are ages; {first} was used; choose another with --age COLUMN."
)
AGE_UNIT = Kind(
    "age-unit", "warning", "Ages are not in years.",
    "ages are in {unit} ({reason}) and were converted to years; if that is wrong, add --age-unit.",
)  # fmt: skip
WRITTEN_AGES = Kind(
    "written-ages", "info", "Ages have a unit in every cell.",
    "ages with units were converted to years: {example} is {years}.",
)  # fmt: skip
AGE_FROM_BIRTH = Kind(
    "age-from-birth", "info", "Ages were computed from the birth and the date of the visit.",
    "the age was computed from {birth} and {date} ({exact}).",
)  # fmt: skip
AGE_AGAINST_BIRTH = Kind(
    "age-against-birth", "warning", "Ages contradict the birth and the date of the visit.",
    "the age differs from the time between birth and visit by more than a year. Correct the age or one of the dates.",
)  # fmt: skip
AGE_BY_GROWTH = Kind(
    "age-by-growth", "info", "A column was found to be an age by its growth.",
    "grows by one per year, so it is the age; if not, name another with --age COLUMN.",
)  # fmt: skip
BASELINE_AGE = Kind(
    "baseline-age", "warning", "The age is the age at baseline.",
    "the age is the same at all visits of a subject, so it is the age at baseline; the age at a visit is this age plus "
    "the years since baseline.",
)  # fmt: skip
WHOLE_AGE = Kind(
    "whole-age", "info", "Ages in whole years were made exact by the time.",
    "ages are in whole years; the age at a visit is the age at the first visit plus the exact time since.",
)  # fmt: skip
AGE_RANGE = Kind(
    "age-range", "warning", "An age is negative or above 120 years.",
    "ages outside 0 to 120 years ({values}). Correct the cells, or set the column's unit in a mapping.",
)  # fmt: skip
FUTURE_DATE = Kind(
    "future-date", "warning", "A visit lies in the future.", "dates after today ({cells}). Correct the cells."
)
EARLY_DATE = Kind(
    "early-date", "warning", "A visit lies before any study.", "dates before {year} ({cells}). Correct the cells."
)
TWO_DIGIT_YEAR = Kind(
    "two-digit-year", "warning", "Years have two digits.",
    "years have two digits and were read as {first} to {last}. Write four digits.",
)  # fmt: skip
LONG_FOLLOW_UP = Kind(
    "long-follow-up", "warning", "Visits of one subject lie more than 40 years apart.",
    "more than {years:g} years after the subject's first visit. Correct the times.",
)  # fmt: skip
