"""The visits that a run is applied to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from crow.cohort import Cohort, read_cohort
from crow.cohort.parts import TablePart
from crow.errors import CohortError
from crow.models.crow import CRow
from crow.run.folder import sha256

Missing = Literal["model", "drop-visit", "impute", "error"]


def read_history(
    model: CRow, cohort: Path | TablePart | Sequence[Path] | None, missing: Missing | None = None
) -> Cohort:
    """A cohort read as the model's own was; without a path, the table (or tables) of its training.

    Raises CohortError if the columns differ, or if the training table is missing or has changed.
    """
    if cohort is None:
        table = trained_on(model.source, "table", "Give the table with the subject's visits: --cohort TABLE.")
        cohort = [table, *(Path(other) for other in model.config.cohort.get("join", []))]
    return read_cohort(cohort, schema=model.schema, missing=missing)


def doubtful_values(found: pd.DataFrame, most: int = 5) -> list[str]:
    """One sentence per gross error (`CRow.gross_errors`), the first few of them, and how many more there are."""
    lines = [
        f"subject {row.subject}, {row.time:.2f} years after the first visit, {row.region}: {row.value:g} is far from "
        f"what the subject's other visits predict (median in training {row.expected:g}), and counts as missing."
        for row in found.head(most).itertuples()
    ]
    return lines + ([f"{len(found) - most} more values like these."] if len(found) > most else [])


def unseen_sites(model: CRow, visits: pd.DataFrame) -> str:
    """A sentence about sites and scanners of some visits that the training did not have, or nothing."""
    sites = model.table.sites
    if sites is None or not (new := sites.new_levels(visits)):
        return ""
    return f"the training did not have {'; '.join(new)}: intervals are wider. crow adapt estimates the effects."


def trained_on(source: dict[str, str], what: str, advice: str) -> Path:
    """The file that a model was trained on (``source`` has its path and digest): a table, or that of a store of scans.

    Raises CohortError with ``advice`` if there is none, or if it is missing or has changed.
    """
    if not source:
        raise CohortError(f"The run was not trained from a {what} on disk. {advice}")
    path = Path(source["path"])
    if not path.is_file():
        raise CohortError(f"{path}: the {what} that the run was trained on is missing. {advice}")
    if sha256(path) != source["sha256"]:
        raise CohortError(f"{path}: the {what} that the run was trained on has changed since. {advice}")
    return path
