"""Score each visit of a cohort: its likelihood under a run, given the subject's earlier visits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crow.cohort import Finding
from crow.cohort.findings import Findings, merged
from crow.cohort.parts import TablePart, in_parts
from crow.cohort.writing import conventions
from crow.errors import ConfigError, OutputError
from crow.files import check_free, writing
from crow.models.crow import CRow
from crow.models.registry import class_of_run
from crow.pipelines.history import Missing, doubtful_values, read_history, unseen_sites
from crow.pipelines.score_table import PartScores, ScoreTable
from crow.scans.derivatives import describe_dataset, require_apart, save_scan, scan_path
from crow.scans.store import ScanStore
from crow.seeds import SeedStream, derived_seed
from crow.tables import save_table
from crow.tasks import Progress, run_tasks

if TYPE_CHECKING:
    from crow.models.follow_up import FollowUpModel


@dataclass(frozen=True)
class Scores:
    """The scores of a cohort.

    Attributes
    ----------
    findings : list of Finding
        What the reader noticed.
    visits : DataFrame
        One row per visit: ``subject``, ``session``, ``time``, ``log_prob`` (nats, original units), ``outlier_score``,
        ``outlier``, and the ``region`` whose z-score is largest, with its ``z``. The table that is written has the
        z-scores of all regions (of all coefficients for runs of scans, which also have the parts of ``log_prob``).
    subjects : DataFrame
        One row per subject: ``subject``, ``visits``, ``log_prob`` of the whole sequence, and ``log_prob_per_visit``.
    written : tuple of Path
        The files that were written.
    """

    findings: list[Finding]
    visits: pd.DataFrame
    subjects: pd.DataFrame
    written: tuple[Path, ...]


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
    jobs: int | None = None,
    echo: Callable[[str], None] = lambda line: None,
    progress: Progress = lambda items, what, total: items,
) -> Scores:
    """Score a cohort and write ``out`` (one row per visit) and ``<out>_subjects`` (one row per subject).

    A table that is larger than 64 MiB is read and scored some subjects at a time (`crow.cohort.parts`), by several
    processes, or on a cluster (`crow.cluster.on_cluster`). The scores do not depend on their number.

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
    jobs : int, optional
        Processes for a large table, one per core by default.
    echo, progress : callable
        Receive lines to print; and items, what they are and their number, for a progress bar.

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
    model: CRow | None = None
    of_file = Findings()
    if class_of_run(run).uses_scans:
        from crow.models.follow_up import FollowUpModel
        from crow.pipelines.scan_history import open_scans, store_beside

        scans = FollowUpModel.load(run)
        store = open_scans(scans, cohort, store_beside(out.with_suffix("")), echo, overwrite, missing)
        places = {} if maps is None else _map_places(scans, store, maps, overwrite)
        history = scans.cohort(store)
        own, parts = conventions(history.schema), iter([PartScores.of(0, scans.score(store, draws, seed), history)])
    elif maps is not None:
        raise ConfigError(f"--save-maps {maps}: only runs of scans have maps; {run} is a run of regions.")
    else:
        model = CRow.load(run)
        own = conventions(model.schema)
        parts = _score_table(run, model, cohort, out, (missing, draws, seed), jobs, progress, of_file)
    with writing(out, overwrite) as by_visit, writing(subjects_out, overwrite) as by_subject:
        with ScoreTable(out) as table:
            found = sorted((table.keep(part) for part in parts), key=lambda part: part.number)
            lines = doubtful_values(pd.concat([part.gross_errors for part in found]))
            if model is not None:
                lines.append(unseen_sites(model, pd.concat([part.sites for part in found])))
            for line in filter(None, lines):
                echo(f"warning: {line}")
            visits, subjects = table.write(by_visit, own)
        save_table(subjects, by_subject, out.suffix, digits=None, conventions=own)
        if figure is not None:
            from crow.report import figures
            from crow.report.outlier_figure import outlier_scores

            figures.save(outlier_scores(visits), figure, overwrite)
    if maps is not None:
        _write_maps(scans, store, maps, places, draws, seed, overwrite, progress)
    findings = merged([of_file, *(part.findings for part in found)])
    return Scores(findings, visits, subjects, tuple(path for path in (out, subjects_out, figure, maps) if path))


def _score_table(
    run: Path, model: CRow, cohort: Path | list[Path], out: Path, how: tuple[Missing | None, int, int],
    jobs: int | None, progress: Progress, findings: Findings,
) -> Iterator[PartScores]:  # fmt: skip
    """The scores of the parts of a table as they are ready; ``findings`` receives those of the file as a whole."""
    with ExitStack() as files:
        parts: list[TablePart] = []
        if isinstance(cohort, Path) and model.schema is not None:
            parts = files.enter_context(in_parts(cohort, model.schema, out.absolute().parent, findings))
        if not parts:
            yield _scored(model, cohort, 0, *how)
            return
        tasks = [(run, part, number, *how) for number, part in enumerate(parts)]
        for _, scored in progress(run_tasks(_score_part, tasks, jobs), "Scores", len(tasks)):
            yield scored


def _score_part(run: Path, part: TablePart, number: int, *how: Any) -> PartScores:
    """`_scored` in a process of its own."""
    return _scored(CRow.load(run), part, number, *how)


def _scored(
    model: CRow, cohort: Path | list[Path] | TablePart, number: int, missing: Missing | None, draws: int, seed: int
) -> PartScores:
    history = read_history(model, cohort, missing)
    own_seed = derived_seed(seed, SeedStream.SCORES, number) if number else seed
    sites = history.visits[[] if model.table.sites is None else model.table.sites.columns].drop_duplicates()
    return PartScores.of(number, model.score(history, draws, own_seed), history, model.gross_errors(history), sites)


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
    progress: Progress,
) -> None:
    """The z-map of every scan given the subject's earlier ones, on the scan's own grid."""
    from crow.representation.scan_space import ScanSpace

    describe_dataset(folder, "z-maps")
    what = "z-score of every voxel given the subject's earlier scans"
    facts = {"What": what, "Model": {"seed": seed}, "Draws": draws}
    for row, z in model.z_maps(store, progress(list(places), "Maps", len(places)), draws, seed):
        own = ScanSpace(store, row)
        native = own.place(z[None], np.zeros((1, *own.grid.shape), np.float32))[0]
        save_scan(places[row], native, own.like, facts, overwrite, integers=False)
