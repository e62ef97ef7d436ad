"""What the commands of the flows of one visit share: their data, their settings, and the picture of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from crow.cohort import Cohort, Schema, read_cohort
from crow.cohort.reader import read_options
from crow.errors import ConfigError, OutputError
from crow.models.base import Echo
from crow.models.cross_sectional import CrossSectionalModel, Data
from crow.report import figures
from crow.run.config import load_settings
from crow.run.cross_sectional_config import ARCHITECTURES, CrossSectionalConfig
from crow.run.folder import check_place, unfinished_config
from crow.scans.store import ScanStore

__all__ = ["Data", "Echo", "Learned", "learned", "learning_settings", "open_data", "refuse_existing"]

Model = TypeVar("Model", bound=CrossSectionalModel)


@dataclass(frozen=True)
class Learned(Generic[Model]):
    """The fitted model, its run folder, and whether Ctrl-C ended the training before its time."""

    model: Model
    folder: Path
    interrupted: bool


def learning_settings(
    out: Path,
    architecture: str,
    config: Path | None,
    sets: list[str] | None,
    resume: bool,
    overwrite: bool,
    flags: dict[str, Any],
) -> CrossSectionalConfig:
    """The settings of a training that begins (defaults of ``architecture``, YAML, pairs, reading flags), or is resumed.

    Raises ConfigError, RunError where there is nothing to resume, and OutputError where ``out`` exists.
    """
    if not resume:
        check_place(out, overwrite)
        settings = load_settings(ARCHITECTURES[architecture], config, sets or [])
        options = read_options(settings.cohort, one_visit=True, **flags)
        return settings.model_copy(update={"cohort": options.model_dump(mode="json", exclude_unset=True)})
    if config or sets or any(value is not None for value in flags.values()):
        raise ConfigError(f"--resume goes on with the settings in {out}/config.yaml; leave --config, --set, flags out.")
    return unfinished_config(out, ARCHITECTURES[architecture])


def open_data(cohort: Path, options: dict[str, Any], schema: Schema | None = None) -> Cohort | ScanStore:
    """A store of scans as it is, a table read by ``schema`` (a run's) or by ``options``.

    Raises CohortError; for scans that are not prepared yet, with the command that does it.
    """
    if ScanStore.is_store(cohort):
        return ScanStore.open(cohort)
    visits = read_cohort(cohort, schema=schema) if schema else read_cohort(cohort, read_options(options))
    if visits.has_scans:
        raise ConfigError(
            f"{cohort}: its scans have to be on one grid first: crow prepare --cohort {cohort} --out STORE, then "
            "--cohort STORE."
        )
    return visits


def refuse_existing(out: Path, overwrite: bool) -> None:
    """Raise OutputError where a file may not be written, before anything is computed."""
    if out.is_dir() or (out.exists() and not overwrite):
        advice = "" if out.is_dir() else ", or replace it with --overwrite"
        raise OutputError(f"{out}: exists already. Choose another name{advice}.")


def learned(model: Model, out: Path) -> Learned[Model]:
    """What was trained into ``out``, with a picture of the training there."""
    if len(model.log):
        figures.save(figures.training_curves(model.log), out / "training.png", overwrite=True)
    return Learned(model, out, model.interrupted)
