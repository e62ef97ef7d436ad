"""Learn a cohort's density and keep it as a run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crow.cohort import Cohort, read_cohort
from crow.cohort.reader import read_options
from crow.errors import ConfigError
from crow.models.base import FitOptions, Model
from crow.models.crow import CRow
from crow.models.scans import ScanModel
from crow.models.voxels import VoxelModel
from crow.pipelines.scan_history import store_beside
from crow.report import figures
from crow.run.config import Config, load_config
from crow.run.folder import check_place, unfinished_config
from crow.scans.store import ScanStore


@dataclass(frozen=True)
class Trained:
    """The run folder, the fitted model, and whether Ctrl-C ended the
    training before its time."""

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
    on_cohort: Callable[[Cohort], None] = lambda cohort: None,
    echo: Callable[[str], None] = lambda line: None,
    **flags: Any,
) -> Trained:
    """Read a cohort, fit a model to it and write the run folder ``out`` with a picture of the training.

    ``cohort`` is a table, a BIDS tree, or a store that ``crow prepare`` made; scans that are not prepared yet are, into
    ``<out>_store``. Settings are the defaults, changed by the YAML file ``config``, changed by the pairs of ``sets``;
    ``flags`` are those of `ReadOptions`. With ``resume`` all of them come from the training that was begun in ``out``.
    Raises ConfigError, CohortError, RunError where there is nothing to resume, and OutputError where ``out`` exists.
    """
    settings = _resumed(out, config, sets, flags) if resume else _fresh(config, sets, flags)
    if ScanStore.is_store(cohort):
        if settings.cohort:
            raise ConfigError(
                f"{cohort}: a store of prepared scans; {', '.join(settings.cohort)} was decided when it was prepared. "
                "Run crow prepare again with those flags, or leave them out."
            )
        store: ScanStore | None = ScanStore.open(cohort)
    else:
        visits = read_cohort(cohort, read_options(settings.cohort))
        on_cohort(visits)
        store = _prepared(cohort, visits, out, settings, resume, overwrite, echo) if visits.has_scans else None
    options = FitOptions(resume=resume, overwrite=overwrite, progress=True, echo=echo)
    model: Model
    if store is None:
        model = CRow(settings).fit(visits, out, **options)
    elif settings.scans.representation == "voxels":
        model = VoxelModel(settings).fit(store, out, **options)
    else:
        model = ScanModel(settings).fit(store, out, **options)
    if len(model.log):
        figures.save(figures.training_curves(model.log), out / "training.png", overwrite=True)
    return Trained(out, model, model.interrupted)


def _prepared(
    cohort: Path, visits: Cohort, out: Path, settings: Config, resume: bool, overwrite: bool, echo: Callable[[str], None]
) -> ScanStore:
    """The store of a cohort's scans, prepared on the way beside the run."""
    from crow.pipelines.prepare import prepare  # what registers scans takes seconds to import

    visits.require_usable()
    if not resume:
        check_place(out, overwrite)
    work = store_beside(out)
    echo(f"Preparing {len(visits)} scans into {work}, which crow train --cohort takes again.")
    scans = settings.scans
    prepare(cohort, work, resolution=scans.resolution, register=scans.registration, echo=echo, **settings.cohort)
    return ScanStore.open(work)


def _fresh(config: Path | None, sets: list[str] | None, flags: dict[str, Any]) -> Config:
    settings = load_config(config, sets or [])
    options = read_options(settings.cohort, **flags)
    return settings.model_copy(update={"cohort": options.model_dump(mode="json", exclude_unset=True)})


def _resumed(out: Path, config: Path | None, sets: list[str] | None, flags: dict[str, Any]) -> Config:
    if config or sets or any(value is not None for value in flags.values()):
        raise ConfigError(f"--resume goes on with the settings in {out}/config.yaml; leave --config, --set, flags out.")
    return unfinished_config(out, Config)
