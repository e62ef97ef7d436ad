"""Settings as ``key=value`` pairs."""

from __future__ import annotations

from typing import Any

import yaml

from crow.errors import ConfigError
from crow.yaml_file import Places


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
