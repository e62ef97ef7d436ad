"""Train a model of a cohort and write its run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crow.cohort import Cohort, read_cohort
from crow.cohort.reader import read_options
from crow.errors import ConfigError
from crow.files import write_text
from crow.locks import locked
from crow.pipelines.cross_sectional_runs import RESUMED, Echo
from crow.pipelines.pictures import draw_training
from crow.places import is_store
from crow.run.config import Config, load_config
from crow.run.folder import check_place, unfinished_config

if TYPE_CHECKING:  # torch takes seconds to import, and wrong settings and tables are refused without it
    from crow.models.base import FitOptions, Model
    from crow.scans.store import ScanStore


@dataclass(frozen=True)
class Trained:
    """The run folder, the fitted model, and whether Ctrl-C stopped the training early."""

    folder: Path
    model: Model
    interrupted: bool


def train(
    cohort: Path,
    out: Path,
    *,
    config: Path | None = None,
    sets: list[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    jobs: int = 1,
    on_cohort: Callable[[Cohort], None] = lambda cohort: None,
    echo: Echo = lambda line: None,
    **reading: Any,
) -> Trained:
    """Read a cohort, fit a model to it and write the run folder ``out`` with a picture of the training.

    ``cohort`` is a table, a BIDS tree, or a store that ``crow prepare`` wrote; scans that are not prepared yet are
    prepared into ``<out>_store``. Settings are the defaults, changed by the file or preset ``config``, changed by the
    pairs of ``sets``; ``reading`` are `ReadOptions`. ``jobs`` processes train groups of ensemble members. With
    ``resume`` the settings and options are those of the training that was started in ``out``. Raises ConfigError,
    CohortError, RunError if there is nothing to resume, and OutputError if ``out`` exists.
    """
    with locked(out):
        return _train(cohort, out, config, sets, resume, overwrite, jobs, on_cohort, echo, reading)


def _train(
    cohort: Path, out: Path, config: Path | None, sets: list[str] | None, resume: bool, overwrite: bool, jobs: int,
    on_cohort: Callable[[Cohort], None], echo: Echo, reading: dict[str, Any],
) -> Trained:  # fmt: skip
    settings = _resumed(out, config, sets, reading) if resume else _fresh(config, sets, reading)
    if not resume:
        check_place(out, overwrite)
    visits = None
    if not is_store(cohort):
        visits = read_cohort(cohort, read_options(settings.cohort))
        on_cohort(visits)
        visits.require_usable()
    elif settings.cohort:
        raise ConfigError(
            f"{cohort}: the reading options of a store ({', '.join(settings.cohort)}) are those of crow prepare. "
            "Run crow prepare again with these options, or leave them out."
        )
    options: FitOptions = {
        "resume": resume, "overwrite": overwrite, "progress": True, "echo": echo, "jobs": jobs,
    }  # fmt: skip
    model = _fitted(cohort, visits, out, settings, options)
    if visits is not None and not visits.has_scans and visits.mapping is not None:
        write_text(out / "mapping.yaml", visits.mapping.text(cohort.name), overwrite=True)
    if visits is not None and not visits.has_scans:
        from crow.models.crow import CRow
        from crow.pipelines.adapt import write_site_effects

        if isinstance(model, CRow):
            write_site_effects(model, out)
    draw_training(model, out, echo)
    return Trained(out, model, model.interrupted)


def _fitted(cohort: Path, visits: Cohort | None, out: Path, settings: Config, options: FitOptions) -> Model:
    """The model of the table ``visits``, or else of the scans of ``cohort``."""
    from crow.models.crow import CRow

    if visits is not None and not visits.has_scans:
        return CRow(settings).fit(visits, out, **options)
    from crow.models.scans import ScanModel  # nibabel and scipy, which a table does not need
    from crow.models.voxels import VoxelModel
    from crow.scans.store import ScanStore

    store = ScanStore.open(cohort) if visits is None else _prepared(cohort, visits, out, settings, options["echo"])
    model = VoxelModel if settings.scans.representation == "voxels" else ScanModel
    return model(settings).fit(store, out, **options)


def _prepared(cohort: Path, visits: Cohort, out: Path, settings: Config, echo: Echo) -> ScanStore:
    """The store of a cohort's scans, prepared beside the run."""
    from crow.pipelines.prepare import prepare
    from crow.pipelines.scan_history import store_beside
    from crow.scans.store import ScanStore

    work = store_beside(out)
    echo(f"Preparing {len(visits)} scans into {work}; later trainings can use it with --cohort.")
    scans = settings.scans
    prepare(cohort, work, resolution=scans.resolution, registration=scans.registration, echo=echo, **settings.cohort)
    return ScanStore.open(work)


def _fresh(config: Path | None, sets: list[str] | None, reading: dict[str, Any]) -> Config:
    settings = load_config(config, sets or [])
    options = read_options(settings.cohort, **reading)
    return settings.model_copy(update={"cohort": options.model_dump(mode="json", exclude_unset=True)})


def _resumed(out: Path, config: Path | None, sets: list[str] | None, reading: dict[str, Any]) -> Config:
    if config or sets or any(value is not None for value in reading.values()):
        raise ConfigError(RESUMED.format(out))
    return unfinished_config(out, Config)
