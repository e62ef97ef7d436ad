"""Figures: trajectories, what-if fans, training curves and calibration."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from crow.errors import OutputError
from crow.extras import extra
from crow.files import writing
from crow.report.scales import label_values, unit_of

with extra("report"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator, PercentFormatter

# Okabe and Ito (2008): distinguishable with any colour vision.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
PATHS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, GREY = "#222222", "#8A8A8A"
LINES: Any = ("-", "--", "-.", ":")
PANELS, COLUMNS = 9, 3
QUANTILES = ("median", "q05", "q25", "q75", "q95")
TITLE_WIDTH = 235.0  # points, of a panel's title
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.labelcolor": "#333333",
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.hashsalt": "crow",
    "text.parse_math": False,  # a subject may be called $x$
}


def trajectories(
    observed: pd.DataFrame,
    forecasts: Mapping[str, pd.DataFrame],
    regions: list[str] | None = None,
    unit: str | Mapping[str, str] = "",
    title: str = "",
    later: pd.DataFrame | None = None,
    data_end: float | None = None,
    bands: Mapping[str, pd.DataFrame] | None = None,
    reference: tuple[str, pd.DataFrame] | None = None,
) -> Figure:
    """Observed visits of one subject, and its forecasts with 50 and 90 % prediction intervals.

    Parameters
    ----------
    observed : DataFrame
        One row per given visit: ``time`` (years since the first visit), ``age`` and one column per region.
    forecasts : mapping of str to DataFrame
        By name of a covariate path, one row per visit and region: ``time``, ``age``, ``region``, ``median``, ``q05``,
        ``q25``, ``q75`` and ``q95``.
    regions : list of str, optional
        Regions to draw; by default the nine with the clearest forecast change.
    unit : str or mapping of str to str
        The unit of all regions, or one for each. Large volumes in mm³ are shown in cm³.
    title : str
        Title of the figure.
    later : DataFrame, optional
        Visits that were observed later and not given to the model, with the columns of ``observed``.
    data_end : float, optional
        The longest follow-up of the training, in years since the first visit. Forecasts beyond it have a grey ground.
    bands : mapping of str to DataFrame, optional
        The intervals of ``forecasts`` on a finer grid of times, with the same columns. Without them, intervals open at
        the last observed value.
    reference : tuple of str and DataFrame, optional
        Centiles of other subjects, described by a few words, with the columns of ``forecasts``.

    Returns
    -------
    Figure
        One panel per region over the age, or over the years since the first visit if ages are unknown.
    """
    merged = pd.concat(list(forecasts.values()))
    shown = regions or _clearest(observed, merged)
    x = "age" if observed["age"].notna().all() and merged["age"].notna().all() else "time"
    end = None if data_end is None or data_end >= merged["time"].max() else _on_axis(merged, x, data_end)
    with style():
        figure, panels = _grid(len(shown))
        for axes, region in zip(panels, shown, strict=True):
            for k, (name, forecast) in enumerate(forecasts.items()):
                asked = forecast[forecast["region"] == region]
                fine = None if bands is None else bands[name][bands[name]["region"] == region]
                fine = _opened(observed, asked, x, region) if fine is None else fine
                _fan(axes, fine, asked, x, k, len(forecasts) > 1)
            axes.plot(observed[x], observed[region], "o-", color=INK, markersize=4, linewidth=0.8, zorder=5)
            if later is not None:
                axes.plot(later[x], later[region], "D", color=VERMILION, markersize=4.5, zorder=6)
            if end is not None:
                axes.axvline(end, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
                axes.axvspan(end, merged[x].max(), color=GREY, alpha=0.12, linewidth=0, zorder=0)
            if reference is not None:
                _centiles(axes, reference[1][reference[1]["region"] == region], x)
            axes.set_title(region, fontsize=min(10.0, TITLE_WIDTH / max(len(region), 1)))
            label_values(axes, unit_of(region, unit))
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for axes in panels[-COLUMNS:]:
            axes.set_xlabel("age (years)" if x == "age" else "years since the first visit")
        left_out = merged["region"].nunique() - len(shown)
        more = f"{len(shown)} of {len(shown) + left_out} regions" if left_out and not regions else ""
        figure.suptitle(" · ".join(part for part in (title, more) if part), x=0.01, ha="left", fontweight="bold")
        _legend(figure, list(forecasts), later is not None, end is not None, "" if reference is None else reference[0])
    return figure


def training_curves(log: pd.DataFrame, members: Sequence[Mapping[str, Any]] = ()) -> Figure:
    """Loss of every ensemble member by epoch, with the best epoch and the mixed model marked.

    Parameters
    ----------
    log : DataFrame
        ``member``, ``epoch`` (0 is the initialisation), and the losses ``train`` and ``validation``.
    members : sequence of mapping, optional
        The members of the run's metrics: the NLL ``validation`` of the chosen epoch, and that of the ``mixed_model``.

    Returns
    -------
    Figure
        Training losses as thin lines, validation losses as thick lines.
    """
    with style():
        figure = Figure(figsize=(6.5, 3.4), layout="constrained")
        axes = figure.subplots()
        starts = _mixed_models(log, members)
        for k, (member, rows) in enumerate(log.groupby("member", sort=False)):
            if (start := starts.get(cast(int, member))) is not None:
                axes.axhline(start, color=PATHS[k % len(PATHS)], linewidth=1.0, linestyle=(0, (1, 1.5)))
            colour, line = PATHS[k % len(PATHS)], LINES[k // len(PATHS) % len(LINES)]
            axes.plot(rows["epoch"], rows["train"], line, color=colour, linewidth=0.8, alpha=0.6)
            axes.plot(rows["epoch"], rows["validation"], line, color=colour, linewidth=1.8, label=f"member {member}")
            if rows["validation"].notna().any():
                best = rows.sort_values("validation").iloc[0]
                axes.plot(best["epoch"], best["validation"], "o", color=colour, markersize=6, markeredgecolor="white")
        axes.set(xlabel="epoch", ylabel="loss per visit (standardised units)")
        losses = np.append(log[["train", "validation"]].to_numpy(float).ravel(), list(starts.values()))
        axes.set_ylim(*_without_outliers(losses))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title("Loss by epoch (lower is better)")
        labelled = axes.get_legend_handles_labels()[0]
        kinds = [
            Line2D([], [], color=INK, linewidth=0.8, alpha=0.6, label="training"),
            Line2D([], [], color=INK, linewidth=1.8, label="validation"),
            Line2D([], [], color=INK, marker="o", linewidth=0, markersize=6, label="chosen epoch"),
        ]
        if len(starts):
            kinds.append(Line2D([], [], color=INK, linewidth=1.0, linestyle=(0, (1, 1.5)), label="mixed model"))
        figure.legend(handles=[*kinds, *labelled], loc="outside right upper", fontsize=8)
    return figure


def calibration(coverage: pd.DataFrame) -> Figure:
    """Observed against nominal coverage of prediction intervals; calibrated ones lie on the diagonal.

    Parameters
    ----------
    coverage : DataFrame
        ``nominal`` and ``observed`` (shares), and optionally ``low`` and ``high``, the bounds of ``observed``.

    Returns
    -------
    Figure
        A square panel.
    """
    with style():
        figure = Figure(figsize=(3.8, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="calibrated")
        if {"low", "high"} <= set(coverage.columns):
            low, high = coverage["low"], coverage["high"]
            axes.fill_between(coverage["nominal"], low, high, color=BLUE, alpha=0.2, linewidth=0, label="95 % interval")
        axes.plot(coverage["nominal"], coverage["observed"], "o-", color=BLUE, markersize=4, label="observed")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="nominal coverage", ylabel="observed coverage")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        axes.set_title("Calibration of prediction intervals")
        axes.legend(loc="lower right")
    return figure


def save(figure: Figure, path: str | Path, overwrite: bool = False) -> Path:
    """Write a figure as .png, .pdf or .svg, completely or not at all; raises OutputError if it cannot be written."""
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    if kind not in ("png", "pdf", "svg"):
        raise OutputError(f"{path}: a figure is written as .png, .pdf or .svg; found {path.suffix or 'no ending'}.")
    with style(), writing(path, overwrite) as temporary:
        figure.savefig(temporary, format=kind)
    return path


@contextmanager
def style() -> Iterator[None]:
    with mpl.rc_context(STYLE):
        yield


def _grid(panels: int) -> tuple[Figure, list[Axes]]:
    columns = min(panels, COLUMNS)
    rows = -(-panels // columns)
    figure = Figure(figsize=(max(5.0, 3.0 * columns), 2.1 * rows + 1.1), layout="constrained")
    axes = list(np.ravel(figure.subplots(rows, columns, sharex=True, squeeze=False)))
    for empty in axes[panels:]:
        empty.remove()
    for above in axes[max(0, panels - columns) : panels]:
        above.tick_params(labelbottom=True)
    return figure, axes[:panels]


def _opened(observed: pd.DataFrame, forecast: pd.DataFrame, x: str, region: str) -> pd.DataFrame:
    """A forecast that begins at the last observed value."""
    if not len(observed) or (last := observed.iloc[-1])[x] >= forecast[x].min():
        return forecast
    return pd.concat([pd.DataFrame([{x: last[x], **dict.fromkeys(QUANTILES, last[region])}]), forecast])


def _centiles(axes: Axes, centiles: pd.DataFrame, x: str) -> None:
    """The 5, 50 and 95 % centiles of other subjects; they extend the axis by at most half of its length each way."""
    low, high = axes.get_ylim()
    room, centiles = 0.5 * (high - low), centiles.sort_values(x)
    axes.plot(centiles[x], centiles["median"], color=GREEN, linewidth=1.0, linestyle="--", zorder=1)
    for name in ("q05", "q95"):
        axes.plot(centiles[x], centiles[name], color=GREEN, linewidth=0.8, linestyle=":", zorder=1)
    ends = centiles["q05"].min(), centiles["q95"].max()
    axes.set_ylim(min(low, max(ends[0], low - room)), max(high, min(ends[1], high + room)))


def _fan(axes: Axes, band: pd.DataFrame, forecast: pd.DataFrame, x: str, k: int, faint: bool) -> None:
    """Intervals over the times of ``band``, and dots at those of ``forecast``; ``faint`` if several overlap."""
    fan = band.sort_values(x)
    colour = PATHS[k % len(PATHS)]
    axes.fill_between(fan[x], fan["q05"], fan["q95"], color=colour, alpha=0.09 if faint else 0.16, linewidth=0)
    axes.fill_between(fan[x], fan["q25"], fan["q75"], color=colour, alpha=0.14 if faint else 0.30, linewidth=0)
    axes.plot(fan[x], fan["median"], color=colour, linewidth=1.8, linestyle=LINES[k % len(LINES)])
    axes.plot(forecast[x], forecast["median"], "o", color="white", markeredgecolor=colour, markersize=4)


def _on_axis(forecast: pd.DataFrame, x: str, time: float) -> float:
    """The place of a time on the axis of ages or of times."""
    return float(forecast[x].iloc[0] - forecast["time"].iloc[0]) + time


def _clearest(observed: pd.DataFrame, forecast: pd.DataFrame) -> list[str]:
    """The regions whose median moves furthest from the last visit, in widths of the 90 % interval, in table order."""
    ends = forecast.sort_values("time").groupby("region", sort=False).last()
    last = observed.iloc[-1][ends.index].astype(float)
    moved = ((ends["median"] - last).abs() / (ends["q95"] - ends["q05"])).sort_values(ascending=False)
    chosen = set(moved.index[:PANELS])
    return [region for region in forecast["region"].unique() if region in chosen]


def _legend(figure: Figure, names: list[str], later: bool, beyond: bool, reference: str) -> None:
    handles: list[Any] = [
        Line2D([], [], color=INK, marker="o", markersize=4, linewidth=0.8, label="given" if later else "observed")
    ]
    if later:
        handles.append(Line2D([], [], color=VERMILION, marker="D", markersize=4.5, linewidth=0, label="observed later"))
    if len(names) == 1:
        handles += [
            Line2D([], [], color=BLUE, marker="o", markerfacecolor="white", markersize=4, label="median"),
            Patch(color=BLUE, alpha=0.45, linewidth=0, label="50 % interval"),
            Patch(color=BLUE, alpha=0.16, linewidth=0, label="90 % interval"),
        ]
    else:
        handles += [
            Line2D([], [], color=PATHS[k % len(PATHS)], linestyle=LINES[k % len(LINES)], linewidth=1.8, label=name)
            for k, name in enumerate(names)
        ]
    if reference:
        label = f"5, 50 and 95 % of {reference}"
        handles.append(Line2D([], [], color=GREEN, linewidth=1.0, linestyle="--", label=label))
    if beyond:
        handles.append(Patch(color=GREY, alpha=0.12, linewidth=0, label="beyond the longest follow-up of the training"))
    labels = [str(one.get_label()) for one in handles]
    columns = _columns(labels, 15 * figure.get_size_inches()[0])
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8.5, columnspacing=1.2)


def _columns(labels: list[str], room: float) -> int:
    """The most columns of a legend, at most five, that are not wider than ``room`` characters."""
    for columns in range(min(5, len(labels)), 1, -1):
        if sum(max(map(len, part)) + 7 for part in np.array_split(labels, columns)) <= room:
            return columns
    return 1


def _mixed_models(log: pd.DataFrame, members: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """The validation loss of the mixed model in the units of the log, by member (from 1).

    ``members`` have it in other units, and that of the chosen epoch in both.
    """
    found = {}
    for k, member in enumerate(members, 1):
        own = log.loc[log["member"] == k, "validation"]
        gain = float(member.get("mixed_model") or np.nan) - float(member.get("validation") or np.nan)
        if np.isfinite(gain) and own.notna().any():
            found[k] = float(own.min()) + gain
    return found


def _without_outliers(losses: np.ndarray) -> tuple[float, float]:
    """Axis limits that ignore a bad first epoch."""
    finite = losses[np.isfinite(losses)]
    low, high = finite.min(), np.quantile(finite, 0.97, method="linear")
    room = 0.05 * max(high - low, 1e-6)
    return low - room, high + room
