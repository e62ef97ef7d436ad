"""Figures: trajectories, what-if fans, likelihoods and outliers, training curves and calibration."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crow.errors import OutputError
from crow.extras import extra
from crow.files import writing

with extra("report"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

# Okabe and Ito (2008): distinguishable with any colour vision.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
PATHS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, GREY = "#222222", "#8A8A8A"
LINES: Any = ("-", "--", "-.", ":")
PANELS, COLUMNS = 9, 3
LABELLED = 8  # outliers with their names
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
    unit: str = "",
    title: str = "",
    later: pd.DataFrame | None = None,
    data_end: float | None = None,
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
    unit, title : str
        Label of the y axes, and title of the figure.
    later : DataFrame, optional
        Visits that were observed later and not given to the model, with the columns of ``observed``.
    data_end : float, optional
        The longest follow-up of the training, in years since the first visit. Forecasts beyond it have a grey ground.

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
            for k, forecast in enumerate(forecasts.values()):
                _fan(axes, observed, forecast[forecast["region"] == region], x, region, k, len(forecasts) > 1)
            axes.plot(observed[x], observed[region], "o-", color=INK, markersize=4, linewidth=0.8, zorder=5)
            if later is not None:
                axes.plot(later[x], later[region], "D", color=VERMILION, markersize=4.5, zorder=6)
            if end is not None:
                axes.axvline(end, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
                axes.axvspan(end, merged[x].max(), color=GREY, alpha=0.12, linewidth=0, zorder=0)
            axes.set_title(region, fontsize=min(10.0, TITLE_WIDTH / max(len(region), 1)))
            if axes.get_ylim()[1] >= 1000:
                axes.yaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for axes in panels[-COLUMNS:]:
            axes.set_xlabel("age (years)" if x == "age" else "years since the first visit")
        for axes in panels[::COLUMNS]:
            axes.set_ylabel(unit)
        left_out = merged["region"].nunique() - len(shown)
        more = f"{len(shown)} of {len(shown) + left_out} regions" if left_out and not regions else ""
        figure.suptitle(" · ".join(part for part in (title, more) if part), x=0.01, ha="left", fontweight="bold")
        _legend(figure, list(forecasts), later is not None, end is not None)
    return figure


def likelihoods(
    scores: pd.DataFrame, title: str = "Log-likelihood of each visit given the earlier visits (diamonds: outliers)"
) -> Figure:
    """Log-likelihood of visits over time, and its histogram. Outliers are marked, the largest ones with their names.

    Parameters
    ----------
    scores : DataFrame
        One row per visit: ``subject``, ``session``, ``time`` (years since the first visit), ``log_prob`` (nats),
        ``outlier_score`` and ``outlier`` (bool).
    title : str
        Title of the figure.

    Returns
    -------
    Figure
        Two panels with a common y axis.
    """
    others, outliers = scores[~scores["outlier"]], scores[scores["outlier"]]
    outliers = outliers.sort_values("outlier_score", ascending=False)
    with style():
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes, histogram = figure.subplots(1, 2, sharey=True, width_ratios=[5, 1])
        axes.plot(others["time"], others["log_prob"], "o", color=BLUE, markersize=3, alpha=0.45, markeredgewidth=0)
        axes.plot(outliers["time"], outliers["log_prob"], "D", color=VERMILION, markersize=5)
        _name(axes, outliers.head(LABELLED), scores)
        axes.set(xlabel="years since the first visit", ylabel="log-likelihood (nats)")
        axes.margins(x=0.08)
        axes.set_title(title)
        histogram.hist(scores["log_prob"], bins=30, orientation="horizontal", color=BLUE, alpha=0.6)
        histogram.set_xlabel("visits")
    return figure


def training_curves(log: pd.DataFrame) -> Figure:
    """Loss of every ensemble member by epoch, with the best epoch marked.

    Parameters
    ----------
    log : DataFrame
        ``member``, ``epoch`` (0 is the initialisation), and the losses ``train`` and ``validation``.

    Returns
    -------
    Figure
        Training losses as thin lines, validation losses as thick lines.
    """
    with style():
        figure = Figure(figsize=(6.5, 3.4), layout="constrained")
        axes = figure.subplots()
        for k, (member, rows) in enumerate(log.groupby("member", sort=False)):
            colour, line = PATHS[k % len(PATHS)], LINES[k // len(PATHS) % len(LINES)]
            axes.plot(rows["epoch"], rows["train"], line, color=colour, linewidth=0.8, alpha=0.6)
            axes.plot(rows["epoch"], rows["validation"], line, color=colour, linewidth=1.8, label=f"member {member}")
            if rows["validation"].notna().any():
                best = rows.sort_values("validation").iloc[0]
                axes.plot(best["epoch"], best["validation"], "o", color=colour, markersize=6, markeredgecolor="white")
        axes.set(xlabel="epoch", ylabel="loss per visit (standardised units)")
        axes.set_ylim(*_without_outliers(log[["train", "validation"]].to_numpy()))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title("Training loss (thin), validation loss (thick), best epoch (dot)")
        axes.legend(fontsize=8)
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


def _name(axes: Axes, visits: pd.DataFrame, scores: pd.DataFrame) -> None:
    """Write subject and session beside each visit that is not too close to one already named."""
    width, height = np.ptp(scores["time"]) or 1.0, np.ptp(scores["log_prob"]) or 1.0
    named: list[tuple[float, float]] = []
    for subject, session, time, log_p in visits[["subject", "session", "time", "log_prob"]].itertuples(index=False):
        if any(abs(time - t) < 0.13 * width and abs(log_p - y) < 0.035 * height for t, y in named):
            continue
        named.append((time, log_p))
        axes.annotate(f"{subject} {session}".strip(), (time, log_p), xytext=(6, 0), textcoords="offset points",
                      va="center", fontsize=8, color=INK)  # fmt: skip


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


def _fan(axes: Axes, observed: pd.DataFrame, forecast: pd.DataFrame, x: str, region: str, k: int, faint: bool) -> None:
    """Intervals that open from the last observed visit; ``faint`` if several overlap."""
    fan = forecast.sort_values(x)
    if len(observed) and (last := observed.iloc[-1])[x] < fan[x].min():
        known = {x: last[x], **dict.fromkeys(["median", "q05", "q25", "q75", "q95"], last[region])}
        fan = pd.concat([pd.DataFrame([known]), fan])
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


def _legend(figure: Figure, names: list[str], later: bool, beyond: bool) -> None:
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
    if beyond:
        handles.append(Patch(color=GREY, alpha=0.12, linewidth=0, label="beyond the longest follow-up of the training"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8.5, columnspacing=1.2)


def _without_outliers(losses: np.ndarray) -> tuple[float, float]:
    """Axis limits that ignore a bad first epoch."""
    finite = losses[np.isfinite(losses)]
    low, high = finite.min(), np.quantile(finite, 0.97, method="linear")
    room = 0.05 * max(high - low, 1e-6)
    return low - room, high + room
