"""How a table was read: enough to read another of its kind, and to write one."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from crow.cohort.dates import DateOrder
from crow.cohort.options import Missing
from crow.cohort.times import AgeUnit, TimeKind
from crow.cohort.value_kinds import ValueKind
from crow.cohort.visit_codes import VisitCodes

SCAN = "scan"


class Bids(BaseModel):
    """Which files of a BIDS tree are the scans: the suffix, and space and desc (None: names without them)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suffix: str
    space: str | None = None
    desc: str | None = None


class Schema(BaseModel):
    """How a table was read: enough to read another table of the same kind, and nothing about any subject.

    ``time_kind`` is what the time column holds: an age in years, years, months or days since some start, a date, or a
    visit code (months). For a wide table ``layout`` is ``"wide"``, the names are those after reshaping, and
    ``template`` makes the columns of the ``repeated`` ones from ``name`` and ``wave``. ``values`` are the kinds of
    regions that are not real numbers, and ``units`` the known units of regions. ``fixed`` are covariates that never
    change within a subject; ``since_baseline`` is a column with the years to add to an age at baseline; ``sites`` are
    covariates that are sites or scanners; ``codes`` are the numbers that mean missing, by column; ``age_unit`` is what
    ages are counted in, and ``visit_codes`` whose visit codes the table has. ``scan`` is the column with the paths of
    scans, and ``bids`` says which files of a tree they are where the cohort was read from one.
    """

    model_config = ConfigDict(extra="forbid")

    layout: str
    subject: str
    time: str
    time_kind: TimeKind
    session: str | None = None
    group: str | None = None
    sites: list[str] = []
    age: str | None = None
    covariates: dict[str, Literal["numeric", "categorical"]] = {}
    regions: list[str] = []
    values: dict[str, ValueKind] = {}
    units: dict[str, str] = {}
    fixed: list[str] = []
    age_is_baseline: bool = False
    since_baseline: str | None = None
    age_unit: AgeUnit = "years"
    date_order: DateOrder | None = None
    date_mark: str | None = None
    adni: bool = False
    visit_codes: VisitCodes = "plain"
    codes: dict[str, list[float | str]] = {}
    missing: Missing = "drop-visit"
    template: str | None = None
    repeated: list[str] = []
    waves: list[str] = []
    separator: str = ","
    decimal: str = "."
    scan: str | None = None
    bids: Bids | None = None
    within: str | None = None

    @model_validator(mode="after")
    def _codes_of_adni(self) -> Schema:
        """A schema from before ``visit_codes`` says it by ``adni``."""
        if self.adni and self.visit_codes == "plain":
            self.visit_codes = "adni"
        return self

    @property
    def columns(self) -> list[str]:
        """The columns that a table must have to be read by this schema; the session is welcome, not needed."""
        timing = [self.subject, self.time] + ([self.age] if self.age and self.age != self.time else [])
        return [*timing, *self.covariates, *self.regions, *([self.scan] if self.scan else [])]
