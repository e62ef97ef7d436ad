"""A cohort after reading: one row per visit, and what was found on the way."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pandas as pd

from crow.cohort.catalogue import SINGLE_VISIT
from crow.cohort.checks import Change
from crow.cohort.findings import Finding
from crow.cohort.mapping import Mapping
from crow.cohort.modality import modality_of
from crow.cohort.options import listed
from crow.cohort.schema import SCAN, Schema
from crow.cohort.times import AGES_PER_YEAR, own_times, whole_days, years_between, years_later
from crow.errors import CohortError

__all__ = ["Cohort", "Finding", "Schema"]


@dataclass
class Cohort:
    """The visits of a cohort, sorted by subject and time.

    Attributes
    ----------
    visits
        One row per visit: ``subject`` (str), ``session`` (str), ``time`` (years since the subject's first visit),
        ``age`` (years at the visit, NaN if unknown), then the covariates and the regions, under their names in the
        table, and, for a cohort of scans, ``scan`` (str, the absolute path of the visit's NIfTI file).
    schema
        The role of every column.
    start
        A subject's first visit in the table's own time (a number, an age, or a Timestamp).
    findings
        What the reader noticed.
    path
        The file or folder that was read; None for a DataFrame.
    left_out
        The reason for every column without a role.
    missing
        The share of the table's visits, before any was dropped, that lack a covariate or region.
    groups
        A subject's family, if there are families.
    mapping
        The role of every column, if the table was read by detection.
    changes
        The cells that ``fix`` corrected.
    as_read
        The subjects before visits were left out for a missing region, if the cohort was read.

    Examples
    --------
    >>> import crow
    >>> cohort = crow.read_cohort("adni.csv")
    >>> len(cohort.subjects), len(cohort)
    (24, 96)
    >>> list(cohort.visits)[:4]
    ['subject', 'session', 'time', 'age']
    """

    visits: pd.DataFrame
    schema: Schema
    start: pd.Series
    findings: list[Finding] = field(default_factory=list)
    path: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    groups: pd.Series = field(default_factory=lambda: pd.Series(dtype=object))
    mapping: Mapping | None = None
    changes: list[Change] = field(default_factory=list)
    as_read: list[str] = field(default_factory=list)

    @property
    def subjects(self) -> list[str]:
        return list(self.visits["subject"].unique())

    @property
    def measured_visits(self) -> pd.DataFrame:
        """The visits with at least one region; a subject's other visits still contribute times and covariates."""
        return self.visits[self.visits[self.regions].notna().any(axis=1)]

    @property
    def split_subjects(self) -> list[str]:
        """All subjects that a split divides: also those without a visit left, so that ``missing`` changes no split."""
        return list(dict.fromkeys([*self.as_read, *self.subjects]))

    @property
    def regions(self) -> list[str]:
        return self.schema.regions

    @property
    def covariates(self) -> list[str]:
        return list(self.schema.covariates)

    @property
    def has_scans(self) -> bool:
        return self.schema.scan is not None

    @property
    def modality(self) -> str | None:
        """The BIDS suffix of the scans (T1w, T2w, FLAIR, pet), None where neither column nor file names tell it."""
        if not self.has_scans:
            return None
        if self.schema.bids is not None:
            return self.schema.bids.suffix
        return modality_of(str(self.schema.scan), self.visits[SCAN])

    def split_names(self, subjects: Iterable[str]) -> list[str]:
        """The family of each subject, else its own name: subjects with one name stay together in every split."""
        return [str(self.groups.get(subject, subject)) for subject in subjects]

    def require_usable(self, one_visit: bool = False) -> None:
        """Raise CohortError if a finding shows that nothing can be learned from the cohort.

        With ``one_visit``, one visit per subject is enough.
        """
        errors = [finding for finding in self.findings if finding.severity == "error"]
        errors = [finding for finding in errors if not (one_visit and finding.code == SINGLE_VISIT.code)]
        if errors:
            raise CohortError(f"{self.path}: {' '.join(map(str, errors))}")

    def of(self, subjects: Iterable[str | int]) -> Cohort:
        """The same cohort with the visits of some of its subjects.

        Raises CohortError for a subject that it does not have.
        """
        chosen = [str(subject) for subject in subjects]
        if unknown := sorted(set(chosen) - set(self.visits["subject"])):
            raise CohortError(f"{self.path or 'the cohort'}: has no subject {listed(unknown)}.")
        kept = set(chosen)
        as_read = [name for name in self.as_read if name in kept]
        return replace(self, visits=self.visits[self.visits["subject"].isin(chosen)], as_read=as_read)

    def years(self, subject: pd.Series, own: pd.Series) -> pd.Series:
        """Years since each subject's first visit, of times (text or values) in the table's own time column.

        NaN where a time cannot be read or a subject is not in the cohort.
        """
        if pd.api.types.is_numeric_dtype(own) or pd.api.types.is_datetime64_any_dtype(own):
            times = own / AGES_PER_YEAR[self.schema.age_unit] if self.schema.time_kind == "age" else own
        else:
            schema = self.schema
            text = own.astype(object).map(lambda cell: str(cell).strip())
            times = own_times(
                text, schema.time_kind, schema.decimal, schema.visit_codes, schema.date_order, schema.age_unit
            )
        return years_between(subject.map(self.start), times, self.schema.time_kind)

    def own_time(self, subject: pd.Series, years: pd.Series) -> pd.Series:
        """The reverse of `years`: Timestamps of dates, months of visit codes, else plain numbers in the table's unit.

        Timestamps are whole days if every subject's first visit is one and no two times of a subject share a day.
        """
        own = years_later(subject.map(self.start), years, self.schema.time_kind)
        if self.schema.time_kind == "date":
            return whole_days(own, subject, self.start)
        return own * AGES_PER_YEAR[self.schema.age_unit] if self.schema.time_kind == "age" else own

    def __len__(self) -> int:
        return len(self.visits)

    def __repr__(self) -> str:
        return "\n".join(f"{label}{': ' if label else ''}{text}" for label, text in self._summary())

    def _repr_html_(self) -> str:
        cells = (
            f"<tr><th>{html.escape(label)}</th><td>{html.escape(text)}</td></tr>" for label, text in self._summary()
        )
        return f"<table>{''.join(cells)}</table>{self.visits.head().to_html(index=False)}"

    def _summary(self) -> list[tuple[str, str]]:
        counts = self.visits.groupby("subject").size()
        gaps = self.visits.groupby("subject")["time"].diff().dropna()
        spread = f", {gaps.median():.2f} years apart (median)" if len(gaps) else ""
        return [
            ("Cohort", self.path or "in memory"),
            ("subjects", f"{len(counts):,}"),
            ("visits", f"{len(self.visits):,} ({counts.min()} to {counts.max()} a subject{spread})"),
            ("time", f"{self.schema.time} ({self.schema.time_kind})"),
            ("covariates", listed(self.covariates) or "none"),
            (f"{len(self.regions)} regions", listed(self.regions)),
            *([("scans", f"{len(self.visits):,} ({self.modality or 'modality unknown'})")] if self.has_scans else []),
            ("findings", listed(f"{n.code} ({n.severity})" for n in self.findings) or "none"),
        ]
