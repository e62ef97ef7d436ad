"""The options that decide how a cohort is read, for every command that reads one."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

PANEL = "Reading the cohort (whatever is not given is detected)"


def _flag(name: str, text: str, metavar: str | None = None, default: str | bool = False) -> typer.models.OptionInfo:
    return typer.Option(name, help=text, metavar=metavar, rich_help_panel=PANEL, show_default=default)


Subject = Annotated[str | None, _flag("--subject", "Column with the subject of each row.", "COLUMN")]
Time = Annotated[str | None, _flag("--time", "Column with the time of each visit.", "COLUMN")]
TimeKind = Annotated[
    Literal["age", "years", "months", "weeks", "days", "hours", "date", "visit"] | None,
    _flag("--time-kind", "Kind of time in that column."),
]
Age = Annotated[str | None, _flag("--age", "Column with the age, at the visit or at baseline.", "COLUMN")]
AgeUnit = Annotated[
    Literal["years", "months", "weeks", "days"] | None, _flag("--age-unit", "Unit of the age.", default=False)
]
Session = Annotated[str | None, _flag("--session", "Column with the name of the visit.", "COLUMN")]
Group = Annotated[
    str | None, _flag("--group", "Column of families, whose members stay together in every split.", "COLUMN")
]
Covariates = Annotated[
    list[str] | None,
    _flag("--covariates", "Covariates: columns or patterns, separated by commas; may be repeated.", "COLUMNS"),
]
Site = Annotated[
    list[str] | None,
    _flag(
        "--site",
        "Columns of sites or scanners, whose effects on level and scale are random, or none (a site is then a "
        "covariate); may be repeated.",
        "COLUMNS|none",
    ),
]
Regions = Annotated[
    list[str] | None, _flag("--regions", "Repeated measures: columns or patterns, as for --covariates.", "COLUMNS")
]
Exclude = Annotated[list[str] | None, _flag("--exclude", "Columns or patterns to leave out.", "COLUMNS")]
Missing = Annotated[
    Literal["model", "drop-visit", "impute", "error"] | None,
    _flag(
        "--missing",
        "Missing regions. model: use what was measured, exactly. drop-visit: lose the whole visit. impute: fill with "
        "the subject's last value or the mean, which then counts as data. error: stop.",
        default="model",
    ),
]
MissingCodes = Annotated[
    list[str] | None,
    _flag("--missing-code", "Number or word that means missing, instead of those detected; may be repeated.", "CODE"),
]
Mapping = Annotated[
    Path | None,
    _flag("--mapping", "Role, kind, unit and codes of every column, as crow check --write makes it.", "YAML"),
]
Fix = Annotated[
    bool | None, _flag("--fix", "Correct what is safe to correct; the log of crow check --out lists every cell.")
]
Within = Annotated[
    str | None,
    _flag(
        "--within",
        "With several tables: how far apart in time two rows of a subject may be to be one visit, such as 90d or 6m.",
        "TIME",
        "180d",
    ),
]
Scan = Annotated[str | None, _flag("--scan", "Column with the paths of NIfTI files.", "COLUMN")]
ScanRoot = Annotated[
    Path | None,
    _flag("--scan-root", "Folder that relative paths of scans start from.", "FOLDER", "the folder of the table"),
]
Suffix = Annotated[str | None, _flag("--suffix", "In a BIDS tree: T1w, T2w, FLAIR, pet, ...", "SUFFIX")]
Space = Annotated[
    str | None, _flag("--space", "In a BIDS tree: the space entity, or native for names without one.", "SPACE")
]
Desc = Annotated[
    str | None, _flag("--desc", "In a BIDS tree: the desc entity, or native for names without one.", "DESC")
]
Ages = Annotated[
    Path | None, _flag("--ages", "In a BIDS tree: a table of participant_id, session_id and age or date.", "TABLE")
]

OF_TABLES: dict[str, Any] = {
    "subject": Subject, "time": Time, "time_kind": TimeKind, "age": Age, "age_unit": AgeUnit, "session": Session,
    "group": Group, "site": Site, "covariates": Covariates, "regions": Regions, "exclude": Exclude, "missing": Missing,
    "missing_codes": MissingCodes, "mapping": Mapping, "fix": Fix, "within": Within,
}  # fmt: skip
OF_SCANS: dict[str, Any] = {
    "scan": Scan,
    "scan_root": ScanRoot,
    "suffix": Suffix,
    "space": Space,
    "desc": Desc,
    "ages": Ages,
}
