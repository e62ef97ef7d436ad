"""The picture of people who do not exist beside those that a model learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from crow.report.figures import BLUE, GREY, INK, style
from crow.report.names import without_ending

ROWS = 24  # regions that there is room for


def profile(values: pd.DataFrame, mean: Sequence[float], sd: Sequence[float], title: str = "") -> Figure:
    """Each region of invented people (a row each) in sds of the training visits: median, 50 and 90 % of them.

    ``mean, sd`` are the training visits', a number a region. Of more than 24 regions those that lie furthest off are
    drawn, in their own order.
    """
    z = values.sub(list(mean)).div(list(sd))
    furthest = z.median().abs().sort_values(ascending=False, kind="stable").index[:ROWS]
    shown = [region for region in z.columns if region in set(furthest)]
    quantiles = z[shown].quantile([0.05, 0.25, 0.5, 0.75, 0.95])
    places = np.arange(len(shown))[::-1]
    names = without_ending(shown)
    with style():
        figure = Figure(figsize=(6.4, 1.5 + 0.26 * len(shown)), layout="constrained")
        axes = figure.subplots()
        for reach in (2, 1):
            axes.axvspan(-reach, reach, color=GREY, alpha=0.14, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=0.8)
        low, first, middle, third, high = quantiles.to_numpy()
        axes.hlines(places, low, high, color=BLUE, linewidth=1.4)
        axes.hlines(places, first, third, color=BLUE, linewidth=6, alpha=0.55)
        axes.plot(middle, places, "o", color=INK, markersize=4)
        axes.set_yticks(places, [names[region] for region in shown])
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("sds from the mean of all visits learned from")
        more = f"{len(shown)} of {z.shape[1]} regions" if len(shown) < z.shape[1] else ""
        axes.set_title(" · ".join(part for part in (title, more) if part))
        handles: list[Any] = [
            Line2D([], [], color=INK, marker="o", markersize=4, linewidth=0, label="invented: median"),
            Line2D([], [], color=BLUE, linewidth=6, alpha=0.55, label="half of them"),
            Line2D([], [], color=BLUE, linewidth=1.4, label="90 %"),
            Patch(color=GREY, alpha=0.3, linewidth=0, label="learned from: 1 and 2 sd"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, columnspacing=1.2)
    return figure
