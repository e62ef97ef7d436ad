"""Score each visit of a cohort: its likelihood under a run, given the subject's earlier visits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.cohort.writing import conventions
from crow.errors import ConfigError, OutputError
from crow.evaluation.outlier_score import with_outlier_scores
from crow.files import check_free, writing
from crow.models.crow import CRow
from crow.models.registry import class_of_run
from crow.pipelines.history import Missing, doubtful_values, read_history, unseen_sites
from crow.scans.derivatives import describe_dataset, require_apart, save_scan, scan_path
from crow.scans.store import ScanStore
from crow.tables import save_table

if TYPE_CHECKING:
    from crow.models.follow_up import FollowUpModel


@dataclass(frozen=True)
class Scores:
    """The scores of a cohort.

    Attributes
    ----------
    cohort : Cohort
        The cohort as it was read.
    visits : DataFrame
        One row per visit: ``subject``, ``session``, ``time``, ``log_prob`` (nats, original units), ``outlier_score``,
        ``outlier``, and one z-score per region (per coefficient for runs of scans, which also have the parts of
        ``log_prob``).
    subjects : DataFrame
        One row per subject: ``subject``, ``visits``, ``log_prob`` of the whole sequence, and ``log_prob_per_visit``.
    written : tuple of Path
        The files that were written.
    """

    cohort: Cohort
    visits: pd.DataFrame
    subjects: pd.DataFrame
    written: tuple[Path, ...]

    @property
    def by_outlier_score(self) -> pd.DataFrame:
        """Visits by descending outlier score, with the ``region`` whose z-score is largest, and its ``z``."""
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
    draws: int = 200,
    seed: int = 0,
    missing: Missing | None = None,
    overwrite: bool = False,
    echo: Callable[[str], None] = lambda line: None,
    progress: Callable[[list[int]], Iterable[int]] = iter,
) -> Scores:
    """Score a cohort and write ``out`` (one row per visit) and ``<out>_subjects`` (one row per subject).

    Parameters
    ----------
    run : Path
        The run folder.
    cohort : Path
        A table like the training table; for runs of scans also a BIDS tree or a store. Scans that are not prepared yet
        are prepared into ``<out>_store``.
    out : Path
        The table to write (.csv or .tsv).
    figure : Path, optional
        A figure of the log-likelihoods (.png, .pdf or .svg).
    maps : Path, optional
        For runs of scans, a folder for z-maps of each visit (BIDS derivatives in the space of the scan).
    draws, seed : int
        Draws per visit for the z-scores, and their seed.
    missing : str, optional
        How visits with missing regions are read, as in training by default.
    overwrite : bool
        Whether to replace earlier files.
    echo, progress : callable
        Receive lines to print, and the visits for a progress bar.

    Returns
    -------
    Scores
        Scores by visit and by subject.

    Raises
    ------
    RunError
        If the run cannot be read.
    CohortError
        If the columns are not those of the run.
    ConfigError
        If maps are requested for a run of regions.
    OutputError
        If a file exists and ``overwrite`` is not set.
    """
    subjects_out = out.with_name(f"{out.stem}_subjects{out.suffix}")
    if out.suffix.lower() not in (".csv", ".tsv"):
        raise OutputError(f"{out}: scores are written as .csv or .tsv; found {out.suffix or 'no ending'}.")
    if class_of_run(run).uses_scans:
        from crow.models.follow_up import FollowUpModel
        from crow.pipelines.scan_history import open_scans, store_beside

        scans = FollowUpModel.load(run)
        store = open_scans(scans, cohort, store_beside(out.with_suffix("")), echo, overwrite, missing)
        places = {} if maps is None else _map_places(scans, store, maps, overwrite)
        history, scored = scans.cohort(store), scans.score(store, draws, seed)
    elif maps is not None:
        raise ConfigError(f"--save-maps {maps}: only runs of scans have maps; {run} is a run of regions.")
    else:
        model = CRow.load(run)
        history = read_history(model, cohort, missing)
        for line in filter(None, [*doubtful_values(model, history), unseen_sites(model, history.visits)]):
            echo(f"warning: {line}")
        scored = model.score(history, draws, seed)
    visits, subjects = _scores(scored)
    with writing(out, overwrite) as by_visit, writing(subjects_out, overwrite) as by_subject:
        own = conventions(history.schema)
        save_table(visits, by_visit, out.suffix, digits=None, conventions=own)
        save_table(subjects, by_subject, out.suffix, digits=None, conventions=own)
        if figure is not None:
            from crow.report import figures
            from crow.report.outlier_figure import outlier_scores

            figures.save(outlier_scores(visits), figure, overwrite)
    if maps is not None:
        _write_maps(scans, store, maps, places, draws, seed, overwrite, progress)
    return Scores(history, visits, subjects, tuple(path for path in (out, subjects_out, figure, maps) if path))


def _scores(scored: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    z = scored.filter(regex="_z$")
    visits = with_outlier_scores(scored.drop(columns=z.columns))
    by_subject = scored.groupby("subject", sort=False)["log_prob"]
    subjects = pd.DataFrame(
        {"visits": by_subject.count(), "log_prob": by_subject.sum(min_count=1), "log_prob_per_visit": by_subject.mean()}
    )
    return pd.concat([visits, z], axis=1), subjects.reset_index()


def _map_places(model: FollowUpModel, store: ScanStore, folder: Path, overwrite: bool) -> dict[int, Path]:
    """The file of each visit's map, by row; raises OutputError if one exists, or if two visits share a name."""
    visits = model.cohort(store).visits
    places = {
        int(row): scan_path(folder, subject, session, "zscore", store.info.modality)
        for row, subject, session in zip(visits.index, visits["subject"], visits["session"], strict=True)
    }
    for path in places.values():
        check_free(path, overwrite)
    require_apart(folder, places.values())
    return places


def _write_maps(
    model: FollowUpModel,
    store: ScanStore,
    folder: Path,
    places: dict[int, Path],
    draws: int,
    seed: int,
    overwrite: bool,
    progress: Callable[[list[int]], Iterable[int]],
) -> None:
    """The z-map of every scan given the subject's earlier ones, on the scan's own grid."""
    from crow.representation.scan_space import ScanSpace

    describe_dataset(folder, "z-maps")
    what = "z-score of every voxel given the subject's earlier scans"
    facts = {"What": what, "Model": {"seed": seed}, "Draws": draws}
    for row, z in model.z_maps(store, progress(list(places)), draws, seed):
        own = ScanSpace(store, row)
        native = own.place(z[None], np.zeros((1, *own.grid.shape), np.float32))[0]
        save_scan(places[row], native, own.like, facts, overwrite, integers=False)
