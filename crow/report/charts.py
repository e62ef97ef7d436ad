"""Charts of the report: errors by model and by horizon, PIT histograms, and values by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.extras import extra
from crow.report.figures import BLUE, GREY, INK, PATHS, style

with extra("report"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.ticker import MaxNLocator, PercentFormatter

OURS = "crow"
MAX_RATIO = 3.5  # to the median of all models, beyond which a bar is cut off


def pit(shares: Sequence[float]) -> Figure:
    """Histogram of the probability integral transform: flat for calibrated forecasts."""
    with style():
        figure = Figure(figsize=(4.6, 3.8), layout="constrained")
        axes = figure.subplots()
        edges = np.linspace(0, 1, len(shares) + 1)
        axes.bar(edges[:-1], shares, np.diff(edges), align="edge", color=BLUE, alpha=0.55, edgecolor="white")
        axes.axhline(1 / len(shares), color=GREY, linestyle="--", linewidth=1)
        axes.set(xlim=(0, 1), xlabel="share of draws below the truth", ylabel="share of values")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_title("Probability integral transform")
    return figure


def models(values: Mapping[str, Mapping[str, float]], unit: str) -> Figure:
    """One panel per metric and one bar per model, the best at the top, crow in blue.

    ``values`` is metric -> model -> value. The bar of a model that is much worse than most is cut off and labelled.
    """
    rows = max(len(by_model) for by_model in values.values())
    with style():
        figure = Figure(figsize=(3.1 * len(values) + 0.6, 0.3 * rows + 1.0), layout="constrained")
        panels = figure.subplots(1, len(values), squeeze=False)[0]
        for axes, (metric, by_model) in zip(panels, values.items(), strict=True):
            ordered = sorted(by_model.items(), key=lambda pair: -pair[1])
            names = [name for name, _ in ordered]
            colours = np.array([BLUE if name == OURS else "#B9C2CC" for name in names])
            numbers = np.array([value for _, value in ordered])
            zero = numbers.min() if metric == "NLL" else 0.0  # a log-likelihood has no natural zero
            end = _end(numbers, zero, 10.0 if metric == "NLL" else MAX_RATIO)
            drawn, inside = numbers.clip(max=end), numbers <= end
            if metric == "NLL":
                axes.hlines(names, zero, drawn, color=colours, linewidth=1)
                axes.scatter(numbers[inside], np.flatnonzero(inside), color=colours[inside], zorder=3)
                axes.margins(x=0.15)
            else:
                axes.barh(names, drawn, color=colours, height=0.7)
            for place in np.flatnonzero(~inside):
                axes.text(end, place, f"{numbers[place]:.3g} >", ha="right", va="center", fontsize=7.5, color=INK)
            axes.set_title(metric)
            axes.set_xlabel("nats per visit" if metric == "NLL" else unit)
            axes.set_ylim(-0.6, len(names) - 0.4)
            axes.xaxis.set_major_locator(MaxNLocator(3))
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
    return figure


def _end(values: NDArray[np.floating], zero: float = 0.0, max_ratio: float = MAX_RATIO) -> float:
    """The end of an axis from ``zero``: the largest value, or less if that is far from most of them."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 1.0
    near = known[known <= zero + max_ratio * (np.median(known) - zero)]
    return float(known.max() if len(near) == len(known) else zero + 1.3 * (near.max() - zero))


def horizons(table: pd.DataFrame, metric: str, unit: str) -> Figure:
    """The error of every model by years ahead. ``table`` has model, group (the horizon) and value.

    The axis ends before a model that is much worse than most; the legend marks it as off the scale.
    """
    groups = list(dict.fromkeys(table["group"]))
    names = list(dict.fromkeys(table["model"]))
    end = _end(table["value"].to_numpy(float))
    with style():
        figure = Figure(figsize=(7.4, 3.6), layout="constrained")
        axes = figure.subplots()
        for k, name in enumerate([n for n in names if n != OURS] + [n for n in names if n == OURS]):
            values = table[table["model"] == name].set_index("group")["value"].reindex(groups)
            look: dict[str, Any] = {"color": BLUE, "linewidth": 2.4, "zorder": 5} if name == OURS else {
                "color": PATHS[1 + k % (len(PATHS) - 1)], "linewidth": 1.1, "linestyle": ("-", "--", ":")[k // 5 % 3]
            }  # fmt: skip
            label = f"{name} (off the scale)" if values.min() > end else name
            axes.plot(range(len(groups)), values, marker="o" if name == OURS else ".", label=label, **look)
        axes.set_xticks(range(len(groups)), [group.replace(" y", " years") for group in groups])
        axes.set(xlabel="years after the last observed visit", ylabel=f"{metric} ({unit})")
        axes.set_ylim(0, 1.08 * end)
        axes.set_title(f"{metric} by horizon")
        figure.legend(loc="outside right center", fontsize=8.5)
    return figure


def matrix(table: pd.DataFrame, title: str, label: str, centre: float | None = None) -> Figure:
    """A heat map with numbers, if there is room for them; colours diverge around ``centre`` if it is given."""
    values = table.to_numpy(float)
    rows, columns = values.shape
    with style():
        names = [str(name) for name in table.index]
        width = 1.6 + 0.07 * max(len(name) for name in names) + 0.85 * columns
        figure = Figure(figsize=(width, 1.3 + 0.2 * rows), layout="constrained")
        axes = figure.subplots()
        if centre is None:
            smallest = 0.0 if np.nanmin(values) >= 0 else float(np.nanmin(values))
            shown = axes.imshow(values, aspect="auto", cmap="Blues", vmin=smallest, vmax=_end(values, smallest))
        else:
            largest = float(np.nanmax(np.abs(values - centre))) or 1.0
            shown = axes.imshow(values, aspect="auto", cmap="RdBu_r", vmin=centre - largest, vmax=centre + largest)
        axes.set_xticks(range(columns), [str(name) for name in table.columns], rotation=30, ha="right")
        axes.set_yticks(range(rows), names, fontsize=7 if rows > 30 else 8.5)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if rows <= 40:
            _write(axes, values, shown)
        axes.set_title(title)
        figure.colorbar(shown, ax=axes, label=label, shrink=min(1.0, 12 / rows), aspect=20)
    return figure


def _write(axes: Axes, values: NDArray[np.floating], shown: AxesImage) -> None:
    digits = 3 if np.nanmedian(np.abs(values)) < 0.1 else 2
    for y, x in np.ndindex(values.shape):
        if np.isfinite(values[y, x]):
            red, green, blue, _ = shown.cmap(shown.norm(values[y, x]))
            ink = INK if 0.3 * red + 0.6 * green + 0.1 * blue > 0.55 else "white"
            axes.text(x, y, f"{values[y, x]:.{digits}f}", ha="center", va="center", fontsize=7.5, color=ink)
