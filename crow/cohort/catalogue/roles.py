"""Findings about the roles of columns."""

from __future__ import annotations

from crow.cohort.findings import Kind

# Roles
LEFT_OUT = Kind("left-out", "info", "Columns have no role.", "left out, {reason}: {names}.")
REGION_LEFT_OUT = Kind(
    "region-left-out", "warning", "A column that looks like a region has no role.",
    "looks like a region but is left out, {reason}: {names}. If it is one, add --regions, or "
    "set its role in a mapping.",
)  # fmt: skip
EMPTY_COLUMN = Kind(
    "empty-column", "warning", "A column has no value, or one value only.", "left out, {reason}: {names}."
)
FUTURE_COLUMN = Kind(
    "future-column", "warning", "A column is known only after the last visit.",
    "{name} is left out, because it tells what happened after some visits ({reason}). If it was known at baseline, add "
    "--covariates {name}, or set its role in a mapping.",
)  # fmt: skip
GROUP = Kind(
    "group", "info", "Relatives stay together in every split.",
    "{groups:,} groups of the {subjects:,} subjects, the largest of {largest}: they stay together in every "
    "split and fold.",
)  # fmt: skip
SCANNER_FOLLOWS_TIME = Kind(
    "scanner-follows-time", "warning", "Scanner and time cannot be separated.",
    "scanner and time cannot be separated: {share:.0%} of the subjects change it, always {change}. Effects of time are "
    "effects of the scanner too, and a forecast holds for one scanner only. No correction was made.",
)  # fmt: skip
MANY_SITES = Kind(
    "many-sites", "warning", "A site or scanner column has too many levels for a covariate.",
    "a site or scanner with {levels} levels is left out (at most {most} are a covariate); group the levels.",
)  # fmt: skip
LEVELS_MERGED = Kind(
    "levels-merged", "info", "Levels that differ in case or spaces only are one.",
    "levels that differ only in case or spaces were read as one ({names}).",
)  # fmt: skip
TRANSITION = Kind("transition", "info", "A change of diagnosis is the state it ends in.", "{text}")
