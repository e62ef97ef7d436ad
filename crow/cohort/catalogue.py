"""Every kind of finding, in the order in which a cohort is read. ``docs/cohorts.md`` lists them."""

from __future__ import annotations

from crow.cohort.findings import Kind

# The file
ENCODING = Kind(
    "encoding", "info", "The file is not UTF-8.", "the file is not UTF-8; its text was read as Windows-1252."
)
REPEATED_HEADER = Kind(
    "repeated-header", "warning", "Several columns have one name.",
    "{names}: several columns have this name; the later ones are called {first}.2 and so on.",
)  # fmt: skip
SHORT_ROW = Kind(
    "short-row", "warning", "A row has fewer cells than the header.",
    "fewer cells than columns; the rest was read as missing.",
)  # fmt: skip

# The layout
LAYOUT = Kind("layout", "info", "The table is a known download.", "read as a table of {name}.")
PET_LEFT_OUT = Kind(
    "pet-left-out", "info", "ADNIMERGE's PET summaries are no regions by default.",
    "PET summaries ({names}) are left out; add them with --regions {flag}.",
)  # fmt: skip

INSTANCES = Kind(
    "instances", "info", "UK Biobank has one row per subject and one column per field and instance.",
    "one row per subject: {count} fields ({names}) at the instances {instances}, which are the visits; {absent:,} were "
    "not attended.",
)  # fmt: skip
NO_INSTANCE = Kind(
    "instance", "info", "An instance has an age or a date, but no measure.",
    "no measure was taken at instance {instances}; it is no visit.",
)  # fmt: skip
TAKEN_APART = Kind(
    "label", "info", "A label names subject and session at once.",
    "names subject and session at once and was taken apart: {label} is subject {subject}, session {session}. If that "
    "is wrong, name the subject with --subject.",
)  # fmt: skip
CROSS_SECTIONAL = Kind(
    "cross-sectional", "warning", "Cross-sectional rows stand beside longitudinal ones.",
    "rows of cross-sectional processing, or of bases, beside longitudinal ones were left out: the two pipelines give "
    "different volumes. For the cross-sectional rows, give a table of them alone.",
)  # fmt: skip
REPEAT_ROWS = Kind(
    "repeat-rows", "info", "REDCap's repeating instruments have rows of their own.",
    "rows of a repeating instrument that hold no measure are no visits.",
)  # fmt: skip
ENROLMENT = Kind(
    "enrolment", "info", "A row without a date holds facts about the subject.",
    "rows without a date, such as enrolment, hold facts about the subject: {names} were carried to all of its visits.",
)  # fmt: skip
PORTAL_CODES = Kind(
    "study-code", "info", "A study's codes for not available mean missing.",
    "codes for not available were read as missing: {names}.",
)  # fmt: skip
SPLIT_DATE = Kind(
    "split-date", "info", "Year, month and day have a column each.", "{names} are one date and were joined."
)
SHEETS = Kind(
    "sheets", "warning", "A workbook has several sheets.",
    "the sheet {first} was read, not {others}. Save another sheet as a file of its own.",
)  # fmt: skip
SECOND_HEADER = Kind(
    "second-header", "warning", "A second header row describes the columns.",
    "a second row of headers, with descriptions or units; it was skipped.",
)  # fmt: skip
SIDECAR = Kind("sidecar", "info", "A JSON file describes the columns.", "{name} gives {what}.")
BAD_SIDECAR = Kind(
    "bad-sidecar", "warning", "The JSON file beside a table cannot be read.",
    "{name} cannot be read ({error}), so units and levels are not known from it. Correct it.",
)  # fmt: skip

# Several tables
JOIN = Kind(
    "join", "info", "Two tables were joined.",
    "{other} was joined to {base} by {how}: {matched:,} of {total:,} rows matched{apart}; {unused:,} of {others:,} "
    "rows of {other} match none.",
)  # fmt: skip
UNMATCHED = Kind(
    "unmatched", "warning", "A row of one table matches none of another.",
    "no row of {other} matches{who}; its columns are missing there.",
)  # fmt: skip
SHARED_ROW = Kind(
    "shared-row", "info", "A row of one table matches several of another.",
    "one row of {other} is the nearest to several rows and was used for each.",
)  # fmt: skip
JOIN_AGE = Kind(
    "join-age", "info", "An age was moved to the day of the visit.",
    "the age in {other} was moved by the time between the two rows.",
)  # fmt: skip
JOIN_DIFFERS = Kind(
    "join-differs", "warning", "Two tables contradict each other.", "{other} has another value; it was not used."
)

# Subject, time and age
MIXED_DATE_ORDER = Kind(
    "mixed-date-order", "warning", "Some dates have the day first, others the month.",
    "most dates are {order}; these have another order and were not read. Write all dates as 2011-03-05.",
)  # fmt: skip
VISIT_CODES = Kind(
    "visit-codes", "info", "Labels of visits are those of a study.",
    "read as ABCD's labels: 02A is year 2, 02M the middle of the year that follows it (2.5 years).",
)  # fmt: skip

# Roles
PET_REGIONS = Kind(
    "pet-regions", "info", "TADPOLE's regional uptake ratios are the regions.",
    "the {count} regional AV45 uptake ratios are the regions{more}.",
)  # fmt: skip
SIZE_COLUMNS = Kind(
    "size-columns", "info", "The _SIZE_ columns of a PET table are volumes.",
    "{count} _SIZE_ columns ({names}) are volumes, not uptake, and are left out; name them with SIZE to include them.",
)  # fmt: skip
WIDE = Kind(
    "wide", "info", "The table has one row per subject and one column per wave.",
    "one row per subject: {used} columns were read as {count} measures ({names}) at {waves}.",
)  # fmt: skip
NOT_ATTENDED = Kind(
    "not-attended", "info", "A subject did not attend a wave.",
    "{count:,} waves are empty for their subject and are no visits ({waves}).",
)  # fmt: skip
INTERVALS = Kind(
    "intervals", "info", "Whole ages were made exact by the intervals between waves.",
    "{name} is in whole years; the years between waves ({columns}) are exact and were added to the age at the first.",
)  # fmt: skip
INTERVAL_DISAGREES = Kind(
    "interval-disagrees", "warning", "The interval between waves contradicts the ages.",
    "the years between waves differ from the ages by more than a year; the ages were kept.",
)  # fmt: skip

# A BIDS tree
BIDS = Kind(
    "bids", "info", "Scans were found in a BIDS tree.", "{found} were found in the tree; their time is from {source}."
)
SEVERAL_FILES = Kind(
    "several-files", "warning", "A visit has several files of the chosen kind.",
    "{count:,} visits have several files; the first by name was taken ({taken}, not {others}).",
)  # fmt: skip
WAVES = Kind(
    "waves", "warning", "Columns are repeated by wave, but no session has a wave's label.",
    "{name}: columns of the waves {waves}, but no session of the tree ({labels}) has such a label.",
)  # fmt: skip
REPEATED_ROW = Kind(
    "repeated-row", "warning", "A table of a BIDS tree repeats a row.",
    "{name}: {count} rows are repeated ({which}) and were not read.",
)  # fmt: skip
NO_SCAN = Kind("no-scan", "warning", "A row has no path of a scan.", "no scan in {name}; dropped.")
SESSION_WITHOUT_SCAN = Kind(
    "session-without-scan", "info", "A session in sessions.tsv has no scan of the chosen kind.",
    "{count:,} sessions in sessions.tsv have no such scan and are no visits.",
)  # fmt: skip
MISSING_SCAN = Kind(
    "missing-scan", "warning", "A scan is not there or no NIfTI file.",
    "{first} is not there or no NIfTI file (.nii, .nii.gz); the visits were dropped.",
)  # fmt: skip
REPEATED_SCAN = Kind(
    "repeated-scan", "warning", "One scan stands for several visits.",
    "{first} is also the scan of another visit; the visits were dropped. Correct the paths.",
)  # fmt: skip
TWO_SCANS = Kind(
    "two-scans", "warning", "A subject has two scans at one time.",
    "a second scan of {subject} at one time, {other}; {kept} was kept. Remove one.{hint}",
)  # fmt: skip

# Subject, time and age
SUBJECT = Kind(
    "subject", "info", "Several columns name the same subjects.", "{names} name the same subjects; {first} was used."
)
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
    "scanner-follows-time", "warning", "Scanners change in one direction only.",
    "{share:.0%} of the subjects change it, always {change}. Only subjects who keep their scanner, or change it at "
    "other times, show its effect; without them, no method can separate it from the effect of time.",
)  # fmt: skip
MANY_SITES = Kind(
    "many-sites", "warning", "A site or scanner column has too many levels for a covariate.",
    "a site or scanner with {levels} levels is left out (at most {most} are a covariate); group the levels, or name "
    "it with --site.",
)  # fmt: skip
LEVELS_MERGED = Kind(
    "levels-merged", "info", "Levels that differ in case or spaces only are one.",
    "levels that differ only in case or spaces were read as one ({names}).",
)  # fmt: skip
TRANSITION = Kind("transition", "info", "A change of diagnosis is the state it ends in.", "{text}")

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

# Visits
NO_SUBJECT = Kind("no-subject", "warning", "A row has no subject.", "no subject; dropped.")
NO_VISIT = Kind(
    "no-visit",
    "info",
    "ADNI's code nv means that there was no visit.",
    "the code nv means that there was no visit; dropped.",
)
NO_TIME = Kind("no-time", "warning", "A row has no time.", "no time in {name}; dropped.")
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

KINDS: tuple[Kind, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Kind))


def markdown() -> str:
    """The catalogue as a Markdown table: code, severity, meaning, message."""
    rows = (f"| `{kind.code}` | {kind.severity} | {kind.title} | {kind.template} |" for kind in KINDS)
    return "\n".join(("| code | severity | meaning | message |", "|---|---|---|---|", *rows))
