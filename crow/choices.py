"""Words that a caller from Python chooses among; the command line checks its own."""

from __future__ import annotations

from collections.abc import Sequence

from crow.errors import ConfigError


def require_choice(name: str, value: object, known: Sequence[str]) -> None:
    """Raise ConfigError if ``value`` of the argument or option ``name`` is not one of ``known``."""
    if value not in known:
        raise ConfigError(f"{name} {value}: not known. Choose one of {', '.join(known)}.")
