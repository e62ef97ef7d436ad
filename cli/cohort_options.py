"""The flags of how a cohort is read, declared once for every command that reads one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

PANEL = "How the cohort is read (detected if not given)"


def _flag(name: str, text: str, metavar: str | None = None) -> typer.models.OptionInfo:
    return typer.Option(name, help=text, metavar=metavar, rich_help_panel=PANEL)


Subject = Annotated[str | None, _flag("--subject", "The column that identifies the subject.", "COLUMN")]
Time = Annotated[str | None, _flag("--time", "The column with the time of the visit.", "COLUMN")]
TimeKind = Annotated[
    Literal["age", "years", "months", "days", "date", "visit"] | None,
    _flag("--time-kind", "What the time column holds."),
]
Age = Annotated[str | None, _flag("--age", "The column with the age, at the visit or at baseline.", "COLUMN")]
Session = Annotated[str | None, _flag("--session", "The column that names the visit.", "COLUMN")]
Group = Annotated[
    str | None, _flag("--group", "The column of families, whose members stay together in every split.", "COLUMN")
]
Covariates = Annotated[
    list[str] | None, _flag("--covariates", "Columns or patterns, separated by commas, or several flags.", "COLUMNS")
]
Regions = Annotated[list[str] | None, _flag("--regions", "The repeated measures: columns or patterns.", "COLUMNS")]
Exclude = Annotated[list[str] | None, _flag("--exclude", "Columns or patterns to leave out.", "COLUMNS")]
Missing = Annotated[
    Literal["drop-visit", "impute", "error"] | None,
    _flag("--missing", "What to do with a visit that lacks a region; drop-visit if not given."),
]
MissingCodes = Annotated[
    list[str] | None,
    _flag("--missing-code", "A number or word that means missing; no other number does then.", "CODE"),
]
Mapping = Annotated[
    Path | None,
    _flag("--mapping", "The role, kind, unit and codes of every column, as crow check --write makes it.", "YAML"),
]
Fix = Annotated[bool, _flag("--fix", "Correct what is safe to correct; the log of crow check --out lists every cell.")]
Scan = Annotated[str | None, _flag("--scan", "The column with the paths of NIfTI files.", "COLUMN")]
ScanRoot = Annotated[
    Path | None, _flag("--scan-root", "The folder of relative paths of scans; the table's if not given.")
]
Suffix = Annotated[str | None, _flag("--suffix", "Of a BIDS tree: T1w, T2w, FLAIR, pet, ...", "SUFFIX")]
Space = Annotated[
    str | None, _flag("--space", "Of a BIDS tree: the space entity, or native for names without one.", "SPACE")
]
Desc = Annotated[
    str | None, _flag("--desc", "Of a BIDS tree: the desc entity, or native for names without one.", "DESC")
]
Ages = Annotated[
    Path | None, _flag("--ages", "Of a BIDS tree: a table of participant_id, session_id and age or date.", "TABLE")
]
