"""Scans for the report: the cohort of a run, likelihoods, and follow-up scans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crow.cohort import Cohort
from crow.evaluation.outlier_score import with_outlier_scores
from crow.models.crow import CRow
from crow.models.follow_up import FollowUpModel
from crow.models.scans import ScanModel
from crow.pipelines.covariate_paths import visits_after
from crow.pipelines.history import Missing
from crow.pipelines.report_structures import Structures
from crow.pipelines.scan_history import open_scans, store_beside
from crow.report.numbers import short
from crow.representation.follow_up import FollowUp
from crow.scans.store import ScanStore

AHEAD = 2.0  # years


@dataclass(frozen=True)
class ScanSource:
    """A model of scans with its store.

    ``history`` are the coefficients of the visits (None if voxels are modelled), ``cohort`` the visits themselves.
    """

    model: FollowUpModel
    store: ScanStore
    history: Cohort | None
    cohort: Cohort

    @property
    def crow(self) -> CRow | None:
        """The model of the coefficients."""
        return self.model.crow

    @property
    def structures(self) -> Structures | None:
        """How forecasts of coefficients are shown as structures, if there are any."""
        if not isinstance(self.model, ScanModel):
            return None
        return Structures.of(self.model.fitted_basis, self.cohort.regions)

    def likelihoods(self) -> pd.DataFrame:
        """subject, session, time, log_prob, outlier_score and outlier of every scan."""
        return with_outlier_scores(self.model.log_prob(self.store)[["subject", "session", "time", "log_prob"]])

    def follow_ups(self, subjects: list[str], draws: int, seed: int) -> list[tuple[str, FollowUp]]:
        """Follow-up scans two years after the last one, of the given subjects or of the one with the most scans."""
        counts = self.cohort.visits.groupby("subject", sort=False).size()
        chosen = subjects or [str(counts.idxmax())]
        visits = visits_after(self.cohort, chosen, [AHEAD])
        forecast = self.model.forecast(self.store, visits, "carry", draws, seed)
        names = [f"{subject}, {short(AHEAD)} years after the last scan" for subject in forecast.visits["subject"]]
        return [(name, self.model.follow_up(self.store, forecast, k, seed=seed)) for k, name in enumerate(names)]


def scan_source(run: Path, cohort: Path | None, missing: Missing | None, echo: Callable[[str], None]) -> ScanSource:
    """The model of a run of scans with a cohort; raises CohortError if that is not available or of another kind."""
    model = FollowUpModel.load(run)
    work = store_beside(cohort.with_suffix("") if cohort is not None else run)
    store = open_scans(model, cohort, work, echo, False, missing)
    history = None if model.crow is None else model.coefficients(store)
    return ScanSource(model, store, history, model.cohort(store))
