"""Findings about numbers and values."""

from __future__ import annotations

from crow.cohort.findings import Kind

# Numbers
MISSING_CODE = Kind("missing-code", "info", "Negative codes mean missing.", "{codes} was read as missing.")
UNDECLARED_CODE = Kind(
    "undeclared-code", "warning", "A number far from all others means missing.",
    "{codes} lies far from all other values and was read as missing; if it is a value, set missing: [] in a mapping.",
)  # fmt: skip
DOUBTFUL_CODE = Kind(
    "doubtful-code", "warning", "A number may mean missing.",
    "{codes} was kept as a value; if it means missing, add --missing-code {first}.",
)  # fmt: skip
TEXT_CODE = Kind(
    "text-code", "warning", "Words stand for missing numbers.",
    "words in columns of numbers were read as missing: {cells}.",
)  # fmt: skip
CENSORED = Kind("censored", "warning", "A number is a bound.", "a bound such as {example} was read as the number.")
BOUNDED_TIME = Kind(
    "bounded-time", "warning", "Visits have a bound instead of an age.",
    "the time is a bound (such as 89+), the same at several visits of a subject, so the time between them is unknown; "
    "the first complete visit was kept. Give exact ages or dates.",
)  # fmt: skip
IMPOSSIBLE_NUMBER = Kind(
    "impossible-number", "warning", "A number is beyond any measurement.",
    "numbers beyond any measurement ({values}) were read as missing. Correct the cells.",
)  # fmt: skip
DECIMAL_COMMA = Kind("decimal-comma", "info", "Numbers have a decimal comma.", "numbers have a decimal comma: {names}.")
UNITS = Kind(
    "units", "warning", "Cells have a unit.",
    "cells have a unit, such as {example}; they were read in the unit {unit}{other}. Put the unit into the name.",
)  # fmt: skip
MIXED_DECIMALS = Kind(
    "mixed-decimals", "warning", "Some columns have a decimal comma, others a decimal point.",
    "decimal commas in {commas}, decimal points in {points}; each column was read by its own mark.",
)  # fmt: skip
THOUSANDS = Kind(
    "thousands",
    "info",
    "Numbers have thousands separators.",
    "thousands separators were removed ({examples}): {names}.",
)
AMBIGUOUS_MARK = Kind(
    "ambiguous-mark", "warning", "A mark may be a decimal or a thousands separator.",
    "in {example}, the mark may be a decimal or a thousands separator; it was read as {value}. If that is wrong, set "
    "decimal in a mapping.",
)  # fmt: skip

# Values
OUTLIER = Kind(
    "outlier", "warning", "A value lies far from all others.",
    "far from all other values: {cells}. Correct or empty the cells if they are errors.",
)  # fmt: skip
OUTLYING_CHANGE = Kind(
    "outlying-change", "warning", "A value changes much faster than in other subjects.",
    "changes within a subject far faster than others: {cells}. Correct or empty the cells if they are errors.",
)  # fmt: skip
UNIT_FACTOR = Kind(
    "unit-factor", "warning", "Some values are in another unit.",
    "{count}{where}, {factor:g} times {size} than all others, probably in another unit. {remedy} The values: {cells}.",
)  # fmt: skip
NOT_POSITIVE = Kind(
    "not-positive", "warning", "A volume is zero or negative.",
    "zero or negative where all other values are positive: {cells}. {remedy}",
)  # fmt: skip
CONTRADICTION = Kind(
    "contradiction", "warning", "A constant covariate changes within a subject.",
    "changes within {subjects:,} subjects, though it is constant in all others: {cells}. {remedy}",
)  # fmt: skip
COPIED_ROW = Kind(
    "copied-row", "warning", "Several visits have exactly the same values.",
    "all regions have exactly the same values as in another visit ({pairs}). Correct or remove the copies.",
)  # fmt: skip
FIXED = Kind(
    "fixed", "warning", "Cells were changed by --fix.", "{count:,} cells were changed ({what}); --out writes the log."
)
