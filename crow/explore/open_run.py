"""A run and its cohort, opened for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crow.errors import CohortError, RunError
from crow.explore.explorer import Explorer
from crow.explore.wording import Source
from crow.models.crow import CRow
from crow.models.registry import FOLLOW_UPS, kind_of_run
from crow.pipelines.covariate_paths import named, visits_after
from crow.pipelines.history import Missing, read_history
from crow.places import is_store


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
    """The explorer of a run of regions, or of scans whose preparation is a store.

    Raises RunError for another kind of run, and CohortError for a cohort that does not fit or an unknown subject.
    """
    paths = () if cohort is None else (cohort,) if isinstance(cohort, Path) else tuple(cohort)
    source = Source(run, paths, draws, seed, unit, subject)
    kind = kind_of_run(run, "train")
    explorer = _of_scans(run, source) if kind in FOLLOW_UPS else _of_regions(run, source, missing)
    if not len(explorer.cohort):
        raise CohortError(f"{explorer.cohort.path}: has no visits.")
    if subject is not None:
        (name,) = named(explorer.cohort, [subject])
        visits_after(explorer.cohort, [name], [1.0])
        explorer.source = replace(explorer.source, subject=name)
    return explorer


def _of_regions(run: Path, source: Source, missing: Missing | None) -> Explorer:
    model = CRow.load(run)
    _require_likelihood(run, model)
    return Explorer(model, read_history(model, source.cohort or None, missing), source)


def _of_scans(run: Path, source: Source) -> Explorer:
    """Scans are not prepared here, because that writes files and takes minutes."""
    from crow.explore.scan_explorer import ScanExplorer
    from crow.models.follow_up import FollowUpModel
    from crow.models.scans import ScanModel
    from crow.pipelines.scan_history import open_scans

    if len(source.cohort) > 1 or any(not is_store(path) for path in source.cohort):
        raise CohortError(
            f"{source.cohort[0]}: not a store of scans. Run crow prepare with these scans, and use its folder."
        )
    model = FollowUpModel.load(run)
    if not isinstance(model, ScanModel):
        raise RunError(f"{run}: models voxels without coefficients: crow explore shows none. Use crow generate.")
    _require_likelihood(run, model.crow)
    store = open_scans(model, source.cohort[0] if source.cohort else None, run)
    return ScanExplorer(model, store, source)


def _require_likelihood(run: Path, model: CRow) -> None:
    if model.config.model.objective == "inn":
        raise RunError(f"{run}: was trained with the published objective (inn), which has no forecasts. Train another.")
