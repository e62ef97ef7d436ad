"""The presets of settings that are installed with crow, by name."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path

from crow.errors import ConfigError


def preset_names() -> list[str]:
    """The names that ``--config`` accepts in place of a file."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def preset_path(name: str | Path) -> Path:
    """The file of a preset such as ``published``; any other path as it is.

    A bare word that is neither a preset nor a file raises ConfigError with the closest preset.
    """
    path = Path(name)
    if path.suffix or path.name != str(path) or path.exists():
        return path
    names = preset_names()
    if path.name in names:
        return _folder() / f"{path.name}.yaml"
    near = difflib.get_close_matches(path.name, names, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"The presets are {', '.join(names)}."
    raise ConfigError(f"--config {name}: there is no such file or preset. {hint}")


def _folder() -> Path:
    return Path(str(files("crow.configs")))
