"""Figures of forecast scans beside real ones: planes to overlay, panels, rates of change, and calibration."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.extras import extra
from crow.report.figures import BLUE, GREY, INK, PATHS, style
from crow.report.scan_figures import canonical, crossing
from crow.report.slices import three_planes

with extra("report"):
    from matplotlib.figure import Figure
    from PIL import Image

Volume = NDArray[np.floating]
Limits = tuple[float, float]
SCANS = ("last", "real", "synthetic")
CHANGES = ("change_real", "change_synthetic", "difference")
TITLES = {
    "last": "last given scan", "real": "real scan", "synthetic": "forecast",
    "change_real": "real change", "change_synthetic": "expected change", "difference": "forecast - real",
}  # fmt: skip
GREYS, COLOURS = "gray", "RdBu_r"


def planes(
    last: Volume, real: Volume, synthetic: Volume, change: Volume, affine: NDArray[np.float64], mask: NDArray[np.bool_]
) -> tuple[dict[str, Image.Image], Limits, Limits]:
    """One picture each of `SCANS` and `CHANGES`, all of one size, and their common limits of greys and of colours.

    All volumes are ``[X, Y, Z]`` on the grid of ``affine``. The planes cross where the expected change is largest; no
    change is white.
    """
    volumes = dict(zip(SCANS, (last, real, synthetic), strict=True))
    volumes |= {"change_real": real - last, "change_synthetic": change, "difference": synthetic - real}
    through = crossing(canonical(np.where(mask, change, 0).astype(np.float32), affine))
    greys = (0.0, float(np.quantile(real[mask], 0.999, method="linear")) or 1.0)
    # The limits cover the real change without its extreme noise, which would hide the forecast change.
    real_change = float(np.quantile(np.abs(volumes["change_real"][mask]), 0.98, method="linear"))
    largest = max(real_change, float(np.abs(change[mask]).max()), 1e-6)
    colours = (-largest, largest)
    pictures = {name: three_planes(volumes[name], affine, through, greys, GREYS) for name in SCANS}
    pictures |= {
        name: three_planes(np.where(mask, volumes[name], 0), affine, through, colours, COLOURS) for name in CHANGES
    }
    return pictures, greys, colours


def panel(pictures: dict[str, Image.Image], greys: Limits, colours: Limits, title: str) -> Figure:
    """The pictures of `planes` in two columns, with titles and common colour bars."""
    with extra("report"):
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

    order = [name for pair in zip(SCANS, CHANGES, strict=True) for name in pair]
    with style():
        size = pictures["last"].size
        figure = Figure(figsize=(10.5, 3 * 5.1 * size[1] / size[0] + 1.6), layout="constrained")
        axes = figure.subplots(3, 2)
        for ax, name in zip(axes.ravel(), order, strict=True):
            ax.imshow(np.asarray(pictures[name]))
            ax.set_axis_off()
            ax.set_title(TITLES[name])
        for column, (limits, look, what) in enumerate(((greys, GREYS, "intensity"), (colours, COLOURS, "change"))):
            scale = ScalarMappable(Normalize(*limits), look)
            figure.colorbar(scale, ax=axes[:, column], orientation="horizontal", shrink=0.6, pad=0.02, label=what)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def region_rates(rates: pd.DataFrame, unit: str, title: str = "Change per year, by region") -> Figure:
    """Real and synthetic change per year of every region: mean (dot), central 50 % (thick) and 90 % (thin).

    ``rates``: see `crow.evaluation.scan_regions.yearly_rates`.
    """
    with style():
        figure = Figure(figsize=(7.5, 0.34 * len(rates) + 1.6), layout="constrained")
        axes = figure.subplots()
        y = np.arange(len(rates))[::-1].astype(float)
        for kind, colour, shift in (("real", INK, 0.16), ("synthetic", BLUE, -0.16)):
            values = {name: rates[f"{name}_{kind}"].to_numpy(float) for name in ("q05", "q25", "q75", "q95", "mean")}
            axes.hlines(y + shift, values["q05"], values["q95"], color=colour, linewidth=1)
            axes.hlines(y + shift, values["q25"], values["q75"], color=colour, linewidth=3.5, alpha=0.7)
            axes.plot(values["mean"], y + shift, "o", color=colour, markersize=4, label=kind)
        axes.axvline(0, color=GREY, linewidth=0.8, linestyle="--")
        axes.set_yticks(y, rates["region"].str.replace("_", " "))
        axes.set_xlabel(f"{unit} per year")
        axes.set_title(title)
        axes.legend(loc="best")
    return figure


def voxel_calibration(pit: pd.DataFrame) -> Figure:
    """PIT histogram of real voxels under each model's forecast: flat for calibrated forecasts.

    ``pit`` has ``bin`` (lower edge) and one column per model.
    """
    with style():
        figure = Figure(figsize=(5.5, 3.2), layout="constrained")
        axes = figure.subplots()
        edges = [*pit["bin"], 1.0]
        for colour, model in zip(_cycle(), pit.columns.drop("bin"), strict=False):
            axes.stairs(pit[model], edges, color=colour, linewidth=1.8 if model == "crow" else 1.0, label=model)
        axes.axhline(1 / len(pit), color=GREY, linewidth=0.8, linestyle="--")
        axes.set(xlabel="quantile of the real voxel in the forecast", ylabel="share of voxels", ylim=(0, None))
        axes.set_title("Calibration by voxel")
        axes.legend(fontsize=8)
    return figure


def _cycle() -> Iterator[str]:
    while True:
        yield from PATHS
