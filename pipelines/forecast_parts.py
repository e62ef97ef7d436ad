"""Forecasts of many subjects, some at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.cohort.covariate_paths import Future, check_future
from crow.data.forecast import Forecast
from crow.models.crow import CRow
from crow.seeds import SeedStream, derived_seed

if TYPE_CHECKING:
    from crow.tasks import Progress

SUBJECTS = 500  # in a part


@dataclass(frozen=True)
class Asked:
    """How visits are forecast: the arguments of `CRow.forecast`."""

    future: Future = "carry"
    draws: int = 200
    seed: int = 0
    path: bool = False


def forecast_in_parts(
    run: Path, model: CRow, history: Cohort, visits: pd.DataFrame, asked: Asked, jobs: int | None, progress: Progress
) -> Forecast:
    """`CRow.forecast` of the ``model`` in ``run``, with many subjects as tasks of `crow.tasks.run_tasks`.

    Parts are of fixed size and have seeds of their own, so the draws do not depend on the number of ``jobs``.
    """
    check_future(history, visits)
    names = visits["subject"].astype(str)
    subjects = sorted(names.unique())
    parts = [subjects[start : start + SUBJECTS] for start in range(0, len(subjects), SUBJECTS)]
    if len(parts) < 2:
        return model.forecast(history, visits, asked.future, asked.draws, asked.seed, asked.path)
    from crow.tasks import in_order, run_tasks  # joblib, which a few subjects need not wait for

    model.require_memory(asked.draws, len(visits))
    tasks = [
        (run, history.of(part), visits[names.isin(part)], asked, number) for number, part in enumerate(parts)
    ]  # fmt: skip
    found = list(in_order(progress(run_tasks(_forecast_part, tasks, jobs), "Forecasts", len(tasks))))
    return Forecast(
        pd.concat([rows for rows, _ in found], ignore_index=True), model.table.regions,
        np.concatenate([values for _, values in found]), history.measured_visits, model.table.follow_up,
        {} if model.schema is None else model.schema.units,
    )  # fmt: skip


def _forecast_part(
    run: Path, history: Cohort, visits: pd.DataFrame, asked: Asked, number: int
) -> tuple[pd.DataFrame, np.ndarray]:
    seed = derived_seed(asked.seed, SeedStream.FORECASTS, number) if number else asked.seed
    found = CRow.load(run).forecast(history, visits, asked.future, asked.draws, seed, asked.path)
    return found.visits, found.values
