"""Findings about visits."""

from __future__ import annotations

from crow.cohort.findings import Kind

# Visits
NO_SUBJECT = Kind("no-subject", "warning", "A row has no subject.", "no subject; dropped.")
NO_VISIT = Kind(
    "no-visit",
    "info",
    "ADNI's code nv means that there was no visit.",
    "the code nv means that there was no visit; dropped.",
)
NO_TIME = Kind("no-time", "warning", "A row has no time.", "no time in {name}{example}; dropped.")
SCREENING = Kind(
    "screening", "info", "Screening belongs to baseline.",
    "screening belongs to baseline: joined with that visit, where it filled missing values.",
)  # fmt: skip
DUPLICATE = Kind(
    "duplicate", "warning", "A subject has two rows for one visit.",
    "a second row for the same subject and {key}; the first complete one was kept.{hint}",
)  # fmt: skip
ORDER = Kind(
    "order", "info", "Rows are not in order of time.",
    "earlier than the subject's previous row; the visits were put in order of time.",
)  # fmt: skip
TIME_AGAINST_CODE = Kind(
    "time-against-code", "warning", "Times contradict the visit codes.",
    "earlier than the visit with the previous code; the time was used.",
)  # fmt: skip
CARRIED = Kind(
    "carried", "info", "A constant covariate is known at every visit.",
    "constant within each subject, so its value at one visit was used at all.",
)  # fmt: skip
MISSING_VALUES = Kind(
    "missing-values", "info", "Visits lack some regions, and are used.",
    "lack {count:,} values of regions; those that were measured are used.",
)  # fmt: skip
NO_REGION = Kind(
    "no-region", "info", "A visit has no region, and is used.",
    "no region was measured; their times and covariates are used.",
)  # fmt: skip
LOSS = Kind("missing-region", "warning", "Visits lack a region.", "{loss}; {options}.")
COSTLY_REGION = Kind(
    "costly-region", "warning", "A few regions cost many visits.",
    "{saved:,} more visits could be used without {names}: add --exclude {flag}{others}.",
)  # fmt: skip
SINGLE_VISIT = Kind(
    "single-visit", "info", "Some subjects have one visit.",
    "{single} of {subjects} subjects have one visit: they inform the level, not the change.",
)  # fmt: skip
ONLY_SINGLE_VISITS = Kind(
    "single-visit", "error", "Every subject has one visit.",
    "every subject has one usable visit; change needs at least two visits of a subject. See what was dropped, and the "
    "subject column (--subject).",
)  # fmt: skip
FEW_SUBJECTS = Kind(
    "few-subjects", "error", "There are too few subjects.", "{count} subjects are too few; at least {least} are needed."
)
