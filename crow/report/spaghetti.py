"""The courses of all subjects of a cohort: one line per subject and region."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crow.cohort.cohort import Cohort
from crow.extras import extra
from crow.report.figures import BLUE, GREY, PATHS, style
from crow.report.names import without_ending
from crow.report.scales import label_values, unit_of

with extra("report"):
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

MAX_PANELS = 6  # regions
MAX_LINES = 400  # subjects, evenly chosen in the order of the table
MAX_GROUPS = 4  # levels with a colour of their own
SHARE = 0.005  # of the values at each end that may lie outside the axis


def group_of(cohort: Cohort) -> tuple[str | None, str]:
    """The covariate whose last level colours a subject, and the caption for it; a diagnosis if there is one."""
    schema = cohort.schema
    names = [n for n, kind in schema.covariates.items() if kind == "categorical" and n not in schema.sites]
    few = [n for n in names if 2 <= cohort.visits[n].dropna().nunique() <= MAX_GROUPS]
    name = next((n for n in few if n not in schema.fixed), few[0] if few else None)
    return name, "" if name is None else f"{name} at the last visit"


def spaghetti(cohort: Cohort) -> Figure:
    """Lines over the age, or over the years since the first visit if ages are unknown, one panel per region."""
    visits, names = _chosen(cohort), without_ending(cohort.regions)
    shown = cohort.regions[:MAX_PANELS]
    x, (group, _) = "age" if visits["age"].notna().all() else "time", group_of(cohort)
    last = None if group is None else visits.groupby("subject", sort=False)[group].last().astype("string")
    levels = [] if last is None else sorted(last.dropna().unique(), key=str)
    colours = {level: PATHS[k % len(PATHS)] for k, level in enumerate(levels)}
    columns = min(3, len(shown))
    with style():
        rows = -(-len(shown) // columns)
        figure = Figure(figsize=(max(4.5, 3.0 * columns), 2.1 * rows + 0.8), layout="constrained")
        panels = np.ravel(figure.subplots(rows, columns, sharex=True, squeeze=False))
        for axes, region in zip(panels, shown, strict=False):
            measured = visits.dropna(subset=[region])
            lines, inks = [], []
            for subject, own in measured.groupby("subject", sort=False):
                lines.append(own[[x, region]].to_numpy(float))
                inks.append(BLUE if last is None else colours.get(last[subject], GREY))
            axes.add_collection(LineCollection(lines, colors=inks, linewidths=0.7, alpha=0.45))
            axes.set_xlim(visits[x].min() - 0.5, visits[x].max() + 0.5)
            axes.set_ylim(*_limits(measured[region].to_numpy(float)))
            axes.set_title(names[region])
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            label_values(axes, unit_of(region, cohort.schema.units))
        for empty in panels[len(shown) :]:
            empty.remove()
        for axes in panels[max(0, len(shown) - columns) : len(shown)]:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("age (years)" if x == "age" else "years since the first visit")
        if levels:
            handles = [Line2D([], [], color=colours[level], label=f"{group} {level}") for level in levels]
            figure.legend(handles=handles, loc="outside lower center", ncols=len(levels), fontsize=8.5)
        left_out = len(cohort.regions) - len(shown)
        title = "Courses of the subjects" + (f" · {len(shown)} of {len(cohort.regions)} regions" if left_out else "")
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _chosen(cohort: Cohort) -> pd.DataFrame:
    subjects = cohort.subjects
    if len(subjects) > MAX_LINES:
        subjects = [subjects[k] for k in np.linspace(0, len(subjects) - 1, MAX_LINES).round().astype(int)]
    return cohort.visits[cohort.visits["subject"].isin(subjects)].sort_values(["subject", "time"])


def _limits(values: np.ndarray) -> tuple[float, float]:
    """The range of the values without gross errors, with some room; from 0 to 1 without values."""
    if not len(values):
        return 0.0, 1.0
    low, high = np.quantile(values, [SHARE, 1 - SHARE], method="linear")
    room = 0.06 * (high - low or abs(high) or 1.0)
    return float(low - room), float(high + room)
