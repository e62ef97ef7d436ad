"""The answers of the page: one subject's observed course, and its future under one or two courses of covariates."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crow.cohort.cohort import Cohort
from crow.cohort.units import CUBIC_CM, CUBIC_MM, CUBIC_MM_PER_CM, MIN_LARGE, written
from crow.data.forecast import Forecast, quantiles_of
from crow.errors import CohortError
from crow.explore.brain import drawing
from crow.explore.new_subject import NAME, finite, new_cohort, new_table
from crow.explore.question import MAX_HORIZON, Course, Question, ScanQuestion, Whose, times_of
from crow.explore.resemblance import Resembling
from crow.explore.wording import Source, command, words
from crow.models.crow import CRow
from crow.models.history_state import HistoryState, Values
from crow.models.reference import Reference, reference
from crow.pipelines.covariate_paths import out_of_range, unsupported, visits_after, with_changes
from crow.pipelines.history import doubtful_values
from crow.report.names import without_ending

Progress = Callable[[Sequence[Any]], Iterable[Any]]
SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MAX_FOUND = 50  # subjects in an answer to a search
MAX_CACHED = 32  # subjects whose state is kept
NEW_TABLE = "new_subject.csv"


class Explorer:
    """A run and a cohort, ready to answer. Only one question is computed at a time."""

    def __init__(self, model: CRow, cohort: Cohort, source: Source) -> None:
        self.model, self.cohort, self.source = model, cohort, source
        self.regions, self.units = list(cohort.regions), region_units(cohort, source.unit)
        self.resembling = Resembling(cohort)
        self._states: OrderedDict[str, HistoryState] = OrderedDict()
        self._references: OrderedDict[str, Reference | None] = OrderedDict()
        self._lock = threading.Lock()

    def start(self) -> dict[str, Any]:
        """What the page shows before a subject is chosen."""
        names, table = without_ending(self.regions), self.model.table
        return {
            "first": self.source.subject,
            "run": self.source.run.name, "cohort": Path(self.cohort.path or "the cohort").name,
            "subjects": len(self.cohort.subjects), "draws": self.source.draws,
            "regions": [
                {"name": name, "short": short, "unit": self.units.get(name, "")} for name, short in names.items()
            ],
            "scales": {CUBIC_MM: {"from": MIN_LARGE, "per": CUBIC_MM_PER_CM, "unit": CUBIC_CM}},
            "covariates": self._covariates(),
            "has_age": any(one.name == "age" for one in table.covariates), "max_horizon": MAX_HORIZON,
            "shares": SHARES, "brain": drawing(self.regions), "typical": finite(np.array(table.median)), "scans": None,
        }  # fmt: skip

    def _covariates(self) -> list[dict[str, Any]]:
        """Those that the model knows: kind, levels, range, and whether a forecast can change them."""
        schema, found = self.cohort.schema, []
        known = {one.name: one for one in self.model.table.covariates}
        for name, kind in schema.covariates.items():
            if name not in known and name not in schema.sites:
                continue
            values, numeric = self.cohort.visits[name].dropna(), kind == "numeric"
            levels = known[name].levels if name in known else sorted(map(str, values.unique()))
            low, high = (float(values.min()), float(values.max())) if numeric and len(values) else (0.0, 1.0)
            found.append({
                "name": name, "numeric": numeric, "levels": [] if numeric else levels, "low": low, "high": high,
                "whole": bool(numeric and (values.astype(float) % 1 == 0).all()),
                "changes": name not in schema.fixed and name not in schema.sites,
            })  # fmt: skip
        return found

    def subjects(self, search: str) -> dict[str, Any]:
        """Subjects whose name contains the text, those that begin with it first."""
        wanted = search.strip().lower()
        found = [name for name in self.cohort.subjects if wanted in name.lower()]
        found.sort(key=lambda name: not name.lower().startswith(wanted))
        return {"subjects": found[:MAX_FOUND], "more": max(0, len(found) - MAX_FOUND)}

    def subject(self, whose: Whose, horizon: float) -> dict[str, Any]:
        """The observed visits with the levels behind them, and the reference centiles."""
        with self._lock:
            state = self._state(whose)
            visits, last = state.cohort.visits, self._last(state)
            found = self._reference(whose, state, horizon)
            return {
                "subject": self._name(whose), "doubtful": doubtful_values(self.model.gross_errors(state.cohort)),
                "data_end": self.model.table.follow_up - last if self.model.table.follow_up else None,
                "observed": self._observed(state),
                "covariates": {
                    "times": finite(visits["time"].to_numpy() - last),
                    "values": self._cells(visits),
                },
                "reference": None if found is None else {
                    "label": found.label, "times": found.times,
                    "bands": self._by_region(self._shown(state, found.values)),
                },
                "table": {"name": NEW_TABLE, "text": new_table(state.cohort)} if whose.new is not None else None,
            }  # fmt: skip

    def forecast(self, question: Question) -> dict[str, Any]:
        """Quantiles of each course, and of the difference of the second from the first."""
        began = time.perf_counter()
        answer, each = self.answers(question, question.horizon, question.courses)
        two = len(each) == 2
        answer["difference"] = self.difference(each[0], each[1]) if two else None
        return answer | {"milliseconds": round(1000 * (time.perf_counter() - began))}

    def scan(self, question: ScanQuestion) -> dict[str, Any]:
        """The follow-up scan, of a run of scans."""
        raise CohortError("This run has no scans. Reload the page.")

    def every_scan(
        self, subject: str, courses: Sequence[Course], times: Sequence[float], progress: Progress = iter
    ) -> dict[str, Any] | None:  # fmt: skip
        """The pictures of a saved page; None if the run has no scans."""
        return None

    def answers(self, whose: Whose, horizon: float, courses: Sequence[Course]) -> tuple[dict[str, Any], list[Values]]:
        """The answer about some courses, and the draws ``[time, draw, region]`` of each."""
        with self._lock:
            state, times = self._state(whose), times_of(horizon)
            asked = visits_after(state.cohort, [state.cohort.subjects[0]], times)
            for course in courses:
                self._check(course)
            rows = [with_changes(state.cohort, asked, None, one.changes, one.future) for one in courses]
            each = np.split(self._drawn(state, pd.concat(rows, ignore_index=True)), len(rows))
            parts = zip(courses, rows, each, strict=True)
            return {
                "subject": self._name(whose), "times": times, "ages": finite(rows[0]["age"].to_numpy(float)),
                "courses": [self._course(whose, state, times, *part) for part in parts],
            }, each  # fmt: skip

    def difference(self, first: Values, second: Values) -> dict[str, list[list[float | None]]]:
        """Quantiles of the second course minus the first, draw by draw."""
        return self._by_region(np.moveaxis(quantiles_of(second - first, SHARES, axis=1), 0, 1))

    def _observed(self, state: HistoryState) -> dict[str, Any]:
        """The visits at which a region was measured, and the levels behind them."""
        measured, last = state.cohort.measured_visits, self._last(state)
        values = self._shown(state, measured[state.cohort.regions].to_numpy(float))
        return {
            "times": finite(measured["time"].to_numpy() - last), "ages": finite(measured["age"].to_numpy(float)),
            "values": {name: finite(values[:, k]) for k, name in enumerate(self.regions)},
            "levels": self._by_region(self._shown(state, state.levels(SHARES))),
        }  # fmt: skip

    def _shown(self, state: HistoryState, values: Values) -> Values:
        """The values ``[..., region]`` that the page shows, from those of the model."""
        return values

    def _drawn(self, state: HistoryState, visits: pd.DataFrame) -> Values:
        """Draws ``[visit, draw, region]`` of what the page shows."""
        return self._shown(state, state.forecast(visits, self.source.draws, self.source.seed))

    def _course(
        self, whose: Whose, state: HistoryState, times: list[float], course: Course, visits: pd.DataFrame,
        values: Values,
    ) -> dict[str, Any]:  # fmt: skip
        changed = [change.name for change in course.changes]
        since = min((change.at or 0.0 for change in course.changes), default=0.0)
        after = np.flatnonzero(np.array(times) >= since)
        after = after if len(after) else np.array([len(times) - 1])
        alike = self.resembling.fewest(visits.iloc[after])
        warnings = [
            self.model.beyond(Forecast(visits, self.regions, values)), out_of_range(self.cohort, course.changes),
            unsupported(self.model.table, visits, changed),
        ]  # fmt: skip
        name, new = self._name(whose), whose.new is not None
        who = "A new subject" if new else f"Subject {name}"
        return {
            "bands": self._by_region(np.moveaxis(quantiles_of(values, SHARES, axis=1), 0, 1)),
            "covariates": self._cells(visits),
            "words": words(who, len(state.cohort.visits), times[-1], course),
            "command": command(self.source, name, times, course, NEW_TABLE if new else None),
            "alike": {
                "count": alike.count, "of": alike.of, "at": times[int(after[alike.row])],
                "combination": alike.combination,
            },
            "warnings": [line for text in warnings for line in text.splitlines() if line],
        }  # fmt: skip

    def _check(self, course: Course) -> None:
        """Raise CohortError for a covariate that cannot change, and for a level that training did not have."""
        schema = self.cohort.schema
        for change in course.changes:
            if change.name in schema.fixed:
                raise CohortError(
                    f"{change.name}: never changed within a training subject, so that a forecast cannot answer this. "
                    "Type a new subject with that value."
                )

    def _state(self, whose: Whose) -> HistoryState:
        key = self._key(whose)
        if key in self._states:
            self._states.move_to_end(key)
            return self._states[key]
        if whose.new is not None:
            one = new_cohort(self.model, self.cohort, whose.new)
        elif whose.subject is not None:
            visits_after(self.cohort, [whose.subject], [1.0])  # refuses an unknown subject, with the nearest names
            one = self._visits_of(whose.subject)
        else:
            raise CohortError("no subject is chosen. Choose one, or type a new one.")
        return kept(self._states, key, HistoryState.of(self.model, one))

    def _visits_of(self, subject: str) -> Cohort:
        """The cohort with this subject alone, with the values that the model knows."""
        return self.cohort.of([subject])

    def _reference(self, whose: Whose, state: HistoryState, horizon: float) -> Reference | None:
        key = f"{horizon:g} {self._key(whose)}"
        if key not in self._references:
            kept(self._references, key, reference(state, self.cohort, horizon, self.source.seed))
        return self._references[key]

    def _key(self, whose: Whose) -> str:
        return whose.new.model_dump_json() if whose.new is not None else f"subject {whose.subject}"

    def _cells(self, visits: pd.DataFrame) -> dict[str, list[Any]]:
        return {name: _cells(visits[name], kind) for name, kind in self.cohort.schema.covariates.items()}

    def _name(self, whose: Whose) -> str:
        return NAME if whose.new is not None else str(whose.subject)

    def _last(self, state: HistoryState) -> float:
        return float(state.cohort.visits["time"].max())

    def _by_region(self, quantiles: Values) -> dict[str, list[list[float | None]]]:
        """``[time][share]`` of each region, of ``[time, share, region]``."""
        each = np.moveaxis(quantiles, 2, 0)
        return {name: [finite(row) for row in one] for name, one in zip(self.regions, each, strict=True)}


def region_units(cohort: Cohort, unit: str) -> dict[str, str]:
    """The units of the regions that are known; ``unit`` is one for all of them that the user gave."""
    return {name: written(unit) for name in cohort.regions} if unit else dict(cohort.schema.units)


def kept(cache: OrderedDict[Any, Any], key: Hashable, value: Any, most: int = MAX_CACHED) -> Any:
    """Put a value into a cache of ``most`` values, from which the oldest one falls."""
    cache[key] = value
    while len(cache) > most:
        cache.popitem(last=False)
    return value


def _cells(column: pd.Series, kind: str) -> list[Any]:
    """Values of a covariate for the page; None if they are missing."""
    if kind == "numeric":
        return list(finite(column.to_numpy(float)))
    return [None if pd.isna(value) else str(value) for value in column]
