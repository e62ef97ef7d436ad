"""The options that commands share, each declared once."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import typer

from crow.memory import too_many
from crow.places import check_places, folder

TRAINING, APPLYING, SCANS = "Training", "Applying a trained model (with --run)", "Scans"

MAX_DRAWS = 1_000_000
MAX_UNIT = 60  # characters
MAX_SEED = 2**32 - 1

Reading = dict[str, Any]
Command = Callable[..., None]


def at_most(most: int, what: str, each: float) -> Callable[[int | None], int | None]:
    """A callback that refuses a number above ``most``, with the memory that so many would take at ``each`` bytes."""

    def check(value: int | None) -> int | None:
        if value is not None and value > most:
            raise typer.BadParameter(f"{too_many(value, most, what, each)}.")
        return value

    return check


def draws(minimum: int, panel: str | None = None) -> typer.models.OptionInfo:
    """How many draws; quantiles need more of them than a median."""
    return typer.Option(
        "--draws", min=minimum, help="Number of draws from the model.", rich_help_panel=panel,
        callback=at_most(MAX_DRAWS, "draws of a visit with 100 regions", 800),
    )  # fmt: skip


def unit(help: str, default: str | None = None) -> typer.models.OptionInfo:
    """A unit, as figures show it."""
    return typer.Option("--unit", help=help, show_default=default or False, callback=_short)


def _short(value: str) -> str:
    if len(value) > MAX_UNIT:
        raise typer.BadParameter(f"{len(value):,} characters; at most {MAX_UNIT} are shown.")
    return value


def save_scan_draws(panel: str) -> typer.models.OptionInfo:
    """How many draws become files."""
    return typer.Option(
        "--save-scan-draws", min=0, help="Number of draws to write as scans of their own.", rich_help_panel=panel,
        callback=at_most(10_000, "scans", 4e6),
    )  # fmt: skip


def _seed(panel: str | None = None) -> typer.models.OptionInfo:
    return typer.Option(
        "--seed", min=0, max=MAX_SEED, help="Random seed: the same seed gives the same output.", rich_help_panel=panel
    )


def _presets(incomplete: str) -> list[str]:
    from crow.run.presets import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def architecture(default: str) -> typer.models.OptionInfo:
    """Which flow is trained; a YAML file can name it, too."""
    return typer.Option(
        "--architecture", help="Architecture of the flow.", rich_help_panel=TRAINING, show_default=default
    )


# Training
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE|PRESET", autocompletion=_presets, rich_help_panel=TRAINING, show_default=False,
        help="Settings: a YAML file, or the name of a preset such as published (crow settings lists them).",
    ),
]  # fmt: skip
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", rich_help_panel=TRAINING,
        help="Change one setting; may be repeated, and wins over --config (crow settings explains all settings).",
    ),
]  # fmt: skip
Test = Annotated[
    float | None,
    typer.Option(
        "--test", min=0.0, max=0.99, metavar="SHARE", rich_help_panel=TRAINING, show_default="0",
        help="Share of the subjects in the test set, which training never sees (the setting split.test).",
    ),
]  # fmt: skip
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the training that was started in --out.", rich_help_panel=TRAINING)
]

# A trained model
Run = Annotated[Path, typer.Option("--run", help="The run folder that crow train wrote.")]
AppliedRun = Annotated[
    Path | None, typer.Option("--run", help="The run folder that training wrote.", rich_help_panel=APPLYING)
]
Seed = Annotated[int, _seed()]
AppliedSeed = Annotated[int, _seed(APPLYING)]
FUTURE_COVARIATES = "--future-covariates"
KnownCovariates = Annotated[
    Literal["carry", "linear", "known"],
    typer.Option(
        FUTURE_COVARIATES,
        help="Covariates at later visits: carry (the last value, as in use), linear (a line through the subject's "
        "values), or known (as in the table).",
    ),
]
FutureCovariates = Annotated[
    Literal["carry", "linear"],
    typer.Option(
        FUTURE_COVARIATES,
        help="Covariates at future visits, unless given: carry (the last value), or linear (a line through the "
        "subject's values).",
    ),
]

# Everywhere
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier output.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", min=1, max=1024, help="Number of parallel processes.", show_default="one per core"),
]
GroupJobs = Annotated[
    int, typer.Option("--jobs", min=1, max=1024, help="Number of parallel processes.")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="ADDRESS", help="Run on a Dask cluster: tcp://HOST:8786, or slurm (then --jobs jobs).",
        show_default="on this computer",
    ),
]  # fmt: skip
Atlas = Annotated[Path | None, typer.Option("--atlas", help="NIfTI file of labelled regions.")]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="Names of the regions: a table with index and name, or a FreeSurfer LUT."),
]


def with_test(sets: list[str] | None, test: float | None) -> list[str] | None:
    """The pairs of ``--set`` and that of ``--test``; raises BadParameter if both give the test share."""
    if test is None:
        return sets
    if any(pair.split("=")[0].strip() == "split.test" for pair in sets or []):
        raise typer.BadParameter("--test and --set split.test are the same setting: give one of them.")
    return [*(sets or []), f"split.test={test}"]


def check_reading(
    out: Path, cohort: Path, config: Path | None, reading: Mapping[str, Any], resume: bool, overwrite: bool,
    **inputs: Path | None,
) -> None:  # fmt: skip
    """Raise OutputError if a run may not be written at ``out``: see `crow.places.check_places`."""
    files = {f"--{name.replace('_', '-')}": reading.get(name) for name in ("mapping", "ages")}
    given = {"--cohort": [cohort, *(reading.get("join") or [])], "--config": config, **files, **inputs}
    if config is not None and not config.suffix:
        given.pop("--config")  # the name of a preset
    check_places(folder("--out", out, "run", grows=resume), given, overwrite)


def reads_cohort(*groups: Mapping[str, Any]) -> Callable[[Command], Command]:
    """Give a command the options in ``groups`` (`crow.cli.cohort_options`) in place of its parameter ``reading``.

    ``--cohort`` may be repeated: the first table is the command's ``cohort``, the others are joined to it.
    """
    options = {name: annotation for group in groups for name, annotation in group.items()}

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_reading(**values: Any) -> None:
            reading = {name: values.pop(name) or None for name in options}  # a list that is not given is empty
            tables = values.pop("cohort") or [None]
            command(cohort=tables[0], **values, reading=reading | {"join": tables[1:] or None})

        read = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in options.items()
        ]
        own = [parameter for parameter in _parameters(command) if parameter.name != "reading"]
        with_reading.__signature__ = inspect.Signature([*own, *read])  # type: ignore[attr-defined]
        return with_reading

    return decorate


def joins_tables(command: Command) -> Command:
    """Let ``--cohort`` of a command be repeated: several tables become a list, as `crow.read_cohort` takes it."""

    @wraps(command)
    def with_tables(**values: Any) -> None:
        tables = values.pop("cohort") or [None]
        command(cohort=tables if len(tables) > 1 else tables[0], **values)

    with_tables.__signature__ = inspect.Signature(_parameters(command))  # type: ignore[attr-defined]
    return with_tables


def _parameters(command: Command) -> list[inspect.Parameter]:
    """The parameters of a command, with a list of tables for ``cohort``; the last of their type hints resolved."""
    hints = get_type_hints(command, include_extras=True)
    found = []
    for parameter in inspect.signature(command).parameters.values():
        annotation = hints.get(parameter.name, parameter.annotation)
        if parameter.name == "cohort":
            kind, *about = get_args(annotation)
            about[0].metavar = about[0].metavar or "PATH"
            tables = list[Path] if kind is Path else list[Path] | None
            annotation = Annotated[tables, *about]
        found.append(parameter.replace(annotation=annotation, kind=inspect.Parameter.KEYWORD_ONLY))
    return found
