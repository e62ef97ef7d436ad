"""A run and the visits to ask it about."""

from pathlib import Path
from typing import Literal

from crow.artifact import sha256
from crow.cohort import Cohort, read
from crow.errors import CohortError
from crow.estimator import CRow

Missing = Literal["drop-visit", "impute", "error"]


def read_history(model: CRow, cohort: Path | None, missing: Missing | None = None) -> Cohort:
    """A cohort read as the model's own was; without a path, the very table that the model was trained on.

    Raises CohortError where the columns differ, and where the training table is gone or has changed.
    """
    return read(_training_table(model) if cohort is None else cohort, schema=model.schema, missing=missing)


def _training_table(model: CRow) -> Path:
    advice = "Give the table with the subject's visits: --cohort TABLE."
    if not model.source:
        raise CohortError(f"The run was not trained from a file. {advice}")
    path = Path(model.source["path"])
    if not path.is_file():
        raise CohortError(f"{path}: the table that the run was trained on is not there. {advice}")
    if sha256(path) != model.source["sha256"]:
        raise CohortError(f"{path}: the table that the run was trained on has changed since. {advice}")
    return path
