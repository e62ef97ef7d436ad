"""Figures show the numbers that they receive, and are written completely or not at all."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.image import imread

from crow.errors import OutputError
from crow.evaluation.outlier_score import LIMIT
from crow.report import charts, figures, synthetic_profiles
from crow.report.outlier_figure import outlier_scores

QUANTILES = {"q05": -2.0, "q25": -1.0, "median": 0.0, "q75": 1.0, "q95": 2.0}


def observed(regions: int = 2, age: float = 70.0) -> pd.DataFrame:
    visits = pd.DataFrame({"time": [0.0, 1.0], "age": [age, age + 1]})
    return visits.assign(**{f"R{k}": [100.0, 90.0] for k in range(regions)})


def forecast(moves: list[float], age: float = 70.0) -> pd.DataFrame:
    """Region Rk falls by ``moves[k]`` per year; the width of its interval is that of QUANTILES."""
    rows = [
        {"time": t, "age": age + t, "region": f"R{k}", **{q: 90 - move * (t - 1) + d for q, d in QUANTILES.items()}}
        for t in (2.0, 3.0)
        for k, move in enumerate(moves)
    ]
    return pd.DataFrame(rows)


def line(axes: Axes, points: int) -> tuple[list[float], list[float]]:
    """The first line with that many points."""
    found = next(line for line in axes.lines if len(np.asarray(line.get_xdata())) == points)
    return list(map(float, np.asarray(found.get_xdata()))), list(map(float, np.asarray(found.get_ydata())))


def test_trajectories_draw_median_and_intervals_from_the_last_visit() -> None:
    figure = figures.trajectories(observed(), {"forecast": forecast([5, 1])}, unit="mm³", title="Subject 7")
    axes = figure.axes[0]
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["R0", "R1"]
    assert line(axes, 3) == ([71.0, 72.0, 73.0], [90.0, 85.0, 80.0])
    assert ([70.0, 71.0], [100.0, 90.0]) in [
        (list(np.asarray(drawn.get_xdata())), list(np.asarray(drawn.get_ydata()))) for drawn in axes.lines
    ]
    bands = [band for band in axes.collections if isinstance(band, PolyCollection)]
    extents = [band.get_paths()[0].vertices for band in bands]
    assert [(e[:, 1].min(), e[:, 1].max()) for e in extents if e is not None] == [(78.0, 90.0), (79.0, 90.0)]
    assert axes.get_xlabel() == "age (years)" and axes.get_ylabel() == "mm³"
    assert figure.get_suptitle() == "Subject 7"


@pytest.mark.parametrize(("age", "place"), [(70.0, 72.5), (np.nan, 2.5)])
def test_trajectories_mark_where_the_data_of_the_training_end(age: float, place: float) -> None:
    def ends(data_end: float | None) -> tuple[list[float], bool]:
        paths = {"forecast": forecast([5, 1], age)}
        figure = figures.trajectories(observed(age=age), paths, data_end=data_end)
        dotted = [one for one in figure.axes[1].lines if one.get_linestyle() == ":"]
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        return [float(np.asarray(one.get_xdata())[0]) for one in dotted], any("follow-up" in text for text in labels)

    assert ends(2.5) == ([place], True)
    assert ends(3.0) == ends(None) == ([], False)


def test_trajectories_without_ages_use_the_time() -> None:
    figure = figures.trajectories(observed(age=np.nan), {"forecast": forecast([5, 1], age=np.nan)})
    assert figure.axes[0].get_xlabel() == "years since the first visit"
    assert line(figure.axes[0], 3)[0] == [1.0, 2.0, 3.0]


def test_of_many_regions_those_that_change_most_are_drawn_in_table_order() -> None:
    moves = [0.0, 9, 8, 7, 6, 0.1, 5, 4, 3, 2, 1]
    figure = figures.trajectories(observed(len(moves)), {"forecast": forecast(moves)})
    shown = [axes.get_title(loc="left") for axes in figure.axes]
    assert shown == [f"R{k}" for k in (1, 2, 3, 4, 6, 7, 8, 9, 10)]
    assert "9 of 11 regions" in figure.get_suptitle()
    chosen = figures.trajectories(observed(len(moves)), {"forecast": forecast(moves)}, regions=["R5", "R0"])
    assert [axes.get_title(loc="left") for axes in chosen.axes] == ["R5", "R0"]


def test_what_if_paths_differ_in_colour_and_line() -> None:
    paths = {"CDRSB 0": forecast([0, 0]), "CDRSB 5": forecast([5, 1])}
    figure = figures.trajectories(observed(), paths)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["observed", "CDRSB 0", "CDRSB 5"]
    fans = [drawn for drawn in figure.axes[0].lines if len(np.asarray(drawn.get_xdata())) == 3]
    assert len({drawn.get_color() for drawn in fans}) == len({drawn.get_linestyle() for drawn in fans}) == 2
    assert [float(np.asarray(drawn.get_ydata())[-1]) for drawn in fans] == [90.0, 80.0]


def test_outlier_scores_mark_and_name_outliers_above_the_threshold() -> None:
    scores = pd.DataFrame(
        {"subject": ["a", "b", "c", "d"], "session": "m12", "time": [0.0, 1.0, 2.0, 3.0],
         "outlier_score": [0.0, 0.5, 9.0, 1.0], "outlier": [False, False, True, False]}
    )  # fmt: skip
    axes, histogram = outlier_scores(scores).axes
    assert [text.get_text() for text in axes.texts] == ["outliers: above 4", "c m12"]
    assert list(np.asarray(axes.lines[0].get_ydata())) == [0.0, 0.5, 1.0]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [float(np.asarray(line.get_ydata())[0]) for line in dashed] == [LIMIT]
    assert axes.get_ylabel() == "outlier score (robust sd)" and axes.get_yscale() == "linear"
    assert sum(bar.get_width() for bar in histogram.patches) == 4  # type: ignore[attr-defined]
    figure = outlier_scores(scores.assign(outlier_score=[0.0, 0.5, 900.0, 1.0]))
    figure.draw_without_rendering()
    far = figure.axes[0]
    assert far.get_yscale() == "symlog"
    assert {"4", "100"} <= {label.get_text() for label in far.get_yticklabels()}


def test_names_of_outliers_do_not_overlap() -> None:
    scores = pd.DataFrame({
        "subject": [f"subject {k}" for k in range(8)], "session": "m12", "time": np.linspace(1, 1.2, 8),
        "outlier_score": np.linspace(9, 9.2, 8), "outlier": True,
    })  # fmt: skip
    figure = outlier_scores(scores)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts[1:]]
    assert boxes and not any(box.overlaps(other) for k, box in enumerate(boxes) for other in boxes[k + 1 :])


def test_training_curves_show_the_mixed_model_in_the_units_of_the_log() -> None:
    log = pd.DataFrame({"member": 1, "epoch": [0, 1, 2], "train": [3.0, 2.0, 1.0], "validation": [3.0, 2.5, 2.7]})
    figure = figures.training_curves(log, [{"validation": 52.5, "mixed_model": 52.9}])
    dotted = [line for line in figure.axes[0].lines if len(set(np.asarray(line.get_ydata()))) == 1]
    assert float(np.asarray(dotted[0].get_ydata())[0]) == pytest.approx(2.9)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["training", "validation", "chosen epoch", "mixed model", "member 1"]


def test_training_curves_mark_the_best_epoch() -> None:
    log = pd.DataFrame({"member": 1, "epoch": [0, 1, 2], "train": [3.0, 2.0, 1.0], "validation": [3.0, 2.5, 2.7]})
    axes = figures.training_curves(log).axes[0]
    dots = [drawn for drawn in axes.lines if len(np.asarray(drawn.get_xdata())) == 1]
    assert [(float(np.asarray(d.get_xdata())[0]), float(np.asarray(d.get_ydata())[0])) for d in dots] == [(1.0, 2.5)]


def test_calibration_draws_the_diagonal_and_the_observed_coverage() -> None:
    coverage = pd.DataFrame({"nominal": [0.5, 0.9], "observed": [0.4, 0.8], "low": [0.3, 0.7], "high": [0.5, 0.9]})
    axes = figures.calibration(coverage).axes[0]
    drawn = [list(np.asarray(line.get_ydata())) for line in axes.lines]
    assert drawn == [[0, 1], [0.4, 0.8]]


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_save_writes_the_format_of_the_file_name(tmp_path: Path, kind: str) -> None:
    figure = figures.calibration(pd.DataFrame({"nominal": [0.5], "observed": [0.4]}))
    path = figures.save(figure, tmp_path / f"c.{kind}")
    start = path.read_bytes()[:5]
    assert start == {"png": b"\x89PNG\r", "pdf": b"%PDF-", "svg": b"<?xml"}[kind]
    assert [entry.name for entry in tmp_path.iterdir()] == [f"c.{kind}"]


def test_save_refuses_other_kinds_and_existing_files(tmp_path: Path) -> None:
    figure = figures.calibration(pd.DataFrame({"nominal": [0.5], "observed": [0.4]}))
    with pytest.raises(OutputError, match=r"\.png, \.pdf or \.svg; found \.doc"):
        figures.save(figure, tmp_path / "c.doc")
    figures.save(figure, tmp_path / "c.png")
    with pytest.raises(OutputError, match="--overwrite"):
        figures.save(figure, tmp_path / "c.png")
    figures.save(figure, tmp_path / "c.png", overwrite=True)
    assert imread(tmp_path / "c.png").shape[:2] == (570, 570)


def test_importing_figures_does_not_import_pyplot() -> None:
    code = "import sys, crow.report.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_profile_draws_the_regions_furthest_from_the_training_mean() -> None:
    rng = np.random.default_rng(0)
    values = pd.DataFrame(rng.normal(100, 1, (200, 30)), columns=[f"Region{k:02d}_volume" for k in range(30)])
    values.iloc[:, 5:29] -= 20
    axes = synthetic_profiles.profile(values, [100.0] * 30, [10.0] * 30, "women").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"Region{k:02d}" for k in range(5, 29)]
    assert axes.get_title(loc="left") == "women · 24 of 30 regions"
    medians, places = line(axes, 24)
    assert medians == pytest.approx([-2.0] * 24, abs=0.05) and places[0] == 23


def test_a_model_much_worse_than_the_others_does_not_set_the_scale() -> None:
    errors = {"crow": 0.065, "mixed": 0.067, "gru": 0.08, "cinn": 0.52}
    figure = charts.models({"CRPS": errors, "NLL": {"crow": 47.9, "mixed": 48.1, "gru": 49.0, "cinn": 610.0}}, "sd")
    for panel, number in zip(figure.axes, ("0.52 >", "610 >"), strict=True):
        assert [text.get_text() for text in panel.texts] == [number]
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths[1:] == pytest.approx([0.08, 0.067, 0.065]) and 0.08 < widths[0] < 0.12
    table = pd.DataFrame({"model": list(errors), "group": "0-1 y", "value": list(errors.values())})
    horizons = charts.horizons(table, "CRPS", "sd")
    names = [text.get_text() for text in horizons.legends[0].get_texts()]
    assert names == ["mixed", "gru", "cinn (off the scale)", "crow"]
    assert horizons.axes[0].get_ylim()[1] < 0.15
    similar = charts.models({"CRPS": {"crow": 0.06, "mixed": 0.09}}, "sd")
    assert not similar.axes[0].texts


def test_bands_begin_at_the_level_and_dots_are_at_the_times_that_were_asked() -> None:
    asked, fine = forecast([5]), forecast([5]).assign(region="R0")
    start = fine.iloc[[0]].assign(time=1.0, age=71.0, median=91.0, q05=90.5, q25=90.8, q75=91.2, q95=91.5)
    fine = pd.concat([start, fine])
    centiles = ("subjects with DX CN", fine.assign(median=fine["median"] + 300, q05=-1e6, q95=1e6))
    figure = figures.trajectories(observed(1), {"f": asked}, bands={"f": fine}, reference=centiles, unit={"R0": "mm"})
    axes = figure.axes[0]
    assert line(axes, 3) == ([71.0, 72.0, 73.0], [91.0, 85.0, 80.0])
    dots = [one for one in axes.lines if one.get_marker() == "o" and one.get_linestyle() == "None"]
    assert [list(np.asarray(one.get_xdata())) for one in dots] == [[72.0, 73.0]]
    band = next(one for one in axes.collections if isinstance(one, PolyCollection)).get_paths()[0].vertices
    assert (band[band[:, 0] == 71.0][:, 1].min(), band[band[:, 0] == 71.0][:, 1].max()) == (90.5, 91.5)  # type: ignore[index]
    low, high = axes.get_ylim()
    assert low > 50 and high < 150, "centiles far away do not flatten the forecast"
    assert "5, 50 and 95 % of subjects with DX CN" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert axes.get_ylabel() == "mm"


def test_a_legend_is_not_wider_than_its_figure() -> None:
    paths = {f"a course of covariates with a long name {k}": forecast([5, 1, 2]) for k in range(4)}
    figure = figures.trajectories(observed(3), paths, data_end=2.0)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
