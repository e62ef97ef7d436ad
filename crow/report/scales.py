"""Axes of values: in the unit of the region, and in cm³ if the table has thousands of mm³."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import Formatter

from crow.cohort.units import scaled, written

MAX_DIGITS = 6  # after the point
MIN_SEPARATED = 10_000.0  # from which thousands are separated


def unit_of(region: str, units: str | Mapping[str, str]) -> str:
    """The unit of a region, of one for all regions or of one for each; empty if it is not known."""
    return written(units if isinstance(units, str) else units.get(region, ""))


def label_values(axes: Axes, unit: str) -> None:
    """Label the y axis, whose limits are final, with the unit, and its ticks with values in that unit."""
    largest = max(map(abs, axes.get_ylim()))
    shown, factor = scaled(unit, largest)
    axes.set_ylabel(shown)
    if factor != 1 or largest >= MIN_SEPARATED:
        axes.yaxis.set_major_formatter(ScaledFormatter(factor))


class ScaledFormatter(Formatter):
    """Values divided by ``factor``, with thousands separated, all with the decimals that their steps need."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        scaled = np.asarray(values, float) / self.factor
        fits = (k for k in range(MAX_DIGITS) if np.allclose(scaled, scaled.round(k), rtol=0, atol=1e-9))
        digits = next(fits, MAX_DIGITS)
        return [f"{value:,.{digits}f}" for value in scaled]

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x / self.factor:,.6g}"
