"""The answers of the page for a run of scans: structures over time, and the last scan, follow-up and change."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.cohort.units import CUBIC_MM, written
from crow.explore.explorer import SHARES, Explorer, Progress, kept
from crow.explore.new_subject import finite
from crow.explore.pictures import Pictures
from crow.explore.question import Course, Planes, ScanQuestion, Whose
from crow.explore.wording import Source, scan_command
from crow.models.history_state import HistoryState, Values
from crow.models.reference import Reference
from crow.models.scan_state import ScanState
from crow.models.scans import ScanModel
from crow.pipelines.covariate_paths import visits_after, with_changes
from crow.representation.follow_up import Volume
from crow.scans.store import ScanStore

MAX_SUBJECTS = 4  # whose anatomy is kept
MAX_BYTES = 200_000_000  # of follow-ups that are kept
PREFIX = "log_volume_"


class ScanExplorer(Explorer):
    """A run of scans and the store of their preparation. One scan is computed at a time, beside the forecasts.

    The page shows structures' volumes or means and the regions of the table. Without any, it shows the coefficients.
    """

    def __init__(self, model: ScanModel, store: ScanStore, source: Source) -> None:
        known = model.cohort(store)
        schema = model.coefficient_schema(known.schema)
        super().__init__(model.crow, replace(known, schema=schema), source)
        self.scans, self.store, self.basis = model, store, model.fitted_basis
        own = [*self.basis.volume_names, *self.basis.mean_names, *known.regions] or self.basis.names
        self._columns = [schema.regions.index(name) for name in own]
        self._volumes = len(self.basis.volume_names)
        self.regions = [name.removeprefix(PREFIX) for name in own]
        self.units = dict.fromkeys(self.regions[: self._volumes], CUBIC_MM) | {
            name: written(source.unit) or known.schema.units.get(name, "") for name in known.regions
        }
        self._known = known
        self._anatomies: OrderedDict[str, ScanState] = OrderedDict()
        self._pictures: OrderedDict[str, Pictures] = OrderedDict()
        self._follow_ups: OrderedDict[tuple[str, ...], tuple[Volume, Volume]] = OrderedDict()
        self._scan_lock = threading.Lock()

    def start(self) -> dict[str, Any]:
        grid = self.store.info.grid
        size = " × ".join(f"{mm:g}" for mm in grid.spacing)
        found = {"modality": self.store.info.modality, "voxels": f"{size} mm", "planes": get_args(Planes)}
        start = super().start()
        for one in start["regions"][: self._volumes]:
            one |= {"short": one["name"].replace("_", " "), "fan": "the volume without error"}
        return start | {"brain": None, "scans": found, "cohort": self.store.path.name}

    def scan(self, question: ScanQuestion) -> dict[str, Any]:
        """Pictures of the last scan, of the follow-up of one course at a time, and of the change."""
        began = time.perf_counter()
        name, course = question.subject, question.course
        visits_after(self._known, [name], [1.0])  # refuses an unknown subject
        self._check(course)
        with self._scan_lock:
            pictures = self._pictures_of(name)
            follow_up, change = self._follow_up(name, course, question.at)
            found = pictures.of(follow_up, change, question.planes, question.slice)
        command = scan_command(self.source, name, question.at, course)
        return found | {"command": command, "milliseconds": round(1000 * (time.perf_counter() - began))}

    def every_scan(
        self, subject: str, courses: Sequence[Course], times: Sequence[float], progress: Progress = iter
    ) -> dict[str, Any]:  # fmt: skip
        """What all pictures share, those of the last scan, and those of each course at each time."""

        def pictures(course: Course, at: float) -> dict[str, Any]:
            found = self.scan(ScanQuestion(subject=subject, course=course, at=at))
            return {name: found[name] for name in ("last", "grey", "follow_up", "change", "signed")}

        asked = [(course, at) for course in courses for at in times]
        drawn = [pictures(*one) for one in progress(asked)]
        each = [drawn[k : k + len(times)] for k in range(0, len(drawn), len(times))]
        shared = {name: each[0][0][name] for name in ("last", "grey")}
        own = [[{name: one[name] for name in one if name not in shared} for one in row] for row in each]
        now = {name: value for name, value in pictures(courses[0], 0).items() if name not in shared}
        return {"both": shared, "now": now, "courses": own}

    def _follow_up(self, subject: str, course: Course, at: float) -> tuple[Volume, Volume]:
        """The median and the change ``at`` years after the last scan, which is itself at 0."""
        state = self._anatomy(subject)
        if at == 0:
            return state.preview.last, np.zeros_like(state.preview.last)
        key = subject, course.model_dump_json(), f"{at:g}"
        if key not in self._follow_ups:
            asked = visits_after(self._known, [subject], [at])
            visit = with_changes(state.history.cohort, asked, None, course.changes, course.future)
            drawn = state.history.forecast(visit, self.source.draws, self.source.seed)
            found = state.scan(visit, drawn[0][:, : len(self.basis.names)])
            kept(self._follow_ups, key, found, max(2, MAX_BYTES // (2 * found[0].nbytes)))
        self._follow_ups.move_to_end(key)
        return self._follow_ups[key]

    def _pictures_of(self, subject: str) -> Pictures:
        if subject not in self._pictures:
            preview = self._anatomy(subject).preview
            kept(self._pictures, subject, Pictures(preview.last, preview.affine, self.store.mask), MAX_SUBJECTS)
        return self._pictures[subject]

    def _anatomy(self, subject: str) -> ScanState:
        if subject not in self._anatomies:
            kept(self._anatomies, subject, ScanState(self.scans, self.store, self._rows(subject)), MAX_SUBJECTS)
        self._anatomies.move_to_end(subject)
        return self._anatomies[subject]

    def _rows(self, subject: str) -> NDArray[np.int64]:
        visits = self._known.visits
        return np.asarray(visits.index[visits["subject"] == subject], np.int64)

    def _visits_of(self, subject: str) -> Cohort:
        return self.scans.coefficients(self.store.subset(self._rows(subject)))

    def _observed(self, state: HistoryState) -> dict[str, Any]:
        """With the first scan, to which changes refer: it has a value and no interval."""
        found = super()._observed(state)
        if not self.scans.relative:
            return found
        first = state.cohort.visits.iloc[0]
        values = self._shown(state, np.zeros(len(state.cohort.regions)))
        return {
            "times": [float(first["time"]) - self._last(state), *found["times"]],
            "ages": [*finite(np.array([first["age"]], float)), *found["ages"]],
            "values": {n: [*finite(values[k : k + 1]), *found["values"][n]] for k, n in enumerate(self.regions)},
            "levels": {n: [[None] * len(SHARES), *one] for n, one in found["levels"].items()},
        }

    def _shown(self, state: HistoryState, values: Values) -> Values:
        """Volumes (mm3) of structures and values of regions, from changes since the first scan."""
        shown = values[..., self._columns].copy()
        if self.scans.relative:
            first = self._first(state)
            shown[..., : self._volumes] = first[: self._volumes] * np.exp(shown[..., : self._volumes])
            shown[..., self._volumes :] += first[self._volumes :]
        return shown

    def _drawn(self, state: HistoryState, visits: pd.DataFrame) -> Values:
        """Volumes of structures are those of ``volumes.tsv``, which `crow generate` writes."""
        drawn = state.forecast(visits, self.source.draws, self.source.seed)
        shown = self._shown(state, drawn)
        if self._volumes and self.scans.relative:
            with self._scan_lock:
                own = self._anatomy(state.cohort.subjects[0])
                for k in range(len(visits)):
                    coefficients = drawn[k][:, : len(self.basis.names)]
                    shown[k][:, : self._volumes] = own.volumes(visits.iloc[[k]], coefficients)
        return shown

    def _first(self, state: HistoryState) -> Values:
        """What the page shows of the first scan of a subject."""
        subject = state.cohort.subjects[0]
        with self._scan_lock:
            volumes = self._anatomy(subject).first_volumes
        own = self._known.visits.loc[self._rows(subject)[0], self._known.regions].to_numpy(float)
        return np.concatenate([volumes, own])

    def _reference(self, whose: Whose, state: HistoryState, horizon: float) -> Reference | None:
        """None for changes since the first scan, which have no values of first visits."""
        return None if self.scans.relative else super()._reference(whose, state, horizon)
