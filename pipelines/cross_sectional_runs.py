"""What the commands for single visits share: their data, their settings, and the picture of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from crow.cohort import Cohort, Schema, read_cohort
from crow.cohort.reader import read_options
from crow.errors import ConfigError, RunError
from crow.pipelines.pictures import draw_training
from crow.places import is_store
from crow.run.cross_sectional_config import CrossSectionalConfig, named_settings
from crow.run.folder import check_place, unfinished_config

if TYPE_CHECKING:  # torch takes seconds to import, and wrong settings and tables are refused without it
    from crow.models.cross_sectional import CrossSectionalModel
    from crow.scans.store import ScanStore

__all__ = ["Echo", "Learned", "learned", "learning_settings", "open_data"]

RESUMED = "--resume continues with the settings in {}/config.yaml: leave out --config, --set, --test and others."
Echo = Callable[[str], None]
Model = TypeVar("Model", bound="CrossSectionalModel")


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
        settings = named_settings(command, config, sets or [], architecture)
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


def open_data(cohort: Path, options: dict[str, Any], schema: Schema | None = None) -> Cohort | ScanStore:
    """A store of scans as it is, a table read by ``schema`` (a run's) or by ``options``.

    Raises CohortError, and ConfigError for scans that are not prepared yet.
    """
    if is_store(cohort):
        from crow.scans.store import ScanStore

        return ScanStore.open(cohort)
    visits = read_cohort(cohort, schema=schema) if schema else read_cohort(cohort, read_options(options))
    if visits.has_scans:
        raise ConfigError(
            f"{cohort}: its scans have to be brought onto one grid first. "
            f"Run crow prepare --cohort {cohort} --out STORE, then use --cohort STORE."
        )
    return visits


def learned(model: Model, out: Path, echo: Echo) -> Learned[Model]:
    """What was trained into ``out``, with a picture of the training there."""
    draw_training(model, out, echo)
    return Learned(model, out, model.interrupted)
