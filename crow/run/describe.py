"""Every setting with its default and meaning, as rows and as commented YAML."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from crow.errors import ConfigError
from crow.run.config import Config, Settings, group_of
from crow.run.cross_sectional_config import ARCHITECTURES, CrossSectionalConfig, architectures_of, load_any
from crow.run.presets import preset_names, preset_path

Kind = type[Config] | type[CrossSectionalConfig]
WIDTH = 100


class Setting(NamedTuple):
    """One setting: ``training.patience``, its default as YAML, and its meaning."""

    key: str
    default: str
    meaning: str


def settings_of(command: str) -> list[Kind]:
    """The settings of a command, one class per architecture; the first is the default. Empty for other commands."""
    if command == "train":
        return [Config]
    return [ARCHITECTURES[name] for name in architectures_of(command)]


def commands_with_settings() -> list[str]:
    """The commands that train a model."""
    return ["train", *dict.fromkeys(kind.model for kind in ARCHITECTURES.values())]


def chosen_settings(command: str | None, architecture: str | None) -> list[Kind]:
    """The settings of a command (None: of all commands), or only of one of its architectures.

    Raises ConfigError for an unknown command or architecture, with the closest one.
    """
    commands = commands_with_settings()
    if command is not None and command not in commands:
        raise ConfigError(f"{command}: no command that has settings. {_closest(command, commands)}")
    kinds = [kind for name in ([command] if command else commands) for kind in settings_of(name)]
    if architecture is None:
        return kinds
    named = {name: kind for name, kind in ARCHITECTURES.items() if kind in kinds}
    if architecture not in named:
        raise ConfigError(f"--architecture {architecture}: no such architecture. {_closest(architecture, list(named))}")
    return [named[architecture]]


def describe(kind: type[Settings], prefix: str = "") -> Iterator[Setting]:
    """The settings of a class, those of its groups included."""
    for name, field in kind.model_fields.items():
        key = f"{prefix}{name}"
        if (group := group_of(field.annotation)) is not None:
            yield from describe(group, f"{key}.")
        else:
            yield Setting(key, _scalar(field.get_default(call_default_factory=True)), field.description or "")


def presets_of(kind: Kind) -> list[str]:
    """The names of the presets that are settings of a class."""
    return [name for name in preset_names() if type(load_any(preset_path(name))) is kind]


def commented_yaml(settings: Settings, header: str = "") -> str:
    """Settings as YAML that explains every key; ``header`` is a comment of its own above them."""
    lines = header.splitlines()
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        lines += ["", *(f"# {line}" for line in textwrap.wrap(field.description or "", WIDTH))]
        if isinstance(value, Settings):
            lines += [f"{name}:", textwrap.indent(commented_yaml(value).strip("\n"), "  ")]
        else:
            lines.append(f"{name}: {_scalar(value)}")
    return "\n".join(lines) + "\n"


def command_line(kind: Kind) -> str:
    """The command that trains with a class of settings."""
    if not issubclass(kind, CrossSectionalConfig):
        return "crow train"
    several = len(settings_of(kind.model)) > 1
    return f"crow {kind.model}" + f" --architecture {kind.model_fields['architecture'].default}" * several


def default_header(kind: Kind) -> str:
    """What stands above the defaults of a class: what they are, and how to use a copy."""
    return (
        f"# The settings of {command_line(kind)} and their defaults.\n"
        "# Copy this file, change what you need, and use it:\n"
        f"#   {command_line(kind)} --config my.yaml\n"
        "# One setting can also be changed on the command line: --set training.max_epochs=50"
    )


def rewritten(path: Path) -> str:
    """The text of a preset with its values and header, and the meaning of every setting as it is now."""
    header = path.read_text(encoding="utf-8").split("\n\n", 1)[0]
    return commented_yaml(load_any(path), header)


def _closest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"Did you mean {near[0]}?"
    return f"Choose one of {', '.join(names)}." if names else "This command has none."


def _scalar(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


if __name__ == "__main__":
    for preset in preset_names():
        preset_path(preset).write_text(rewritten(preset_path(preset)), encoding="utf-8")
