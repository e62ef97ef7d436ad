"""Settings as text: YAML files with the line of every key, and ``key=value`` pairs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from crow.errors import ConfigError
from crow.files import read_text

Places = dict[tuple[str, ...], str]


def read_yaml(path: Path) -> tuple[dict[str, Any], Places]:
    """The settings of a file, and the line of each; raises ConfigError if it is not YAML of ``key: value``."""
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"{path}: cannot be read as YAML settings: {reason}.") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        values = {} if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: settings are needed as 'key: value' lines; found {type(values).__name__}.")
    return values, dict(_places(path, node))


def set_pair(values: dict[str, Any], places: Places, pair: str) -> None:
    """Put ``key=value`` into ``values``; raises ConfigError for a pair that is not one."""
    key, equals, text = pair.partition("=")
    name = tuple(part.strip() for part in key.split("."))
    if not equals or not all(name):
        raise ConfigError(f"--set {pair}: write it as key=value, for instance training.max_epochs=50.")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"--set {pair}: the value {text!r} is not valid YAML; put it in quotes.") from None
    for depth, part in enumerate(name[:-1]):
        values = values.setdefault(part, {})
        places.setdefault(name[: depth + 1], f"--set {pair}")
        if not isinstance(values, dict):
            raise ConfigError(f"--set {pair}: {'.'.join(name[: depth + 1])} is a value, not a group of settings.")
    values[name[-1]] = value
    places[name] = f"--set {pair}"


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
