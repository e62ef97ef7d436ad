"""A run and its cohort, opened for the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crow.errors import CohortError, RunError
from crow.explore.explorer import Explorer
from crow.explore.wording import Source
from crow.models.crow import CRow
from crow.models.registry import kind_of_run
from crow.pipelines.covariate_paths import visits_after
from crow.pipelines.history import Missing, read_history


def open_run(
    run: Path,
    cohort: Path | Sequence[Path] | None = None,
    *,
    missing: Missing | None = None,
    draws: int = 200,
    seed: int = 0,
    unit: str = "",
    subject: str | None = None,
) -> Explorer:
    """The explorer of a run of regions.

    Raises RunError for another kind of run, and CohortError for a table that does not fit or an unknown subject.
    """
    if (kind := kind_of_run(run, "train")) != CRow.kind:
        raise RunError(f"{run}: a run of {kind}; crow explore shows runs of regions. Use crow generate for this run.")
    model = CRow.load(run)
    if model.config.model.objective == "inn":
        raise RunError(f"{run}: was trained with the published objective (inn), which has no forecasts. Train another.")
    history = read_history(model, cohort, missing)
    if not len(history):
        raise CohortError(f"{history.path}: has no visits.")
    if subject is not None:
        visits_after(history, [subject], [1.0])
    paths = () if cohort is None else (cohort,) if isinstance(cohort, Path) else tuple(cohort)
    return Explorer(model, history, Source(run, paths, draws, seed, unit, subject))
