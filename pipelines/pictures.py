"""The pictures that accompany a result: they are left out if the library that draws them is not installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crow.errors import MissingExtra
from crow.extras import require

if TYPE_CHECKING:
    from crow.models.base import Model


def can_draw(echo: Callable[[str], None]) -> bool:
    """Whether figures can be drawn; if not, ``echo`` receives the command that installs what they need."""
    try:
        require("report", "matplotlib")
    except MissingExtra as error:
        echo(f"Figures are left out. {error}")
        return False
    return True


def draw_training(model: Model, out: Path, echo: Callable[[str], None]) -> None:
    """Draw the losses of a training into ``out/training.png``, if it had epochs."""
    if len(model.log) and can_draw(echo):
        from crow.report import figures

        curves = figures.training_curves(model.log, model.metrics.get("members") or [])
        figures.save(curves, out / "training.png", overwrite=True)
