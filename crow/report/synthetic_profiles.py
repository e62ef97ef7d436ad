"""Figures of synthetic subjects relative to the training visits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from crow.data.forecast import quantiles_of
from crow.extras import extra
from crow.report.figures import BLUE, GREY, INK, style
from crow.report.names import without_ending

with extra("report"):
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

MAX_ROWS = 24  # regions


def profile(values: pd.DataFrame, mean: Sequence[float], sd: Sequence[float], title: str = "") -> Figure:
    """Regions of synthetic subjects in sds of the training visits: median, central 50 % and 90 %.

    Parameters
    ----------
    values : DataFrame
        One row per synthetic subject, one column per region.
    mean, sd : sequence of float
        Mean and standard deviation of each region over training visits.
    title : str
        Title of the figure.

    Returns
    -------
    Figure
        One row per region; of more than 24 regions the ones furthest from the mean, in table order.
    """
    z = values.sub(list(mean)).div(list(sd))
    furthest = z.median().abs().sort_values(ascending=False, kind="stable").index[:MAX_ROWS]
    shown = [region for region in z.columns if region in set(furthest)]
    low, first, middle, third, high = quantiles_of(z[shown].to_numpy(float), [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    places = np.arange(len(shown))[::-1]
    names = without_ending(shown)
    with style():
        figure = Figure(figsize=(6.4, 1.5 + 0.26 * len(shown)), layout="constrained")
        axes = figure.subplots()
        for reach in (2, 1):
            axes.axvspan(-reach, reach, color=GREY, alpha=0.14, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.hlines(places, low, high, color=BLUE, linewidth=1.4)
        axes.hlines(places, first, third, color=BLUE, linewidth=6, alpha=0.55)
        axes.plot(middle, places, "o", color=INK, markersize=4)
        axes.set_yticks(places, [names[region] for region in shown])
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("sds from the mean of the training visits")
        more = f"{len(shown)} of {z.shape[1]} regions" if len(shown) < z.shape[1] else ""
        axes.set_title(" · ".join(part for part in (title, more) if part))
        handles: list[Any] = [
            Line2D([], [], color=INK, marker="o", markersize=4, linewidth=0, label="synthetic: median"),
            Line2D([], [], color=BLUE, linewidth=6, alpha=0.55, label="central 50 %"),
            Line2D([], [], color=BLUE, linewidth=1.4, label="central 90 %"),
            Patch(color=GREY, alpha=0.3, linewidth=0, label="training: 1 and 2 sd"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, columnspacing=1.2)
    return figure
