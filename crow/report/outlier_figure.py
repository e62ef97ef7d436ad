"""Outlier scores of visits over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from crow.extras import extra
from crow.report.figures import BLUE, INK, VERMILION, style

with extra("report"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator
    from matplotlib.transforms import Bbox

LABELLED = 8  # outliers with their names
OUTLIER = 4.0  # score above which a visit is an outlier
TICKS = [-4, -2, 0, 2, 4, 10, 30, 100, 300, 1000, 3000, 10_000]  # of the logarithmic axis
MAX_LINEAR = 4.0  # scores beyond so many thresholds are drawn on a logarithmic axis


def outlier_scores(scores: pd.DataFrame, title: str = "Outlier score of each visit") -> Figure:
    """Outlier scores of visits over time, and their histogram. Outliers are marked, the largest with their names.

    Parameters
    ----------
    scores : DataFrame
        One row per visit: ``subject``, ``session``, ``time`` (years since the first visit), ``outlier_score`` and
        ``outlier`` (bool).
    title : str
        Title of the figure.

    Returns
    -------
    Figure
        Two panels with a common y axis, which ends in steps of a power if one score is far above the others.
    """
    others, outliers = scores[~scores["outlier"]], scores[scores["outlier"]]
    outliers = outliers.sort_values("outlier_score", ascending=False)
    with style():
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes, histogram = figure.subplots(1, 2, sharey=True, width_ratios=[5, 1])
        axes.plot(others["time"], others["outlier_score"], "o", color=BLUE, markersize=3, alpha=0.45, markeredgewidth=0)
        axes.plot(outliers["time"], outliers["outlier_score"], "D", color=VERMILION, markersize=5)
        if float(scores["outlier_score"].max()) > MAX_LINEAR * OUTLIER:
            axes.set_yscale("symlog", linthresh=OUTLIER, linscale=1.5)
            axes.yaxis.set_major_locator(FixedLocator(TICKS))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        for panel in (axes, histogram):
            panel.axhline(OUTLIER, color=VERMILION, linewidth=0.9, linestyle="--", zorder=1)
        axes.set(xlabel="years since the first visit", ylabel="outlier score (robust sd)")
        axes.margins(x=0.08)
        axes.annotate(f"outliers: above {OUTLIER:g}", (0.99, OUTLIER), xycoords=("axes fraction", "data"), ha="right",
                      va="bottom", fontsize=8, color=VERMILION)  # fmt: skip
        axes.set_title(title)
        histogram.hist(scores["outlier_score"], bins=30, orientation="horizontal", color=BLUE, alpha=0.6)
        histogram.set_xlabel("visits")
        _name(figure, axes, outliers.head(LABELLED))
    return figure


def _name(figure: Figure, axes: Axes, visits: pd.DataFrame) -> None:
    """Write subject and session beside each visit, if there is room beside the names already written."""
    figure.draw_without_rendering()
    taken: list[Bbox] = []
    columns = ["subject", "session", "time", "outlier_score"]
    for subject, session, time, score in visits[columns].itertuples(index=False):
        late = time > np.mean(axes.get_xlim())
        look: dict[str, Any] = {"ha": "right" if late else "left", "va": "center", "fontsize": 8, "color": INK}
        name = axes.annotate(f"{subject} {session}".strip(), (time, score), xytext=(-6 if late else 6, 0),
                             textcoords="offset points", **look)  # fmt: skip
        box = name.get_window_extent()
        if box.count_overlaps(taken):
            name.remove()
        else:
            taken.append(box)
