"""What the commands of the flows of one visit share: their data, their settings, and the picture of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from crow.artifact import check_place, unfinished_config
from crow.cohort import Schema, read
from crow.cohort.reader import read_options
from crow.config import load_settings
from crow.errors import ConfigError, OutputError
from crow.report import figures
from crow.scans.store import ScanStore
from crow.visit_config import SYSTEMS, VisitConfig
from crow.visit_model import Data, Say, VisitModel

__all__ = ["Data", "Learned", "Say", "learned", "learning_settings", "open_data", "refuse_existing"]

Model = TypeVar("Model", bound=VisitModel)


@dataclass(frozen=True)
class Learned(Generic[Model]):
    """The fitted model, its run folder, and whether Ctrl-C ended the training before its time."""

    model: Model
    folder: Path
    interrupted: bool


def learning_settings(
    out: Path,
    system: str,
    config: Path | None,
    sets: list[str] | None,
    resume: bool,
    overwrite: bool,
    flags: dict[str, Any],
) -> VisitConfig:
    """The settings of a training that begins (defaults of ``system``, YAML, pairs, reading flags), or is resumed.

    Raises ConfigError, RunError where there is nothing to resume, and OutputError where ``out`` exists.
    """
    if not resume:
        check_place(out, overwrite)
        settings = load_settings(SYSTEMS[system], config, sets or [])
        options = read_options(settings.cohort, one_visit=True, **flags)
        return settings.model_copy(update={"cohort": options.model_dump(mode="json", exclude_unset=True)})
    if config or sets or any(value is not None for value in flags.values()):
        raise ConfigError(f"--resume goes on with the settings in {out}/config.yaml; leave --config, --set, flags out.")
    begun = unfinished_config(out)
    if not isinstance(begun, VisitConfig) or begun.system != system:
        name = begun.system if isinstance(begun, VisitConfig) else "crow"
        raise ConfigError(f"{out}: a training of {name}, not of {system}. Resume it with the command that began it.")
    return begun


def open_data(cohort: Path, options: dict[str, Any], schema: Schema | None = None) -> Data:
    """A store of scans as it is, a table read by ``schema`` (a run's) or by ``options``.

    Raises CohortError; for scans that are not prepared yet, with the command that does it.
    """
    if ScanStore.is_store(cohort):
        return ScanStore.open(cohort)
    visits = read(cohort, schema=schema) if schema else read(cohort, read_options(options))
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
    return Learned(model, out, (out / "checkpoints").is_dir())
