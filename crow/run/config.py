"""Settings: typed, validated once, from YAML and ``key=value`` pairs."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from crow.errors import ConfigError

Places = dict[tuple[str, ...], str]


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
    """What is fitted. ``members`` flows are pooled; None is chosen from the size of the cohort and printed."""

    objective: Literal["likelihood", "inn"] = "likelihood"
    members: int = Field(8, ge=1)
    initialise: Literal["auto", "mixed_model", "standard"] = "auto"
    blocks: int = Field(3, ge=1)
    hidden: int | None = Field(None, ge=1, le=4096)
    dropout: float = Field(0.1, ge=0, lt=1)
    base: Literal["standard", "conditional", "continuous"] = "standard"


class Optimisation(Settings):
    """How a flow is fitted; an epoch is ``steps_per_epoch`` optimiser steps and one look at the held-out subjects."""

    max_epochs: int | None = Field(None, ge=0)
    steps_per_epoch: int = Field(10, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    schedule: Literal["one-cycle", "published"] = "one-cycle"
    pct_start: float = Field(0.2, gt=0, lt=1)
    weight_decay: float = Field(1e-3, ge=0)
    gradient_clip: float = Field(5.0, gt=0)
    ema_decay: float = Field(0.98, ge=0, lt=1)
    patience: int = Field(10, ge=1)
    validation_fraction: float | None = Field(None, gt=0, lt=1)
    accelerator: Literal["cpu", "gpu", "auto"] = "cpu"
    threads: int | None = Field(None, ge=1)


class TrainingSettings(Optimisation):
    """``visit_dropout``: in every batch each subject loses visits at a rate drawn between 0 and this."""

    visit_dropout: float = Field(1.0, ge=0, le=1)


class VoxelSettings(Settings):
    """The flow over voxels: the longest side of its box (None: every voxel of the store), wavelet ``levels``, couplings
    a level, channels of the subnets, what training keeps in memory, and in which precision it computes on a GPU."""

    size: int | None = Field(32, ge=4)
    levels: int = Field(2, ge=1, le=6)
    depth: int = Field(4, ge=1)
    hidden: int = Field(16, ge=1)
    batch_size: int = Field(8, ge=1)
    memory: Literal["plain", "checkpoint", "reversible"] = "plain"
    precision: Literal["float32", "bfloat16"] = "float32"


class ScanSettings(Settings):
    """What of a scan is modelled, and how scans are prepared on the way (`crow prepare` has the same options).

    ``representation`` auto is deformation for structural scans (T1w, T2w, FLAIR) and subspace for others;
    ``components`` None is 4 of deformations, and of a subspace chosen by what held-out subjects' scans say.
    """

    representation: Literal["auto", "deformation", "subspace", "voxels"] = "auto"
    components: int | None = Field(None, ge=1, le=200)
    resolution: float = Field(2.0, ge=0.9, le=16)
    registration: Literal["auto", "none", "linear", "nonlinear"] = "auto"
    voxels: VoxelSettings = VoxelSettings()


class SplitSettings(Settings):
    """Which subjects are kept for a test, never seen in training."""

    test: float = Field(0.0, ge=0, lt=1)


class Config(Settings):
    """Everything that, with a cohort, decides a run."""

    seed: int = Field(0, ge=0)
    cohort: dict[str, Any] = {}
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    scans: ScanSettings = ScanSettings()
    split: SplitSettings = SplitSettings()


Kind = TypeVar("Kind", bound=Settings)


def load_config(path: str | Path | None = None, sets: Iterable[str] = ()) -> Config:
    """`load_settings` of CRow."""
    return load_settings(Config, path, sets)


def load_settings(kind: type[Kind], path: str | Path | None = None, sets: Iterable[str] = ()) -> Kind:
    """The defaults of ``kind``, changed by a YAML file, changed by pairs such as ``training.max_epochs=5``.

    Raises ConfigError with the file and line, or the pair, that holds an unknown key or an impossible value.
    """
    values: dict[str, Any] = {}
    places: Places = {}
    if path is not None:
        values, places = read_yaml(Path(path))
    for pair in sets:
        _set(values, places, pair)
    return validated(kind, values, places)


def validated(kind: type[Kind], values: dict[str, Any], places: Places | None = None) -> Kind:
    """The settings of ``values``; raises ConfigError with the nearest known name for an unknown one."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        raise ConfigError("\n".join(_explain(problem, places or {}, kind) for problem in problems)) from None


def dump_config(config: Settings) -> str:
    """The resolved settings as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> tuple[dict[str, Any], Places]:
    """The settings of a file, and the line of each; raises ConfigError where it is not YAML of ``key: value``."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"{path}: cannot be read as YAML settings: {reason}.") from None
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        values = {} if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: settings are needed as 'key: value' lines; found {type(values).__name__}.")
    return values, dict(_places(path, node))


def _places(path: Path, node: yaml.Node | None, prefix: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], str]]:
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[Hashable] = set()
    for key, value in node.value:
        name = (*prefix, str(key.value))
        place = f"{path}, line {key.start_mark.line + 1}"
        if name in seen:
            raise ConfigError(f"{place}: {'.'.join(name)} is set twice; keep one of the lines.")
        seen.add(name)
        yield name, place
        yield from _places(path, value, name)


def _set(values: dict[str, Any], places: Places, pair: str) -> None:
    key, equals, text = pair.partition("=")
    name = tuple(part.strip() for part in key.split("."))
    if not equals or not all(name):
        raise ConfigError(f"--set {pair}: write it as key=value, for instance training.max_epochs=50.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {pair}: the value {text!r} is not valid YAML; put it in quotes.") from None
    for depth, part in enumerate(name[:-1]):
        values = values.setdefault(part, {})
        places.setdefault(name[: depth + 1], f"--set {pair}")
        if not isinstance(values, dict):
            raise ConfigError(f"--set {pair}: {'.'.join(name[: depth + 1])} is a value, not a group of settings.")
    values[name[-1]] = value
    places[name] = f"--set {pair}"


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
    return f"Known are {', '.join(keys)}."


def _elsewhere(key: str, kind: type[Settings]) -> list[str]:
    """The same key in another group: ``training.max_epochs`` for ``max_epochs``."""
    groups = {name: field.annotation for name, field in kind.model_fields.items()}
    return [
        f"{name}.{key}"
        for name, group in groups.items()
        if isinstance(group, type) and issubclass(group, Settings) and key in group.model_fields
    ]
