"""Follow-up scans of known subjects, as a BIDS derivatives dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from joblib import cpu_count

from crow.cohort.covariate_paths import Future
from crow.cohort.future import read_future
from crow.data.forecast import Forecast
from crow.errors import ConfigError, OutputError
from crow.files import check_free, writing
from crow.memory import require_draws
from crow.models.follow_up import FollowUpModel
from crow.pipelines.covariate_paths import (
    MEANING,
    CovariateChange,
    changes_text,
    named,
    out_of_range,
    visits_after,
    with_changes,
)  # fmt: skip
from crow.pipelines.history import Missing
from crow.pipelines.scan_history import open_scans, store_beside
from crow.report import figures
from crow.report.scan_figures import follow_up as figure_of
from crow.report.scan_series import ScanSeries
from crow.representation.follow_up import FollowUp, Volume
from crow.representation.scan_space import ScanSpace
from crow.run.folder import sha256
from crow.scans.derivatives import describe_dataset, save_scan, scan_path, session_label
from crow.scans.store import ScanStore
from crow.scans.template import SPACE
from crow.tables import save_table, with_formulas
from crow.tasks import Progress, in_order, in_parallel, run_tasks

Space = Literal["native", "template"]
MIN_TASKS = 4  # fewer follow-ups are made in this process: another one has to begin first


@dataclass(frozen=True)
class FollowUpFiles:
    """The forecast of the coefficients, structure volumes of every visit, the files written, and folded voxels."""

    forecast: Forecast
    volumes: pd.DataFrame
    written: tuple[Path, ...]
    folded: int


def follow_up_scans(
    run: Path,
    out: Path,
    subjects: list[str],
    at: list[float],
    *,
    cohort: Path | None = None,
    visits: Path | None = None,
    changes: list[CovariateChange] | None = None,
    covariates: Path | None = None,
    future: Future = "carry",
    samples: int = 200,
    keep: int = 0,
    seed: int = 0,
    space: Space = "native",
    series: Path | None = None,
    overwrite: bool = False,
    jobs: int | None = None,
    progress: Progress = lambda items, what, total: items,
    echo: Callable[[str], None] = lambda line: None,
    missing: Missing | None = None,
) -> FollowUpFiles:
    """Write the follow-up scans of ``subjects``, ``at`` years after each one's last scan, given all its scans.

    With a table ``visits`` (`crow.cohort.future.read_future`), the visits are those of the table. Each follow-up has a
    median, ``keep`` draws of whole scans, voxel-wise uncertainty, the change from the last scan, JSON sidecars and a
    picture; structure volumes are in ``volumes.tsv``. Images are in the space of the subject's last scan or on the
    template's grid. ``series`` is one more file with the last scan and all medians of one subject, in order of time.
    Follow-ups are tasks of `crow.tasks.run_tasks`, for ``jobs`` processes (one per core by default) if there are many.
    Raises RunError, CohortError, and, before anything is computed, OutputError if a file exists.
    """
    model = FollowUpModel.load(run)
    store = open_scans(model, cohort, store_beside(out), echo, overwrite, missing)
    history = model.cohort(store)
    if visits is not None:
        given = read_future(visits, history)
    else:
        table = None if covariates is None else read_future(covariates, history)
        wanted = visits_after(history, named(history, subjects), at)
        given = with_changes(history, wanted, table, changes or [], future)
        for warning in out_of_range(history, changes or []).splitlines():
            echo(f"warning: {warning}")
        if changes or table is not None:
            echo(MEANING)
    forecast = model.forecast(store, given, future, samples, seed)
    last = history.visits.groupby("subject")["time"].max()
    ahead = forecast.visits["time"] - forecast.visits["subject"].map(last)
    places = [
        _Place(out, who, session_label(years), store.info.modality, SPACE if space == "template" else None)
        for who, years in zip(forecast.visits["subject"], ahead, strict=True)
    ]
    _check_free(places, keep, overwrite)
    rows = history.visits.index[history.visits["subject"].isin(forecast.visits["subject"])]
    processes = jobs or (1 if len(places) < MIN_TASKS else cpu_count())
    at_once = keep * min(processes, len(places))
    require_draws(at_once, ScanSpace(store, int(rows[-1]), space).grid.shape, "a scan", "--save-scan-draws")
    film = None if series is None else _series(ScanSpace(store, int(rows[-1]), space), forecast, run)
    describe_dataset(out)
    how = {"known": changes_text(changes or []), "table": (covariates or visits or Path()).name or None, "rest": future}
    opened = _Opened(model, store, run.absolute(), sha256(run / "model.safetensors"))
    asked = _Asked(opened, how, space, keep, seed, overwrite, film is not None)
    tasks = [
        (asked, out, place, replace(forecast, visits=forecast.visits.iloc[[k]], values=forecast.values[[k]]), years)
        for k, (place, years) in enumerate(zip(places, map(float, ahead), strict=True))
    ]
    here = ((k, _follow_up(*task)) for k, task in enumerate(tasks))  # with all threads
    made = run_tasks(_follow_up, tasks, processes) if in_parallel(processes, len(tasks)) else here
    volumes, folded, failed = [], 0, []
    for place, years, scan in zip(
        places, ahead, in_order(progress(made, "Follow-up scans", len(tasks))), strict=True
    ):
        if isinstance(scan, Exception):
            failed.append(scan)
            continue
        folded += scan.folded
        if film is not None:
            film.add(scan.median, float(years))
        if scan.volumes is not None:
            volumes.append(scan.volumes.assign(subject=place.subject, session=place.session, years=years))
    written = [path for place in places for path in place.files(keep)]
    table_of_volumes = pd.concat(volumes, ignore_index=True) if volumes else pd.DataFrame()
    if len(table_of_volumes):
        written.append(_add_volumes(out / "volumes.tsv", table_of_volumes))
    if failed:
        raise failed[0]
    if film is not None and series is not None:
        film.save(series, overwrite)
        written.append(series)
    return FollowUpFiles(forecast, table_of_volumes, tuple(written), folded)


@dataclass(frozen=True)
class _Place:
    root: Path
    subject: str
    session: str
    suffix: str
    space: str | None

    def path(self, desc: str, ending: str = ".nii.gz") -> Path:
        return scan_path(self.root, self.subject, self.session, desc, self.suffix, self.space, ending)

    def files(self, keep: int) -> list[Path]:
        """All files of a visit but the JSON sidecars."""
        descs = ("synthetic", *_draws(keep), "change", "uncertainty")
        return [*(self.path(desc) for desc in descs), self.path("followup", ".png")]


@dataclass(frozen=True)
class _Opened:
    """A run and its store. Another process opens both itself: they are too large to send."""

    model: FollowUpModel
    store: ScanStore
    run: Path
    weights: str  # digest of the model, which tells one from another that took its place

    def __reduce__(self) -> tuple[Callable[..., _Opened], tuple[Path, Path, str]]:
        return _open, (self.run, self.store.path.absolute(), self.weights)


@lru_cache(maxsize=1)
def _open(run: Path, store: Path, weights: str) -> _Opened:
    return _Opened(FollowUpModel.load(run), ScanStore.open(store), run, weights)


@dataclass(frozen=True)
class _Asked:
    """What all follow-ups of a command have in common."""

    opened: _Opened
    how: dict[str, Any]
    space: Space
    keep: int
    seed: int
    overwrite: bool
    film: bool


class _Made(NamedTuple):
    median: Volume | None
    volumes: pd.DataFrame | None
    folded: int


def _follow_up(asked: _Asked, out: Path, place: _Place, forecast: Forecast, years: float) -> _Made | Exception:
    """Write the follow-up of the only visit of ``forecast``.

    An error is returned: raised, it would end the other processes in the middle of a file.
    """
    try:
        scan = asked.opened.model.follow_up(asked.opened.store, forecast, 0, asked.space, asked.keep, asked.seed)
        _write(replace(place, root=out), scan, _facts(asked, forecast), years, asked.overwrite)
    except Exception as error:
        return error
    return _Made(scan.median if asked.film else None, scan.volumes, scan.folded)


def _series(space: ScanSpace, forecast: Forecast, run: Path) -> ScanSeries:
    """A series that begins with the last scan of the only subject."""
    if (count := forecast.visits["subject"].nunique()) != 1:
        raise ConfigError(f"--series: shows one subject, but {count} were requested. Forecast them one at a time.")
    out = ScanSeries(space.like, {"synthetic": True, "Model": run.name, "Description": "last scan and follow-ups"})
    out.add(space.values(), 0.0)
    return out


def _draws(keep: int) -> list[str]:
    return [f"synthetic{k + 1:02d}" for k in range(keep)]


def _check_free(places: list[_Place], keep: int, overwrite: bool) -> None:
    """Raise OutputError, before anything is computed, if a file exists or two forecasts would share a name."""
    named = [place.path("synthetic") for place in places]
    if twice := sorted({path for path in named if named.count(path) > 1}):
        raise OutputError(f"{twice[0]}: two of the visits would have this file name. Forecast them one at a time.")
    for place in places:
        files = [place.path(desc, ending) for desc in ("synthetic", "change", "uncertainty", *_draws(keep))
                 for ending in (".nii.gz", ".json")]  # fmt: skip
        for path in [*files, place.path("followup", ".png")]:
            check_free(path, overwrite)


def _facts(asked: _Asked, forecast: Forecast) -> dict[str, Any]:
    visit, (model, run) = forecast.visits.iloc[0], (asked.opened.model, asked.opened.run)
    observed = model.cohort(asked.opened.store).visits
    scans = observed[observed["subject"] == visit["subject"]]
    path = {name: _json(visit[name]) for name in model.schema.covariates}
    return {
        "synthetic": True,
        "Sources": [Path(path).name for path in scans["scan"]],
        "Model": {
            "run": run.name, "sha256": asked.opened.weights, "representation": model.representation,
            "seed": asked.seed,
        },
        "Draws": forecast.values.shape[1],
        "YearsSinceFirstScan": round(float(visit["time"]), 6),
        "Age": _json(visit["age"]),
        "Covariates": path,
        "CovariatePath": asked.how,
    }


def _write(place: _Place, scan: FollowUp, facts: dict[str, Any], years: float, overwrite: bool) -> None:
    facts = {**facts, "YearsSinceLastScan": round(years, 6), "VoxelsFolded": scan.folded}
    unit = {"Units": "units of the last scan"}
    parts = [("synthetic", scan.median, facts | {"Description": "median follow-up"}, True)]
    parts += [
        (desc, draw, facts | {"Description": "one draw"}, True)
        for desc, draw in zip(_draws(len(scan.samples)), scan.samples, strict=True)
    ]
    parts += [
        ("change", scan.change, facts | unit | {"Description": "expected change from the last scan"}, False),
        ("uncertainty", scan.sd, facts | unit | {"Description": "standard deviation of the follow-up"}, False),
    ]
    for desc, values, sidecar, integers in parts:
        save_scan(place.path(desc), values, scan.like, sidecar, overwrite, integers)
    picture = place.path("followup", ".png")
    title = f"{place.subject}, {years:.4g} year{'s' * (round(years, 6) != 1)} after the last scan"
    figures.save(figure_of(scan.like, scan.median, scan.change, scan.sd, title), picture, overwrite)


def _add_volumes(path: Path, volumes: pd.DataFrame) -> Path:
    """Write ``volumes`` into the table, replacing earlier rows of the same visits."""
    keys = ["subject", "session"]
    volumes = volumes[[*keys, "years", *volumes.columns.drop([*keys, "years"])]]
    if path.exists():
        old = with_formulas(pd.read_csv(path, sep="\t", dtype={"subject": str, "session": str}))
        again = pd.MultiIndex.from_frame(old[keys]).isin(pd.MultiIndex.from_frame(volumes[keys]))
        volumes = pd.concat([old[~again], volumes], ignore_index=True)
    with writing(path, overwrite=True) as temporary:
        save_table(volumes, temporary, ".tsv", digits=6)
    return path


def _json(value: Any) -> Any:
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    return json.loads(json.dumps(value, default=lambda number: number.item()))
