"""Findings about files: formats, known downloads, several tables, BIDS trees."""

from __future__ import annotations

from crow.cohort.findings import Kind

# The file
ENCODING = Kind(
    "encoding", "info", "The file is not UTF-8.", "the file is not UTF-8; its text was read as Windows-1252."
)
TITLE_ROWS = Kind(
    "title-rows", "warning", "Lines stand above the header.",
    "lines above the header, with a title, a comment or names of groups of columns; they were skipped.",
)  # fmt: skip
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
FILLED_DOWN = Kind(
    "filled-down", "warning", "The subject stands in the first of its rows only.",
    "rows without a subject were read as visits of the subject above. If they are not, delete them.",
)  # fmt: skip
SPLIT_DATE = Kind(
    "split-date", "info", "Year, month and day, or date and time, have a column each.",
    "{names} are one date and were joined.",
)  # fmt: skip
SHEETS = Kind(
    "sheets", "warning", "A workbook has several sheets; the largest is read.",
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
TIED_ROWS = Kind(
    "tied-rows", "warning", "Two rows of another table are equally near in time.",
    "two rows of {other} are equally near in time; the earlier one was used. Delete one of them.",
)  # fmt: skip
JOIN_AGE = Kind(
    "join-age", "info", "An age was moved to the day of the visit.",
    "the age in {other} was moved by the time between the two rows.",
)  # fmt: skip
JOIN_DIFFERS = Kind(
    "join-differs", "warning", "Two tables contradict each other.", "{other} has another value; it was not used."
)

# A BIDS tree
BIDS = Kind(
    "bids", "info", "Scans were found in a BIDS tree.", "{found} were found in the tree; their time is from {source}."
)
SEVERAL_FILES = Kind(
    "several-files", "warning", "A visit has several files of the chosen kind.",
    "{count:,} visits have several files; of the kind that most visits have, the first by name was taken ({taken}, not "
    "{others}). For others, list the scans in a table.",
)  # fmt: skip
MIXED_FILES = Kind(
    "mixed-files", "warning", "The names of scans differ between visits in an entity such as echo, acq or res.",
    "the scan of {count:,} visits ({file}) is of another kind than that of most ({usual}), so differences between "
    "visits may not be changes. Leave them out if they look different.",
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
    "{first} is not there or no NIfTI file (.nii, .nii.gz, .hdr, .img; also .mgz){advice}; the visits were dropped.",
)  # fmt: skip
REPEATED_SCAN = Kind(
    "repeated-scan", "warning", "One scan stands for several visits.",
    "{first} is also the scan of another visit; the visits were dropped. Correct the paths.",
)  # fmt: skip
TWO_SCANS = Kind(
    "two-scans", "warning", "A subject has two scans at one time.",
    "a second scan of {subject} at one time, {other}; {kept} was kept. Remove one.{hint}",
)  # fmt: skip
