"""A subject that is typed into the page, as a cohort of one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from crow.cohort.cohort import Cohort
from crow.cohort.parameters import MAX_AGE
from crow.cohort.times import DAYS_PER_YEAR, PER_YEAR, SOME_DAY
from crow.cohort.writing import table_text, to_table
from crow.errors import CohortError
from crow.explore.question import NewSubject
from crow.models.crow import CRow

NAME = "new"


def new_cohort(model: CRow, cohort: Cohort, typed: NewSubject) -> Cohort:
    """The cohort with the typed subject alone, in the columns of ``cohort``.

    Raises CohortError for a time that is not after the one before it, and for a cell that is not a number or a level.
    """
    times = [_as_written(visit.time, cohort) for visit in typed.visits]
    if times[0] != 0 or any(later <= earlier for earlier, later in pairwise(times)):
        found = ", ".join(f"{time:.3g}" for time in times)
        raise CohortError(f"the new subject: its visits are at {found} years. Start at 0, and let each be later.")
    schema = cohort.schema
    covariates = [typed.covariates, *(visit.covariates for visit in typed.visits)]
    _require_names(covariates, schema.covariates, "covariate")
    _require_names([visit.regions for visit in typed.visits], schema.regions, "region")
    needs_age = any(one.name == "age" for one in model.table.covariates)
    age = number(typed.age, "age of the new subject", "Give it in years.")
    if needs_age and math.isnan(age):
        raise CohortError("the new subject: has no age. Give its age at the first visit, in years.")
    if not math.isnan(age) and not 0 <= age <= MAX_AGE:
        raise CohortError(f"the new subject: its age is {age:g} years. Give one from 0 to {MAX_AGE:g}.")
    rows = []
    for k, (visit, time) in enumerate(zip(typed.visits, times, strict=True)):
        row: dict[str, object] = {"subject": NAME, "session": str(k + 1), "time": time, "age": age + time}
        for name in schema.covariates:
            row[name] = covariate(model, cohort, name, (typed.covariates | visit.covariates).get(name, ""))
        for name in schema.regions:
            typed_value = visit.regions.get(name, "")
            row[name] = number(typed_value, f"{name} of visit {k + 1}", "Type a number, or leave it empty.")
        rows.append(row)
    visits = pd.DataFrame(rows, columns=[name for name in cohort.visits if name in rows[0]])
    visits = visits.astype({name: float for name in schema.regions})
    for name, kind in schema.covariates.items():
        visits[name] = visits[name].astype(float if kind == "numeric" else "object")
    start = SOME_DAY if schema.time_kind == "date" else age * PER_YEAR["age"] if schema.time_kind == "age" else 0.0
    return replace(
        cohort, visits=visits, start=pd.Series({NAME: start}), findings=[], groups=pd.Series(dtype=object),
        path="the new subject", as_read=[NAME],
    )  # fmt: skip


def new_table(cohort: Cohort) -> str:
    """The typed visits as a table that `crow generate --cohort` reads."""
    return table_text(to_table(cohort.visits, cohort.schema, cohort.start), cohort.schema)


def _require_names(typed: Iterable[Iterable[str]], known: Iterable[str], kind: str) -> None:
    if unknown := sorted(set().union(*typed) - set(known)):
        raise CohortError(f"the new subject: the cohort has no {kind} {', '.join(unknown)}. Reload the page.")


def _as_written(years: float, cohort: Cohort) -> float:
    """The time as a table of the cohort holds it: whole days of dates, whole months of visit codes."""
    unit = {"date": DAYS_PER_YEAR, "visit": PER_YEAR["visit"]}.get(cohort.schema.time_kind)
    return years if unit is None else round(years * unit) / unit


def number(text: str, what: str, advice: str) -> float:
    """A typed number, with a decimal point or comma; NaN if nothing is typed. Raises CohortError for anything else."""
    if not text.strip():
        return math.nan
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise CohortError(f"{what}: found {text.strip()!r}, which is no number. {advice}")
    return value


def covariate(model: CRow, cohort: Cohort, name: str, text: str) -> float | str | None:
    """A typed value of a covariate; raises CohortError for a level that training did not have."""
    if cohort.schema.covariates[name] == "numeric":
        return number(text, name, "Type a number, or leave it empty.")
    if not text.strip():
        return None
    levels = next((one.levels for one in model.table.covariates if one.name == name), [])
    if levels and text.strip() not in levels:
        raise CohortError(f"{name}: found {text.strip()!r}; the training had {', '.join(levels)}. Choose one of these.")
    return text.strip()


def finite(values: np.ndarray) -> list[float | None]:
    """Numbers with seven digits for the page; None for a missing one."""
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in values.ravel().tolist()]
