"""What the commands for single visits share: their data, their settings, and the picture of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from crow.cohort import Cohort, Schema, read_cohort
from crow.cohort.reader import read_options
from crow.errors import ConfigError, OutputError, RunError
from crow.files import check_free
from crow.models.base import Echo
from crow.models.cross_sectional import CrossSectionalModel, Data
from crow.report import figures
from crow.run.config import load_settings
from crow.run.cross_sectional_config import ARCHITECTURES, CrossSectionalConfig, architectures_of
from crow.run.folder import check_place, unfinished_config
from crow.run.presets import preset_path
from crow.run.yaml_settings import read_yaml, set_pair
from crow.scans.store import ScanStore

__all__ = ["Data", "Echo", "Learned", "learned", "learning_settings", "open_data", "refuse_existing"]

RESUMED = "--resume continues with the settings in {}/config.yaml: leave out --config, --set, --test and others."
Model = TypeVar("Model", bound=CrossSectionalModel)


@dataclass(frozen=True)
class Learned(Generic[Model]):
    """The fitted model, its run folder, and whether Ctrl-C ended the training before its time."""

    model: Model
    folder: Path
    interrupted: bool


def learning_settings(
    out: Path,
    command: str,
    config: Path | None,
    sets: list[str] | None,
    resume: bool,
    overwrite: bool,
    reading: dict[str, Any],
    architecture: str | None = None,
) -> CrossSectionalConfig:
    """The settings of a training that starts (defaults, YAML or preset, pairs, reading options) or is resumed.

    The architecture is ``architecture``, or else the one that ``config`` or ``sets`` names, or else the default of the
    command. Raises ConfigError, RunError if there is nothing to resume, and OutputError if ``out`` exists.
    """
    if not resume:
        check_place(out, overwrite)
        kind = ARCHITECTURES[architecture] if architecture else _named_settings(command, config, sets or [])
        settings = load_settings(kind, config, sets or [])
        options = read_options(settings.cohort, one_visit=True, **reading)
        return settings.model_copy(update={"cohort": options.model_dump(mode="json", exclude_unset=True)})
    if config or sets or any(value is not None for value in reading.values()):
        raise ConfigError(RESUMED.format(out))
    begun = unfinished_config(out, CrossSectionalConfig)
    if begun.model != command:
        raise RunError(f"{out}: a training of crow {begun.model}. Resume it with that command.")
    if architecture not in (None, begun.architecture):
        raise ConfigError(f"{out}: a training of {begun.architecture}, not {architecture}. Leave out --architecture.")
    return begun


def _named_settings(command: str, config: Path | None, sets: list[str]) -> type[CrossSectionalConfig]:
    """The settings of the architecture that a YAML file or a pair names; those of the command's default otherwise."""
    own = architectures_of(command)
    values: dict[str, Any] = {} if config is None else read_yaml(preset_path(config))[0]
    for pair in sets:
        if pair.partition("=")[0].strip() == "architecture":
            set_pair(values, {}, pair)
    name = values.get("architecture", own[0])
    if name not in own:
        raise ConfigError(f"architecture {name!r} is not one of crow {command}. Choose {' or '.join(own)}.")
    return ARCHITECTURES[name]


def open_data(cohort: Path, options: dict[str, Any], schema: Schema | None = None) -> Cohort | ScanStore:
    """A store of scans as it is, a table read by ``schema`` (a run's) or by ``options``.

    Raises CohortError, and ConfigError for scans that are not prepared yet.
    """
    if ScanStore.is_store(cohort):
        return ScanStore.open(cohort)
    visits = read_cohort(cohort, schema=schema) if schema else read_cohort(cohort, read_options(options))
    if visits.has_scans:
        raise ConfigError(
            f"{cohort}: its scans have to be brought onto one grid first. "
            f"Run crow prepare --cohort {cohort} --out STORE, then use --cohort STORE."
        )
    return visits


def refuse_existing(out: Path, overwrite: bool) -> None:
    """Raise OutputError before anything is computed if a file may not be written."""
    if out.is_dir():
        raise OutputError(f"{out}: exists already. Choose another name.")
    check_free(out, overwrite)


def learned(model: Model, out: Path) -> Learned[Model]:
    """What was trained into ``out``, with a picture of the training there."""
    if len(model.log):
        figures.save(figures.training_curves(model.log), out / "training.png", overwrite=True)
    return Learned(model, out, model.interrupted)
