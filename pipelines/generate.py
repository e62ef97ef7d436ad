"""Forecasts of subjects of a cohort."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from crow.cohort import Cohort
from crow.cohort.covariate_paths import Future
from crow.cohort.future import read_future
from crow.cohort.options import listed
from crow.cohort.times import date_text
from crow.cohort.writing import conventions
from crow.data.forecast import Forecast
from crow.errors import OutputError
from crow.files import file_name, writing
from crow.models.crow import CRow
from crow.pipelines.bands import Bands, Covariates
from crow.pipelines.covariate_paths import (
    MEANING,
    CovariateChange,
    changes_text,
    named,
    out_of_range,
    unsupported,
    visits_after,
    with_changes,
)  # fmt: skip
from crow.pipelines.forecast_parts import Asked, forecast_in_parts
from crow.pipelines.history import Missing, doubtful_values, read_history, unseen_sites
from crow.tables import save_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crow.tasks import Progress

CARRIED = "covariates carried forward"


@dataclass(frozen=True)
class Generated:
    """A forecast, the source of its covariates in words, the files written, warnings, and what a what-if means.

    ``times`` are those of the visits as the user gave them: ``in 1 year``, or in the cohort's own time.
    """

    forecast: Forecast
    covariates: str
    written: tuple[Path, ...]
    warning: str = ""
    note: str = ""
    sites: str = ""
    times: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Course:
    """A forecast, and the covariates that its subjects have at any other time."""

    forecast: Forecast
    covariates: Covariates


@dataclass(frozen=True)
class Outputs:
    """Where to write: the summary, the draws, and a figure (a file for one subject, else a folder)."""

    summary: Path
    draws: Path | None = None
    figure: Path | None = None
    unit: str = ""
    overwrite: bool = False


def forecast_subjects(
    run: Path,
    out: Outputs,
    subjects: list[str],
    at: list[float],
    *,
    cohort: Path | None = None,
    changes: list[CovariateChange] | None = None,
    covariates: Path | None = None,
    asked: Asked,
    missing: Missing | None = None,
    jobs: int | None = None,
    progress: Progress = lambda parts, what, number: parts,
) -> Generated:
    """Forecast some subjects ``at`` years after the last visit of each, given all their visits.

    ``changes`` and the table ``covariates`` give future covariates; all others follow ``asked``. With ``changes``, the
    figure also shows the forecast without them. Many subjects are tasks for ``jobs`` processes
    (`crow.pipelines.forecast_parts`); ``progress`` receives the parts, what they are and their number.
    Raises RunError, CohortError, OutputError.
    """
    future = asked.future
    _check_figure(out.figure, subjects)
    model = CRow.load(run)
    history = read_history(model, cohort, missing)
    visits = visits_after(history, named(history, subjects), at)
    table = None if covariates is None else read_future(covariates, history)
    given = with_changes(history, visits, table, changes or [], future)
    forecast = forecast_in_parts(run, model, history, given, asked, jobs, progress)

    def course(of: list[CovariateChange]) -> Covariates:
        return lambda asked: with_changes(history, asked, table, of, future)

    shown = {"forecast": _Course(forecast, course(changes or []))}
    if changes and out.figure:
        without = forecast_in_parts(run, model, history, course([])(visits), asked, jobs, progress)
        name = CARRIED if table is None and future == "carry" else f"without {changes_text(changes)}"
        shown = {name: _Course(without, course([])), changes_text(changes): shown["forecast"]}
    sources = [f"{len(table)} rows of {covariates}" if table is not None else "", changes_text(changes or [])]
    how = _how(history, future, sources)
    given_in_table = [] if table is None else [name for name in history.covariates if name in table]
    changed = [*(one.name for one in changes or []), *given_in_table]
    last = forecast.visits["subject"].map(history.visits.groupby("subject")["time"].max())
    times = [ahead(years) for years in forecast.visits["time"] - last]
    written = _write(out, model, history, forecast, shown, asked.seed)
    outside = out_of_range(history, changes or [])
    return _generated(model, history, forecast, how, written, changed, times, outside)


def forecast_visits(
    run: Path,
    out: Outputs,
    cohort: Path,
    visits: Path,
    *,
    asked: Asked,
    missing: Missing | None = None,
    jobs: int | None = None,
    progress: Progress = lambda parts, what, number: parts,
) -> Generated:
    """Forecast the visits in the table ``visits`` (see `crow.cohort.future.read_future`) given those in ``cohort``.

    Many subjects are tasks, as in `forecast_subjects`.
    """
    future = asked.future
    model = CRow.load(run)
    history = read_history(model, cohort, missing)
    table = read_future(visits, history)
    _check_figure(out.figure, list(table["subject"].unique()))
    forecast = forecast_in_parts(run, model, history, table, asked, jobs, progress)
    given = [name for name in history.covariates if name in table]
    sources = [f"{', '.join(given)} from {visits}" if given else ""]
    course = _Course(forecast, lambda asked: with_changes(history, asked, table, [], future))
    written = _write(out, model, history, forecast, {"forecast": course}, asked.seed)
    own = history.own_time(forecast.visits["subject"], forecast.visits["time"])
    own = _dates(own, history)
    times = [one if isinstance(one, str) else f"{one:g}" for one in own]
    return _generated(model, history, forecast, _how(history, future, sources), written, given, times)


def _generated(
    model: CRow, history: Cohort, forecast: Forecast, how: str, written: tuple[Path, ...], changed: list[str],
    times: list[str], outside: str = "",
) -> Generated:  # fmt: skip
    """With what a reader of the forecast has to know of its history, its horizon and the ``changed`` covariates."""
    asked = history.of(forecast.visits["subject"].unique())
    rare = unsupported(model.table, forecast.visits, changed)
    lines = [*doubtful_values(model.gross_errors(asked)), model.beyond(forecast), outside, rare]
    lines.append(unseen_sites(model, forecast.visits))
    warnings = "\n".join(filter(None, lines))
    note = MEANING if set(changed) - set(history.schema.sites) else ""
    return Generated(forecast, how, written, warnings, note, _sites(model, forecast), tuple(times))


def ahead(years: float) -> str:
    """``in 1 year``, ``in 2.5 years``."""
    number = f"{round(years, 6):g}"
    return f"in {number} year{'' if number == '1' else 's'}"


def _how(history: Cohort, future: Future, sources: list[str]) -> str:
    """The source of the future covariates, in words."""
    given = "; ".join(part for part in sources if part)
    rest = "carried forward from the last visit" if future == "carry" else "extrapolated linearly"
    changing = [name for name in history.covariates if name not in history.schema.fixed]
    if given:
        return f"{given}; all others {rest}"
    return f"{', '.join(changing)}: {rest}" if changing else "none that change"


def _sites(model: CRow, forecast: Forecast) -> str:
    """For which sites or scanners the forecasts are."""
    parts = []
    for name in model.table.sites.columns if model.table.sites is not None else []:
        counts = forecast.visits[name].astype("string").fillna("no value").value_counts()
        levels = [f"{level} ({count:,})" if len(counts) > 1 else str(level) for level, count in counts.items()]
        parts.append(f"{name} {listed(levels, 6)}")
    return ", ".join(parts)


def _write(
    out: Outputs, model: CRow, history: Cohort, forecast: Forecast, shown: dict[str, _Course], seed: int
) -> tuple[Path, ...]:  # fmt: skip
    with ExitStack() as files:
        summary = files.enter_context(writing(out.summary, out.overwrite))
        own = conventions(history.schema)
        save_table(_in_own_time(history, forecast.summary), summary, out.summary.suffix, conventions=own)
        if out.draws is not None:
            draws = files.enter_context(writing(out.draws, out.overwrite))
            save_table(_in_own_time(history, forecast.draws), draws, out.draws.suffix, conventions=own)
        if out.figure is not None:
            _draw(out.figure, out, model, history, shown, seed)
    return tuple(path for path in (out.summary, out.draws, out.figure) if path is not None)


def _in_own_time(history: Cohort, summary: pd.DataFrame) -> pd.DataFrame:
    """With the cohort's own time column, unless that is the age."""
    name = history.schema.time
    if name in summary:
        return summary
    own = history.own_time(summary["subject"], summary["time"])
    summary.insert(2, name, _dates(own, history))
    return summary


def _dates(own: pd.Series, history: Cohort) -> pd.Series:
    """Dates as the table writes them; other times as they are."""
    schema = history.schema
    return date_text(own, schema.date_order, schema.date_mark) if pd.api.types.is_datetime64_any_dtype(own) else own


def _check_figure(figure: Path | None, subjects: list[str]) -> None:
    count = len(set(subjects))
    if figure is not None and figure.suffix and count > 1:
        raise OutputError(f"{figure}: one file cannot show {count} subjects. Name a folder, without an ending.")


def _draw(
    target: Path, out: Outputs, model: CRow, history: Cohort, shown: dict[str, _Course], seed: int
) -> None:  # fmt: skip
    """One figure, or a folder with a figure per subject."""
    from crow.report import figures  # matplotlib takes half a second to import

    longs = {name: course.forecast.long for name, course in shown.items()}
    forecast = next(iter(shown.values())).forecast
    subjects = forecast.visits["subject"].unique()

    def draw(subject: str) -> Figure:
        observed = history.visits[history.visits["subject"] == subject]
        paths = {name: long[long["subject"] == subject] for name, long in longs.items()}
        horizon = float(next(iter(paths.values()))["time"].max() - observed["time"].max())
        bands, draws = Bands(model, history, subject, seed), forecast.values.shape[1]
        return figures.trajectories(
            observed, paths, unit=out.unit or history.schema.units, title=f"Subject {subject}",
            data_end=forecast.follow_up or None,
            bands={name: bands.fan(horizon, course.covariates, draws) for name, course in shown.items()},
            reference=bands.centiles(horizon),
        )  # fmt: skip

    if target.suffix:
        figures.save(draw(subjects[0]), target, out.overwrite)
        return
    with writing(target, out.overwrite, "set of figures") as folder:
        taken: set[str] = set()
        for subject in subjects:
            name = file_name(subject)
            name = name if name not in taken else f"{name}-{len(taken)}"
            taken.add(name)
            figures.save(draw(subject), folder / f"{name}.png")
