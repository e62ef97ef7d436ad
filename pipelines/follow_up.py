"""Follow-up scans of known subjects, as a BIDS derivatives dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.cohort.covariate_paths import Future
from crow.cohort.future import read_future
from crow.data.forecast import Forecast
from crow.errors import OutputError
from crow.files import writing
from crow.models.follow_up import FollowUpModel
from crow.pipelines.covariate_paths import (
    CovariateChange,
    changes_text,
    out_of_range,
    visits_after,
    with_changes,
)  # fmt: skip
from crow.pipelines.history import Missing
from crow.pipelines.scan_history import open_scans, store_beside
from crow.report import figures
from crow.report.scan_figures import follow_up as figure_of
from crow.representation.follow_up import FollowUp
from crow.scans.derivatives import describe_dataset, save_scan, scan_path, session_label
from crow.scans.store import ScanStore
from crow.scans.template import SPACE

Space = Literal["native", "template"]


@dataclass(frozen=True)
class Written:
    """The forecast of the coefficients, the structures' volumes of every visit, and the files made."""

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
    overwrite: bool = False,
    progress: Callable[[list[int]], Any] = iter,
    echo: Callable[[str], None] = lambda line: None,
    missing: Missing | None = None,
) -> Written:
    """Write the follow-up scans of some subjects ``at`` years after the last scan of each, given all their scans.

    With the table ``visits`` (`crow.cohort.future.read_future`), of the visits in it instead.

    For each: the median, ``keep`` whole draws, voxel-wise uncertainty, the change from the last scan, JSON files of
    what they came from, and a picture; the volumes of structures in ``volumes.tsv``. All in the space of the subject's
    last scan, or on the template's grid. Raises RunError, CohortError, and OutputError before anything is written where
    a file exists.
    """
    model = FollowUpModel.load(run)
    store = open_scans(model, cohort, store_beside(out), echo, overwrite, missing)
    history = model.cohort(store)
    if visits is not None:
        given = read_future(visits, history)
    else:
        table = None if covariates is None else read_future(covariates, history)
        wanted = visits_after(history, _named(history, subjects), at)
        given = with_changes(history, wanted, table, changes or [], future)
        if warning := out_of_range(history, changes or []):
            echo(f"warning: {warning}")
    forecast = model.forecast(store, given, future, samples, seed)
    last = history.visits.groupby("subject")["time"].max()
    ahead = forecast.visits["time"] - forecast.visits["subject"].map(last)
    places = [
        _Place(out, who, session_label(years), store.info.modality, SPACE if space == "template" else None)
        for who, years in zip(forecast.visits["subject"], ahead, strict=True)
    ]
    _check_free(places, keep, overwrite)
    describe_dataset(out)
    how = {"known": changes_text(changes or []), "table": (covariates or visits or Path()).name or None, "rest": future}
    written, volumes, folded = [], [], 0
    for k in progress(list(range(len(places)))):
        made = model.follow_up(store, forecast, k, space, keep, seed)
        facts = _facts(model, store, forecast, k, how, seed, run)
        written += _write(places[k], made, facts, float(ahead.iloc[k]), overwrite)
        folded += made.folded
        if made.volumes is not None:
            volumes.append(
                made.volumes.assign(subject=places[k].subject, session=places[k].session, years=ahead.iloc[k])
            )
    every = pd.concat(volumes, ignore_index=True) if volumes else pd.DataFrame()
    if len(every):
        written.append(_add_volumes(out / "volumes.tsv", every))
    return Written(forecast, every, tuple(written), folded)


@dataclass(frozen=True)
class _Place:
    root: Path
    subject: str
    session: str
    suffix: str
    space: str | None

    def path(self, desc: str, ending: str = ".nii.gz") -> Path:
        return scan_path(self.root, self.subject, self.session, desc, self.suffix, self.space, ending)


def _named(history: Cohort, subjects: list[str]) -> list[str]:
    """BIDS subjects may be asked for with or without ``sub-``."""
    known = set(history.subjects)
    return [f"sub-{name}" if name not in known and f"sub-{name}" in known else name for name in dict.fromkeys(subjects)]


def _draws(keep: int) -> list[str]:
    return [f"synthetic{k + 1:02d}" for k in range(keep)]


def _check_free(places: list[_Place], keep: int, overwrite: bool) -> None:
    """Refuse before anything is computed: nothing is replaced unasked, and no two forecasts share a name."""
    named = [place.path("synthetic") for place in places]
    if twice := sorted({path for path in named if named.count(path) > 1}):
        raise OutputError(f"{twice[0]}: two of the visits asked for would have this name. Ask for them one at a time.")
    for place in places:
        files = [place.path(desc, ending) for desc in ("synthetic", "change", "uncertainty", *_draws(keep))
                 for ending in (".nii.gz", ".json")]  # fmt: skip
        for path in [*files, place.path("followup", ".png")]:
            if path.exists() and not overwrite:
                raise OutputError(
                    f"{path}: exists already. Choose another folder with --out, or replace it with --overwrite."
                )


def _facts(
    model: FollowUpModel, store: ScanStore, forecast: Forecast, k: int, how: dict[str, Any], seed: int, run: Path
) -> dict[str, Any]:
    visit = forecast.visits.iloc[k]
    own = model.cohort(store).visits
    scans = own[own["subject"] == visit["subject"]]
    path = {name: _json(visit[name]) for name in model.schema.covariates}
    return {
        "synthetic": True,
        "Sources": [Path(path).name for path in scans["scan"]],
        "Model": {"run": run.name, "representation": model.representation, "seed": seed},
        "Draws": forecast.values.shape[1],
        "YearsSinceFirstScan": round(float(visit["time"]), 6),
        "Age": _json(visit["age"]),
        "Covariates": path,
        "CovariatePath": how,
    }


def _write(place: _Place, made: FollowUp, facts: dict[str, Any], years: float, overwrite: bool) -> list[Path]:
    facts = {**facts, "YearsSinceLastScan": round(years, 6), "VoxelsFolded": made.folded}
    unit = {"Units": "those of the last scan"}
    parts = [("synthetic", made.median, facts | {"What": "median follow-up"}, True)]
    parts += [
        (desc, draw, facts | {"What": "one draw"}, True)
        for desc, draw in zip(_draws(len(made.samples)), made.samples, strict=True)
    ]
    parts += [
        ("change", made.change, facts | unit | {"What": "expected change from the last scan"}, False),
        ("uncertainty", made.sd, facts | unit | {"What": "standard deviation of the follow-up"}, False),
    ]
    for desc, values, what, integers in parts:
        save_scan(place.path(desc), values, made.like, what, overwrite, integers)
    picture = place.path("followup", ".png")
    title = f"{place.subject}, {years:.4g} year{'s' * (round(years, 6) != 1)} after the last scan"
    figures.save(figure_of(made.like, made.median, made.change, made.sd, title), picture, overwrite)
    return [*(place.path(desc) for desc, *_ in parts), picture]


def _add_volumes(path: Path, volumes: pd.DataFrame) -> Path:
    """The table of volumes with these visits in place of what it said of them."""
    keys = ["subject", "session"]
    volumes = volumes[[*keys, "years", *volumes.columns.drop([*keys, "years"])]]
    if path.exists():
        old = pd.read_csv(path, sep="\t", dtype={"subject": str, "session": str})
        again = pd.MultiIndex.from_frame(old[keys]).isin(pd.MultiIndex.from_frame(volumes[keys]))
        volumes = pd.concat([old[~again], volumes], ignore_index=True)
    with writing(path, overwrite=True) as temporary:
        volumes.to_csv(temporary, sep="\t", index=False, float_format="%.6g")
    return path


def _json(value: Any) -> Any:
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    return json.loads(json.dumps(value, default=lambda number: number.item()))
