"""Figures of group effects: real against synthetic, and by lobe and hemisphere."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from crow.extras import extra
from crow.report.figures import BLUE, GREY, INK, style
from crow.report.names import without_ending

with extra("report"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

MAX_ROWS = 60  # of the map of regions without a known lobe
MAX_NAMED = 14  # regions with their names beside their dots
LABEL_OFFSETS = [  # positions of a name: points from its dot, and alignment
    (x, y, across, along)
    for x, across in ((4.0, "left"), (-4.0, "right"), (0.0, "center")) for y, along in ((-4.0, "top"), (4.0, "bottom"))
]  # fmt: skip
MIN_SHARE = 0.8  # of the regions that have to be known for a map by lobe
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


class Location(NamedTuple):
    """The location of a region in FreeSurfer's atlases (Desikan-Killiany cortex, aseg)."""

    lobe: str
    name: str
    side: str


def locate(region: str) -> Location | None:
    """The location of ``CTX_LH_PRECUNEUS_UCBERKELEYAV45_10_17_16``, ``lh_precuneus_thickness``, ``Left-Hippocampus``
    and similar ones; None for other names."""
    words = [word for word in re.split(r"[^a-z]+", region.lower()) if word]
    side = next((SIDES[word] for word in words if word in SIDES), None)
    for start in range(len(words)):
        for end in range(len(words), start, -1):
            name = "".join(words[start:end])
            if side and name in OF_REGION:
                return Location(OF_REGION[name], name, side)
    return None


def change_in_size(real: float, synthetic: float) -> str:
    """``12 % smaller``, ``3 % larger`` or ``of equal size``: the size of synthetic effects beside real ones."""
    change = round(100 * (synthetic / real - 1))
    return "of equal size" if change == 0 else f"{abs(change)} % {'smaller' if change < 0 else 'larger'}"


def group_figure(
    table: pd.DataFrame, contrast: str | None = None, note: str = "", groups: str = ""
) -> Figure:  # fmt: skip
    """Synthetic against real Cohen's d of one contrast, and a map of both.

    Parameters
    ----------
    table : DataFrame
        group_effects.csv of an evaluation.
    contrast : str, optional
        The contrast to draw; the first by default.
    note : str
        A line below the figure.
    groups : str
        The names of the groups, for the title.

    Returns
    -------
    Figure
        A scatter plot with 95 % intervals, and a map by hemisphere and lobe for FreeSurfer's regions, else with one row
        per region.
    """
    contrast = str(table["contrast"].iloc[0]) if contrast is None else contrast
    rows = table[table["contrast"] == contrast].reset_index(drop=True)
    values, lobes = _map(rows)
    with style():
        figure = Figure(figsize=(10.5, max(4.8, 1.5 + 0.165 * len(values))), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
        _scatter(left, rows)
        _matrix(figure, right, values, lobes)
        real, synthetic = (float(rows[f"d_{kind}"].abs().median()) for kind in ("real", "synthetic"))
        size = f": synthetic effects are {change_in_size(real, synthetic)}" if real > 0 else ""
        title = f"{contrast}{size}" + (f"\n{groups}" if groups else "")
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        if note:
            figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=INK)
        if len(rows) <= MAX_NAMED:
            _name_dots(figure, left, rows)
    return figure


def _scatter(axes: Axes, rows: pd.DataFrame) -> None:
    x, y = rows["d_real"].to_numpy(float), rows["d_synthetic"].to_numpy(float)
    errors = [np.abs(rows[[f"{name}_low", f"{name}_high"]].to_numpy(float).T - at)
              for name, at in (("d_real", x), ("d_synthetic", y))]  # fmt: skip
    low, high = float(np.nanmin([x, y])), float(np.nanmax([x, y]))
    ends = [low - 0.12 * max(high - low, 0.2), high + 0.12 * max(high - low, 0.2)]
    axes.margins(x=0.12)  # room for names
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1, label="equal effects")
    axes.errorbar(x, y, errors[1], errors[0], fmt="none", ecolor=BLUE, alpha=0.22, elinewidth=0.8)
    axes.plot(x, y, "o", color=BLUE, markersize=4.5, markeredgecolor="white", markeredgewidth=0.5, label="region")
    axes.axhline(0, color="#CCCCCC", linewidth=0.8)
    axes.axvline(0, color="#CCCCCC", linewidth=0.8)
    axes.set(xlabel="d of real subjects (95 % interval)", ylabel="d of synthetic subjects (95 % of replicates)")
    axes.set_title("Agreement")
    axes.legend(loc="upper left")


def _name_dots(figure: Figure, axes: Axes, rows: pd.DataFrame) -> None:
    """Names beside the dots, the largest effects first; names without free space are left out (the map has all)."""
    figure.draw_without_rendering()
    rows = rows.loc[rows["d_real"].abs().sort_values(ascending=False).index].dropna(subset=["d_real", "d_synthetic"])
    dots = rows[["d_real", "d_synthetic"]].to_numpy(float)
    legend = axes.get_legend()
    taken = [Bbox([at - 3, at + 3]) for at in axes.transData.transform(dots)]
    taken += [legend.get_window_extent()] if legend is not None else []
    names = without_ending(rows["region"])
    for region, (at_x, at_y) in zip(rows["region"], dots, strict=True):
        for x, y, across, along in LABEL_OFFSETS:
            style_: dict[str, Any] = {"ha": across, "va": along, "fontsize": 7.5, "color": INK, "in_layout": False}
            name = axes.annotate(names[region], (at_x, at_y), xytext=(x, y), textcoords="offset points", **style_)
            box = name.get_window_extent()
            if axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max) and not box.count_overlaps(taken):
                taken.append(box)
                break
            name.remove()


def _matrix(figure: Figure, axes: Axes, wide: pd.DataFrame, lobes: list[str]) -> None:
    values = wide.to_numpy(float)
    largest = float(np.nanmax(np.abs(values))) or 1.0
    colours = mpl.colormaps["RdBu_r"].with_extremes(bad="#DDDDDD")
    shown = axes.imshow(np.ma.masked_invalid(values), aspect="auto", cmap=colours, vmin=-largest, vmax=largest)
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
    """The values of the map, and the lobe of each row; no lobes if too few regions are known."""
    found = [locate(region) for region in rows["region"]]
    if sum(each is not None for each in found) < MIN_SHARE * len(found):
        names = without_ending(rows["region"])
        chosen = rows.loc[rows["d_real"].abs().sort_values(ascending=False).index[:MAX_ROWS]].sort_values("d_real")
        wide = chosen.set_index("region")[["d_real", "d_synthetic"]].rename(index=names)
        return wide.set_axis(["real", "synthetic"], axis=1), []
    known = [k for k, each in enumerate(found) if each is not None]
    parts = pd.DataFrame([each for each in found if each is not None], columns=Location._fields, index=known)
    long = pd.concat([parts, rows.loc[known, ["d_real", "d_synthetic"]]], axis=1)
    wide = long.pivot_table(["d_real", "d_synthetic"], ["lobe", "name"], "side")
    order = [(side, value) for side in ("left", "right") for value in ("d_real", "d_synthetic")]
    columns = {f"{side}\n{value[2:]}": wide.get((value, side)) for side, value in order}
    table = pd.DataFrame({name: values for name, values in columns.items() if values is not None})
    table = table.reindex(list(LOBES), level="lobe")
    return table.droplevel("lobe"), list(table.index.get_level_values("lobe"))
