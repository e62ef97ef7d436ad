"""Every constant that decides how a table is read. Shares are between 0 and 1."""

from __future__ import annotations

# Text files
MAX_CELL = 100_000
"""Characters of one cell; a longer one is an unbalanced quote or no table."""
MAX_TABLE_BYTES = 2**31
"""Size of a table; a larger file is refused before it is read."""
MAX_COLUMNS = 20_000
"""Columns of a table; more are voxels or genes, and reading their meaning would take minutes."""

# Columns of numbers
MIN_NUMBER_SHARE = 0.8
"""Share of filled cells that must be numbers for a column of numbers; the others are then text by mistake."""
MIN_CODED_NUMBER_SHARE = 0.3
"""The same share if the other cells repeat a few words without a digit (``not done``)."""
MAX_TEXT_CODES = 5
"""Different words that such a column may hold."""
MAX_NUMBER = 1e30
"""Numbers beyond it (10^99) are never measurements."""

# Codes for missing
NEGATIVE_CODES = (-1.0, -4.0, -7.0, -8.0, -9.0, -88.0, -99.0, -888.0, -999.0, -8888.0, -9999.0, -99999.0, -999999.0)
"""Missing in columns without any other negative number."""
NEARBY_CODES = (-1.0, -4.0, -7.0, -8.0, -9.0)
"""Of these, those that can be real times, such as the day before baseline."""
POSITIVE_CODES = (
    9.0, 88.0, 99.0, 777.0, 888.0, 999.0, 7777.0, 8888.0, 9999.0, 88888.0, 99999.0, 888888.0, 999999.0, 9999999.0,
)  # fmt: skip
"""Missing if far from every other value."""
MIN_CODE_RANGES = 0.5
"""Distance of a code from the nearest other value, in ranges of the other values."""
MIN_CODE_QUARTILES = 3.0
"""The same in interquartile ranges; either is enough."""
MIN_SMALL_CODE_RANGES = 2.0
"""The distance for codes of one digit."""
MIN_CODE_REPEATS = 3
"""A code within the range must repeat so often ..."""
MIN_CODE_SPIKE = 5.0
"""... and so many times as often as the most frequent other value of a column of measurements."""
MIN_STRANGE_RANGES = 3.0
"""Distance at which any repeated value is a code, in ranges of the other values."""

# Roles
MAX_LEVELS = 20
"""Levels of a categorical covariate."""
MIN_IDENTITY_SUBJECTS = 10
"""Subjects from which one level per subject is an identity, not a covariate."""
MIN_SHARE = 0.95
"""Share of rows or subjects that must behave alike for a role that values decide (row number, counter, age)."""
MIN_FUTURE_SUBJECTS = 0.9
"""Share of subjects whose constant value lies beyond their last visit, for a column that knows the future."""
MIN_FUTURE_CORRELATION = 0.9
"""Rank correlation with the age at the last visit or the follow-up, if the name does not tell it."""
MAX_FUTURE_YEARS = 10.0
"""Years by which such an age may lie after the last visit (median)."""
MAX_FUTURE_EXCESS = 0.25
"""What such a time may be longer than the follow-up (median), in follow-ups."""
MAX_FAMILY_SHARE = 0.2
"""Largest share of the subjects in one family; a larger group is no family."""
MAX_AGE = 120.0
"""Years."""
MAX_AGE_DEVIATION = 0.3
"""Years by which a fractional age may deviate from steady growth; whole years may deviate by 1."""

# Times
MAX_AGE_DISAGREEMENT = 1.01
"""Years by which ages and dates may differ."""
MAX_FOLLOW_UP = 40.0
"""Years between two visits of a subject."""
FIRST_YEAR = 1950
"""Year of the earliest plausible visit; if most visits are earlier, all dates are shifted."""
MIN_PLACEHOLDER_YEARS = 15.0
"""Years between all other dates and one such as 1900-01-01 or 9999-12-31 that then means missing."""
MAX_ERROR_SHARE = 0.5
"""Share of visits from which strange dates are no errors but the cohort's own."""

# Values
MIN_VALUES = 30
"""Values of a column from which outliers and units are looked for."""
MAX_LEVEL_DEVIATION = 10.0
"""Robust standard deviations of a level from the median, each side with its own."""
MAX_CHANGE_DEVIATION = 12.0
"""Robust standard deviations of a change per year from the median change."""
MIN_CHANGE_INTERVAL = 0.5
"""Years; a change within a shorter interval counts as one of this length."""
UNIT_FACTORS = (10.0, 1000.0, 1_000_000.0)
"""Factors between units: cm and mm, ml and mm3, ..."""
MAX_UNIT_DEVIATION = 0.15
"""Deviation of the ratio between two groups of values from such a factor, in powers of ten."""
MIN_UNIT_GAP = 0.5
"""Gap between the two groups, in powers of ten."""
MIN_UNIT_LEVELS = 20
"""Different values of a column from which units are looked for."""
SAFE_UNIT_SHARE = 0.4
"""Largest share of values in another unit that --fix converts."""
MIN_POSITIVE_SHARE = 0.9
"""Share of positive values from which zero and negative values are unexpected."""
MIN_POSITIVE_SIZE = 0.3
"""Lower end (0.5 % quantile) of the positive values, in medians, from which zero is far away."""
MIN_CONSTANT_SHARE = 0.8
"""Share of subjects with one level from which a change of level is a contradiction."""
MIN_LEVELS = 10
"""Different values of a column from which outliers are looked for."""
MIN_DISTINCT_SHARE = 0.5
"""Share of different values of a measurement; equal ones in two such columns are copies."""

# Scanners
MIN_SCANNER_CHANGES = 0.2
"""Share of subjects that change scanner from which a change in one direction only is reported."""

# Cohort
MIN_SUBJECTS = 10
"""Subjects from which something can be learned."""
MAX_MISSING_SHARE = 0.2
"""Share of incomplete visits from which a region is named as costly."""

# Kinds of values
MIN_KIND_VALUES = 10
"""Values of a region from which its kind is decided; fewer are taken for real numbers."""
LEVEL_TOLERANCE = 1e-6
"""Distance of a score from a whole number of steps."""
MAX_SCORE_LEVELS = 200
"""Different values of a score that moves in steps."""
MAX_SCORE_STEPS = 150.0
"""Steps between its 1 % and 99 % quantiles; finer steps are as good as none."""
MIN_KIND_SHARE = 0.99
"""Share of values that must be of a kind; the others are then errors."""
MIN_CEILING_SHARE = 0.05
"""Share of visits at the largest value of a score that make it the end of the scale."""
MIN_UNIT_RANGE = 0.5
"""Range (1 % to 99 %) of values within 0 and 1 that are bounded by both; narrower ones are positive."""
