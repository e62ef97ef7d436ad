"""A cohort after reading: one row a visit, and what was found on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Finding:
    """One thing the reader noticed.

    ``rows`` are line numbers of the file (the header is line 1); ``message`` says how many, which, and what was done or
    must be done. An ``error`` makes the cohort unusable.
    """

    code: str
    severity: Literal["info", "warning", "error"]
    message: str
    column: str | None = None
    rows: tuple[int, ...] = ()


class Schema(BaseModel):
    """How a table was read: enough to read another table of the same kind, and nothing about any subject.

    ``time_kind`` is what the time column holds: an age in years, years, months or days since some start, a date, or a
    visit code (months). For a wide table ``layout`` is ``"wide"`` and the names are those after reshaping.
    """

    model_config = ConfigDict(extra="forbid")

    layout: str
    subject: str
    time: str
    time_kind: Literal["age", "years", "months", "days", "date", "visit"]
    session: str | None = None
    age: str | None = None
    covariates: dict[str, Literal["numeric", "categorical"]] = {}
    regions: list[str] = []


@dataclass
class Cohort:
    """The visits of a cohort, sorted by subject and time.

    ``visits`` has the columns ``subject`` (str), ``session`` (str), ``time`` (years since the subject's first visit),
    ``age`` (years at the visit, NaN where unknown), then the covariates and the regions, under their names in the table.
    ``start`` maps a subject to its first visit in the table's own time (an age, a number, or a Timestamp).
    """

    visits: pd.DataFrame
    schema: Schema
    start: pd.Series
    findings: list[Finding] = field(default_factory=list)
    path: str | None = None

    @property
    def subjects(self) -> list[str]:
        return list(self.visits["subject"].unique())

    @property
    def regions(self) -> list[str]:
        return self.schema.regions

    @property
    def covariates(self) -> list[str]:
        return list(self.schema.covariates)
