"""Settings of CRow: typed, validated once, from defaults, YAML and ``key=value`` pairs.

The description of each field is its meaning wherever settings are shown: presets, ``crow settings``, documentation.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from crow.errors import ConfigError
from crow.memory import too_many
from crow.run.presets import preset_path
from crow.run.yaml_settings import set_pair
from crow.yaml_file import Places, read_yaml

MAX_PROBLEMS = 10  # of settings, that one message lists


def at_most(most: int, what: str, each: float) -> AfterValidator:
    """Refuse a number above ``most``, with the memory that so many would take at ``each`` bytes."""

    def check(value: int) -> int:
        if value > most:
            raise ValueError(too_many(value, most, what, each))
        return value

    return AfterValidator(check)


Seed = Annotated[
    int,
    Field(ge=0, le=2**32 - 1, description="Decides the split, the initial weights and all noise in training."),
]
CohortOptions = Annotated[
    dict[str, Any],
    Field(description="How the cohort is read: the options of crow check, such as subject, time, covariates, regions."),
]
Epochs = Annotated[
    int,
    Field(ge=0, le=1_000_000, description="Most epochs; after each, the loss of the validation subjects is computed."),
]
StepsPerEpoch = Annotated[int, Field(ge=1, le=1_000_000, description="Optimiser steps per epoch.")]
BatchSize = Annotated[
    int,
    Field(ge=1, description="Subjects, visits or patches per optimiser step."),
    at_most(1_000_000, "subjects or visits per step", 4000),
]
Layers = Annotated[int, at_most(1000, "blocks", 50_000)]
Patience = Annotated[int, Field(ge=1, le=1_000_000)]
LearningRate = Annotated[float, Field(gt=0, description="Largest learning rate of the schedule.")]
Validation = Annotated[
    float,
    Field(gt=0, lt=1, description="Share of the training subjects in the validation set, which decides when to stop."),
]
Threads = Annotated[int, Field(ge=1, le=1024, description="Processor threads.")]


class Settings(BaseModel):
    """A group of settings: unknown keys are refused, and a yes or no is never taken for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_number(cls, value: Any, info: Any) -> Any:
        if isinstance(value, bool) and "bool" not in str(cls.model_fields[info.field_name].annotation):
            raise ValueError("a number or name is needed, not yes or no")
        return value


class ModelSettings(Settings):
    """The model."""

    objective: Literal["likelihood", "inn"] = Field(
        "likelihood", description="Training objective: likelihood (the exact density) or inn (the published recipe)."
    )
    members: Annotated[int, at_most(1000, "ensemble members", 400_000)] = Field(
        8, ge=1, description="Ensemble members: flows with validation sets of their own, combined into one model."
    )
    initialise: Literal["auto", "mixed_model", "standard"] = Field(
        "auto",
        description="Initialisation: mixed_model (the linear mixed model), standard (the standard normal), or auto "
        "(both are tried, and the validation subjects decide).",
    )
    blocks: Layers = Field(3, ge=1, description="Recurrent coupling blocks per flow.")
    hidden: int | None = Field(
        None, ge=1, le=4096, description="Width of the recurrent subnets; null chooses it from the number of visits."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of the subnets' units that training drops at random.")
    base: Literal["standard", "conditional", "continuous"] = Field(
        "standard",
        description="Distribution of the latents: standard, conditional (on covariates and past visits), or "
        "continuous (an ODE of these).",
    )


class Optimisation(Settings):
    """How a flow is trained."""

    max_epochs: Epochs | None = Field(
        None, description="Most epochs; null chooses their number from the number of subjects."
    )
    steps_per_epoch: StepsPerEpoch = 10
    batch_size: BatchSize = 128
    learning_rate: LearningRate = 3e-3
    schedule: Literal["one-cycle", "published"] = Field(
        "one-cycle",
        description="Learning rate: one-cycle (rises once, then falls), or published (times 0.01^(1/120) every 12 "
        "epochs).",
    )
    pct_start: float = Field(
        0.2, gt=0, lt=1, description="Share of the steps in which the learning rate of one-cycle rises."
    )
    weight_decay: float = Field(
        1e-3,
        ge=0,
        description="Weight decay of AdamW; biases, gains and the parameters of the mixed model do not decay.",
    )
    gradient_clip: float = Field(5.0, gt=0, description="Largest norm of the gradient.")
    ema_decay: float = Field(
        0.98,
        ge=0,
        lt=1,
        description="Decay of the moving average of the weights, which is evaluated and kept; 0 is no average.",
    )
    patience: Patience | None = Field(
        10,
        description="Epochs without a better validation loss after which training stops, or half as many that each "
        "raise it.",
    )
    validation_fraction: Validation | None = Field(
        None,
        description="Share of the training subjects in the validation set, which decides when to stop; null is about "
        "20 subjects.",
    )
    accelerator: Literal["cpu", "gpu", "auto"] = Field("cpu", description="Device: cpu, gpu or auto.")
    devices: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Devices per computer, for models of scans voxel by voxel and of single visits; null is one, or as "
        "many as torchrun starts processes.",
    )
    num_nodes: int | None = Field(
        None, ge=1, le=1024, description="Computers; null is one, or as many as torchrun runs on."
    )
    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="How several processes share one training: ddp (each has the whole model), or fsdp (each keeps a "
        "part of the weights, their averages, gradients and optimiser state, and receives the others for a step).",
    )
    precision: Literal["32-true", "bf16-mixed"] = Field(
        "32-true",
        description="Precision of training: 32-true, or bf16-mixed (convolutions of scans in bfloat16, for a GPU).",
    )
    threads: Threads | None = Field(
        None, description="Processor threads; null is one for flows up to 64 wide, else one per core that is free."
    )


class TrainingSettings(Optimisation):
    """How CRow is trained."""

    patience: Patience | None = Field(
        None,
        description="Epochs without a better validation loss after which training stops, or half as many that each "
        "raise it; null is a sixth of the epochs, 5 to 10, and 10 for voxels.",
    )
    members_at_once: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Ensemble members that are trained together, as one task of --jobs or --cluster; null is up to 16, "
        "fewer for wide flows.",
    )

    visit_dropout: float = Field(
        1.0,
        ge=0,
        le=1,
        description="In every batch each subject loses visits at a rate drawn between 0 and this; one visit always "
        "stays.",
    )
    value_dropout: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the subjects in a batch that lose values of regions; null is a tenth if the cohort lacks "
        "some values and none if it is complete.",
    )


class VoxelSettings(Settings):
    """The flow over voxels (representation voxels): for small volumes, or a GPU."""

    size: int | None = Field(
        32, ge=4, description="Longest side of the box, whose voxels average those of the scan; null takes every voxel."
    )
    levels: int = Field(2, ge=1, le=6, description="Levels of the wavelet.")
    depth: Layers = Field(4, ge=1, description="Couplings per level.")
    hidden: int = Field(16, ge=1, le=4096, description="Channels of the subnets.")
    batch_size: BatchSize = Field(8, description="Subjects per optimiser step.")
    memory: Literal["plain", "checkpoint", "reversible"] = Field(
        "plain",
        description="Memory in training: plain, checkpoint (less), or reversible (does not grow with depth).",
    )
    patch: int | None = Field(
        None,
        ge=4,
        le=512,
        description="Voxels along an axis of the patches on which the flow is trained; null trains it on whole boxes.",
    )


class ScanSettings(Settings):
    """Cohorts of scans: what is modelled, and how scans are prepared (`crow prepare` has the same options)."""

    representation: str = Field(
        "auto",
        description="What is modelled: deformation (T1w, T2w, FLAIR: tissue moves), subspace (PET and maps: values "
        "change), voxels, or auto (by modality).",
    )
    components: int | None = Field(
        None,
        ge=1,
        le=200,
        description="Modes that summarise a scan; null is 4 for deformations, and for a subspace the number that the "
        "validation subjects choose.",
    )
    resolution: float = Field(2.0, ge=0.9, le=16, description="Voxel size of the grid of prepared scans, in mm.")
    registration: Literal["auto", "none", "linear", "nonlinear"] = Field(
        "auto",
        description="Registration to the template: none, linear, nonlinear, or auto (nonlinear, but none for PET and "
        "maps in a common space).",
    )
    voxels: VoxelSettings = Field(VoxelSettings(), description="The flow over voxels.")


class SplitSettings(Settings):
    """The test set."""

    test: float = Field(
        0.0, ge=0, lt=1, description="Share of the subjects in the test set, which training never sees."
    )


class Config(Settings):
    """Everything that, with a cohort, decides a run of CRow.

    Attributes
    ----------
    seed
        Of every random number.
    cohort
        How the table is read, as `crow.cohort.options.ReadOptions`.
    model, training, scans, split
        Groups of settings; ``crow settings train`` prints each with its default and meaning.

    Examples
    --------
    >>> from crow import Config
    >>> config = Config(seed=1, model={"members": 3})
    >>> config.model.members, config.split.test
    (3, 0.0)
    """

    seed: Seed = 0
    cohort: CohortOptions = Field(default_factory=dict)
    model: ModelSettings = Field(ModelSettings(), description="The model.")
    training: TrainingSettings = Field(TrainingSettings(), description="How it is trained.")
    scans: ScanSettings = Field(ScanSettings(), description="Only for cohorts of scans.")
    split: SplitSettings = Field(SplitSettings(), description="The test set.")

    @model_validator(mode="before")
    @classmethod
    def _one_precision(cls, values: Any) -> Any:
        """Read ``scans.voxels.precision`` of earlier versions as ``training.precision``."""
        match values:
            case {"scans": {"voxels": {"precision": "float32" | "bfloat16" as precision, **voxels}, **scans}}:
                training = values.get("training", {})
                if precision == "bfloat16" and isinstance(training, dict):
                    training = {**training, "precision": "bf16-mixed"}
                return {**values, "training": training, "scans": {**scans, "voxels": voxels}}
        return values


Kind = TypeVar("Kind", bound=Settings)


def load_config(path: str | Path | None = None, sets: Iterable[str] = ()) -> Config:
    """`load_settings` of CRow."""
    return load_settings(Config, path, sets)


def load_settings(kind: type[Kind], path: str | Path | None = None, sets: Iterable[str] = ()) -> Kind:
    """The defaults of ``kind``, changed by a YAML file or preset, changed by pairs such as ``training.max_epochs=5``.

    Raises ConfigError with the file and line, or the pair, that has an unknown key or an impossible value.
    """
    values: dict[str, Any] = {}
    places: Places = {}
    if path is not None:
        values, places = read_yaml(preset_path(path))
    for pair in sets:
        set_pair(values, places, pair)
    return validated(kind, values, places)


def validated(kind: type[Kind], values: dict[str, Any], places: Places | None = None) -> Kind:
    """The settings of ``values``; raises ConfigError with the closest name for an unknown one."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        shown = [_explain(problem, places or {}, kind) for problem in problems[:MAX_PROBLEMS]]
        more = [f"{len(problems) - MAX_PROBLEMS:,} more."] if len(problems) > MAX_PROBLEMS else []
        raise ConfigError("\n".join([*shown, *more])) from None


def dump_config(config: Settings) -> str:
    """The resolved settings as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _explain(problem: Any, places: Places, kind: type[Settings]) -> str:
    name = tuple(str(part) for part in problem["loc"])
    place = next((places[name[:n]] for n in range(len(name), 0, -1) if name[:n] in places), "settings")
    key = ".".join(name)
    if problem["type"] == "extra_forbidden":
        return f"{place}: there is no setting {key}. {_closest(name, kind)}"
    reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{place}: {key} cannot be {problem['input']!r}: {reason[:1].lower() + reason[1:]}."


def _closest(name: tuple[str, ...], kind: type[Settings]) -> str:
    group: type[BaseModel] = kind
    for part in name[:-1]:
        group = group.model_fields[part].annotation  # type: ignore[assignment]
    keys = [".".join((*name[:-1], key)) for key in group.model_fields]
    if near := difflib.get_close_matches(".".join(name), keys, n=1) or _elsewhere(name[-1], kind):
        return f"Did you mean {near[0]}?"
    return f"The settings are {', '.join(keys)}."


def _elsewhere(key: str, kind: type[Settings]) -> list[str]:
    """The same key in another group: ``training.max_epochs`` for ``max_epochs``."""
    return [
        f"{name}.{key}"
        for name, field in kind.model_fields.items()
        if (group := group_of(field.annotation)) is not None and key in group.model_fields
    ]


def group_of(annotation: Any) -> type[Settings] | None:
    """The class of a field that is a group of settings; None for a single setting."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None
