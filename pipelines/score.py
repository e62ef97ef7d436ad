"""How likely each visit of a cohort is under a run, given the subject's visits before it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.errors import ConfigError, OutputError
from crow.evaluation.outlier_score import LIMIT, outlier_score
from crow.files import writing
from crow.models.crow import CRow
from crow.models.follow_up import FollowUpModel
from crow.models.registry import class_of_run
from crow.pipelines.history import Missing, read_history
from crow.pipelines.scan_history import open_scans, store_beside
from crow.report import figures
from crow.representation.own_space import OwnSpace
from crow.scans.derivatives import describe_dataset, require_apart, save_scan, scan_path
from crow.scans.store import ScanStore


@dataclass(frozen=True)
class Scores:
    """``visits``: subject, session, time, log_prob (nats, original units), outlier_score, unusual, a z a region; of scans a
    z a coefficient, and where voxels are modelled the parts of log_prob (coefficients, residual).

    ``subjects``: subject, visits, log_prob of the whole sequence, and a visit of it. ``written`` are the files made.
    """

    cohort: Cohort
    visits: pd.DataFrame
    subjects: pd.DataFrame
    written: tuple[Path, ...]

    @property
    def most_unusual(self) -> pd.DataFrame:
        """Unusual visits first, with the region whose z is largest."""
        z = self.visits.filter(regex="_z$").fillna(0.0)
        if z.empty:
            return self.visits.assign(region="", z=0.0).sort_values("outlier_score", ascending=False)
        largest = np.argmax(np.abs(z.to_numpy()), axis=1)
        regions = [name.removesuffix("_z") for name in z.columns[largest]]
        named = self.visits.assign(region=regions, z=z.to_numpy()[np.arange(len(z)), largest])
        return named.sort_values("outlier_score", ascending=False)


def score(
    run: Path,
    cohort: Path,
    out: Path,
    *,
    figure: Path | None = None,
    maps: Path | None = None,
    samples: int = 200,
    seed: int = 0,
    missing: Missing | None = None,
    overwrite: bool = False,
    echo: Callable[[str], None] = lambda line: None,
    progress: Callable[[list[int]], Iterable[int]] = iter,
) -> Scores:
    """Score a cohort; write ``out`` (a row a visit), ``<out>_subjects`` (a row a subject), and the figure asked for.

    Of a run of scans, ``maps`` is a folder for a map of z by voxel of each visit (BIDS derivatives, in the space of the
    scan), and scans that are not prepared yet are, into ``<out>_store``. Raises RunError, CohortError where the columns
    are not those of the run, and OutputError for files that exist.
    """
    beside = out.with_name(f"{out.stem}_subjects{out.suffix}")
    if out.suffix.lower() not in (".csv", ".tsv"):
        raise OutputError(f"{out}: scores are written as .csv or .tsv; found {out.suffix or 'no ending'}.")
    if class_of_run(run).uses_scans:
        scans = FollowUpModel.load(run)
        store = open_scans(scans, cohort, store_beside(out.with_suffix("")), echo, overwrite, missing)
        if maps is not None:
            places = _map_places(scans, store, maps, overwrite)
        history, scored = scans.cohort(store), scans.score(store, samples, seed)
    elif maps is not None:
        raise ConfigError(f"{maps}: maps are for runs of scans; {run} is of regions.")
    else:
        model = CRow.load(run)
        history = read_history(model, cohort, missing)
        scored = model.score(history, samples, seed)
    visits, subjects = _scores(scored)
    separator = "\t" if out.suffix.lower() == ".tsv" else ","
    with writing(out, overwrite) as by_visit, writing(beside, overwrite) as by_subject:
        visits.to_csv(by_visit, index=False, sep=separator, lineterminator="\n")
        subjects.to_csv(by_subject, index=False, sep=separator, lineterminator="\n")
        if figure is not None:
            figures.save(figures.likelihoods(visits), figure, overwrite)
    if maps is not None:
        _write_maps(scans, store, maps, places, samples, seed, overwrite, progress)
    return Scores(history, visits, subjects, tuple(path for path in (out, beside, figure, maps) if path))


def _scores(scored: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    how = outlier_score(scored)
    z = scored.filter(regex="_z$")
    visits = scored.drop(columns=z.columns).assign(outlier_score=how, unusual=how > LIMIT)
    by_subject = scored.groupby("subject", sort=False)["log_prob"]
    subjects = pd.DataFrame(
        {"visits": by_subject.count(), "log_prob": by_subject.sum(min_count=1), "log_prob_per_visit": by_subject.mean()}
    )
    return pd.concat([visits, z], axis=1), subjects.reset_index()


def _map_places(model: FollowUpModel, store: ScanStore, folder: Path, overwrite: bool) -> dict[int, Path]:
    """The file of each visit's map by its row; raises OutputError where one exists, or two visits share a name."""
    visits = model.cohort(store).visits
    places = {
        int(row): scan_path(folder, subject, session, "zscore", store.info.modality)
        for row, subject, session in zip(visits.index, visits["subject"], visits["session"], strict=True)
    }
    if taken := [path for path in places.values() if path.exists() and not overwrite]:
        raise OutputError(f"{taken[0]}: exists already. Choose another folder, or replace it with --overwrite.")
    require_apart(folder, places.values())
    return places


def _write_maps(
    model: FollowUpModel,
    store: ScanStore,
    folder: Path,
    places: dict[int, Path],
    samples: int,
    seed: int,
    overwrite: bool,
    progress: Callable[[list[int]], Iterable[int]],
) -> None:
    """Every scan's z by voxel given the subject's earlier ones, on the scan's own grid."""
    describe_dataset(folder, "Maps of z")
    facts = {"What": "z of every voxel given the subject's earlier scans", "Model": {"seed": seed}, "Draws": samples}
    for row, z in model.z_maps(store, progress(list(places)), samples, seed):
        own = OwnSpace(store, row)
        native = own.place(z[None], np.zeros((1, *own.grid.shape), np.float32))[0]
        save_scan(places[row], native, own.like, facts, overwrite, integers=False)
