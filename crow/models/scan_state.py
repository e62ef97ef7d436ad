"""One subject's scans, kept as a state, so that its future scans can be asked about quickly."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.covariate_paths import future_visits
from crow.models.history_state import HistoryState, Values
from crow.representation.follow_up import Volume
from crow.representation.preview import Preview
from crow.representation.structure_volumes import true_changes
from crow.scans.store import ScanStore

if TYPE_CHECKING:
    from crow.models.scans import ScanModel

DAY = 1 / 365.25  # years


class ScanState:
    """The scans of one subject, in the rows ``past`` of a store.

    Attributes
    ----------
    history
        The state of its coefficients.
    """

    def __init__(self, model: ScanModel, store: ScanStore, past: NDArray[np.int64], seed: int = 0) -> None:
        self.model, self.store, self.past, self.seed = model, store, past, seed
        self.history = HistoryState.of(model.crow, model.coefficients(store.subset(past)))
        self._last = self.history.cohort.visits.iloc[[-1]]

    def of_change(self, visit: pd.DataFrame, draws: Values) -> Values:
        """The last scan's coefficients plus draws of change, from ``draws [n, K]`` of a measurement at a visit.

        The change starts from the coefficients that are expected a day after the last scan, given all scans so far.
        Otherwise it would include the reverse of the error with which the last scan was measured. The draws are drawn
        together until their spread is that of the change alone: a follow-up has no error of registration. Coefficients
        that are not changes stay as they are.
        """
        if not self.model.relative:
            return draws
        share = self.history.share_of_change(visit, float(self._last["time"].iloc[0]))[: draws.shape[1]]
        mean = draws.mean(0)
        return np.asarray(self._start + mean + share * (draws - mean), np.float64)

    @cached_property
    def _start(self) -> Values:
        """The last scan's coefficients as measured minus those that are expected."""
        basis, expected = self.model.fitted_basis, np.zeros(1)
        if len(self.past) > 1:
            soon = self._last[["subject", "time"]].assign(time=self._last["time"] + DAY)
            now = future_visits(self.history.cohort, soon)
            expected = self.history.forecast(now, seed=self.seed)[0, :, : len(basis.names)].mean(0)
        return self.last - expected

    @property
    def last(self) -> Values:
        """The coefficients ``[K]`` of the last scan; 0 for changes since a first scan that is the only one."""
        found = self._last[self.model.fitted_basis.names].to_numpy(np.float64)[0]
        return np.nan_to_num(found) if self.model.relative else found

    def scan(self, visit: pd.DataFrame, draws: Values) -> tuple[Volume, Volume]:
        """The median follow-up at a visit and its change from the last scan, on the template's grid.

        They are those of `crow.models.scans.ScanModel.follow_up` with the same ``draws [n, K]``.
        """
        return self.preview.follow_up(self.of_change(visit, draws).astype(np.float32))

    def volumes(self, visit: pd.DataFrame, draws: Values) -> Values:
        """Draws ``[n, S]`` of the true volumes (mm3) of structures at a visit, in the order of ``volume_names``.

        They are those of `crow.models.scans.ScanModel.follow_up` with the same ``draws [n, K]``: they start at the last
        scan, without its error, and are corrected for the change that registration misses.
        """
        count = len(self.model.fitted_basis.volume_names)
        last = self.last[-count:]
        changes = self.of_change(visit, draws)[:, -count:] - last
        return np.asarray(self.first_volumes * np.exp(last + true_changes(changes)), np.float64)

    @cached_property
    def preview(self) -> Preview:
        """The subject's follow-ups without their uncertainty."""
        return self.model.fitted_basis.preview(self.store, self.past, self.last)

    @cached_property
    def first_volumes(self) -> Values:
        """Volumes (mm3) of structures in the first scan, in the order of the representation's ``volume_names``."""
        return np.asarray(self.preview.first_volumes(), np.float64)
