"""Group effects as a picture: real against synthetic, and where in the brain they are."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from crow.report.figures import BLUE, GREY, INK, style
from crow.report.names import without_ending

MOST = 60  # rows of the map of regions that no lobe is known of
NAMED = 14  # regions that are named beside their dots
BESIDE = [  # where a name may lie: points from its dot, and which end of it is there
    (x, y, across, along)
    for x, across in ((4.0, "left"), (-4.0, "right"), (0.0, "center")) for y, along in ((-4.0, "top"), (4.0, "bottom"))
]  # fmt: skip
PART = 0.8  # of the regions that have to be known for a map by lobe
LOBES = {
    "frontal": "caudalmiddlefrontal frontalpole lateralorbitofrontal medialorbitofrontal paracentral parsopercularis "
               "parsorbitalis parstriangularis precentral rostralmiddlefrontal superiorfrontal",
    "cingulate": "caudalanteriorcingulate isthmuscingulate posteriorcingulate rostralanteriorcingulate",
    "parietal": "inferiorparietal postcentral precuneus superiorparietal supramarginal",
    "temporal": "bankssts entorhinal fusiform inferiortemporal middletemporal parahippocampal superiortemporal "
                "temporalpole transversetemporal",
    "occipital": "cuneus lateraloccipital lingual pericalcarine",
    "insula": "insula",
    "subcortical": "accumbensarea accumbens amygdala caudate hippocampus pallidum putamen thalamusproper thalamus "
                   "ventraldc",
}  # fmt: skip
OF_REGION = {name: lobe for lobe, names in LOBES.items() for name in names.split()}
SIDES = {"lh": "left", "left": "left", "l": "left", "rh": "right", "right": "right", "r": "right"}


class Place(NamedTuple):
    """Where FreeSurfer's atlases (Desikan's cortex, aseg) have a region."""

    lobe: str
    name: str
    side: str


def place(region: str) -> Place | None:
    """Of ``CTX_LH_PRECUNEUS_UCBERKELEYAV45_10_17_16``, ``lh_precuneus_thickness``, ``Left-Hippocampus``, ...; None for
    other names."""
    words = [word for word in re.split(r"[^a-z]+", region.lower()) if word]
    side = next((SIDES[word] for word in words if word in SIDES), None)
    for start in range(len(words)):
        for end in range(len(words), start, -1):
            name = "".join(words[start:end])
            if side and name in OF_REGION:
                return Place(OF_REGION[name], name, side)
    return None


def group_figure(table: pd.DataFrame, contrast: str | None = None, said: str = "") -> Figure:
    """One contrast of group_effects.csv (the first by default): synthetic d against real d with their intervals, and a
    map of both: by hemisphere and lobe where the regions are FreeSurfer's, else one row a region.

    ``said`` is written above it, for instance who the groups are.
    """
    contrast = str(table["contrast"].iloc[0]) if contrast is None else contrast
    rows = table[table["contrast"] == contrast].reset_index(drop=True)
    wide, lobes = _map(rows)
    with style():
        figure = Figure(figsize=(10.5, max(4.8, 1.5 + 0.165 * len(wide))), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
        _scatter(left, rows)
        _matrix(figure, right, wide, lobes)
        figure.suptitle(f"{contrast}: Cohen's d of real and synthetic groups", x=0.01, ha="left", fontweight="bold")
        if said:
            figure.supxlabel(said, x=0.01, ha="left", fontsize=8, color=INK)
        if len(rows) <= NAMED:
            _name_dots(figure, left, rows)
    return figure


def _scatter(axes: Axes, rows: pd.DataFrame) -> None:
    x, y = rows["d_real"].to_numpy(float), rows["d_synthetic"].to_numpy(float)
    errors = [np.abs(rows[[f"{name}_low", f"{name}_high"]].to_numpy(float).T - at)
              for name, at in (("d_real", x), ("d_synthetic", y))]  # fmt: skip
    low, high = float(np.nanmin([x, y])), float(np.nanmax([x, y]))
    ends = [low - 0.12 * max(high - low, 0.2), high + 0.12 * max(high - low, 0.2)]
    axes.margins(x=0.12)  # room for names
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1, label="the same")
    axes.errorbar(x, y, errors[1], errors[0], fmt="none", ecolor=BLUE, alpha=0.22, elinewidth=0.8)
    axes.plot(x, y, "o", color=BLUE, markersize=4.5, markeredgecolor="white", markeredgewidth=0.5, label="a region")
    axes.axhline(0, color="#CCCCCC", linewidth=0.8)
    axes.axvline(0, color="#CCCCCC", linewidth=0.8)
    axes.set(xlabel="d of real people (95 % interval)", ylabel="d of synthetic people (95 % of studies as large)")
    axes.set_title("Agreement")
    axes.legend(loc="upper left")


def _name_dots(figure: Figure, axes: Axes, rows: pd.DataFrame) -> None:
    """Names beside the dots of a laid out figure, the largest effects first; those that find no free place are left out
    (the map names every region)."""
    figure.draw_without_rendering()
    rows = rows.loc[rows["d_real"].abs().sort_values(ascending=False).index].dropna(subset=["d_real", "d_synthetic"])
    dots = rows[["d_real", "d_synthetic"]].to_numpy(float)
    legend = axes.get_legend()
    taken = [Bbox([at - 3, at + 3]) for at in axes.transData.transform(dots)]
    taken += [legend.get_window_extent()] if legend is not None else []
    names = without_ending(rows["region"])
    for region, (at_x, at_y) in zip(rows["region"], dots, strict=True):
        for x, y, across, along in BESIDE:
            how: dict[str, Any] = {"ha": across, "va": along, "fontsize": 7.5, "color": INK, "in_layout": False}
            name = axes.annotate(names[region], (at_x, at_y), xytext=(x, y), textcoords="offset points", **how)
            box = name.get_window_extent()
            if axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max) and not box.count_overlaps(taken):
                taken.append(box)
                break
            name.remove()


def _matrix(figure: Figure, axes: Axes, wide: pd.DataFrame, lobes: list[str]) -> None:
    values = wide.to_numpy(float)
    most = float(np.nanmax(np.abs(values))) or 1.0
    colours = mpl.colormaps["RdBu_r"].with_extremes(bad="#DDDDDD")
    shown = axes.imshow(np.ma.masked_invalid(values), aspect="auto", cmap=colours, vmin=-most, vmax=most)
    axes.set_xticks(range(wide.shape[1]), list(wide.columns))
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(wide)), [str(name) for name in wide.index], fontsize=7)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for row in range(1, len(lobes)):
        if lobes[row] != lobes[row - 1]:
            axes.axhline(row - 0.5, color="white", linewidth=3)
    for row in range(len(lobes)):
        if row == 0 or lobes[row] != lobes[row - 1]:
            axes.annotate(lobes[row], (1.02, 1 - (row + 0.5) / len(lobes)), xycoords="axes fraction", fontsize=7.5,
                          va="center", color=INK)  # fmt: skip
    if wide.shape[1] > 2:
        axes.axvline(1.5, color="white", linewidth=3)
    figure.colorbar(shown, ax=axes, label="Cohen's d", shrink=0.6, aspect=25, pad=0.12 if lobes else 0.02)


def _map(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Values to colour, and the lobe of each row; no lobes where the regions' are not known."""
    found = [place(region) for region in rows["region"]]
    if sum(each is not None for each in found) < PART * len(found):
        names = without_ending(rows["region"])
        chosen = rows.loc[rows["d_real"].abs().sort_values(ascending=False).index[:MOST]].sort_values("d_real")
        wide = chosen.set_index("region")[["d_real", "d_synthetic"]].rename(index=names)
        return wide.set_axis(["real", "synthetic"], axis=1), []
    known = [k for k, each in enumerate(found) if each is not None]
    parts = pd.DataFrame([each for each in found if each is not None], columns=Place._fields, index=known)
    long = pd.concat([parts, rows.loc[known, ["d_real", "d_synthetic"]]], axis=1)
    wide = long.pivot_table(["d_real", "d_synthetic"], ["lobe", "name"], "side")
    order = [(side, value) for side in ("left", "right") for value in ("d_real", "d_synthetic")]
    columns = {f"{side}\n{value[2:]}": wide.get((value, side)) for side, value in order}
    table = pd.DataFrame({name: values for name, values in columns.items() if values is not None})
    table = table.reindex(list(LOBES), level="lobe")
    return table.droplevel("lobe"), list(table.index.get_level_values("lobe"))
