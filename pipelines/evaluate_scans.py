"""Evaluate a run of scans on subjects that it was not trained on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.cohort.split import folds as split_folds
from crow.errors import CohortError, ConfigError, RunError
from crow.evaluation.evaluate_model import FutureCovariates
from crow.evaluation.outlier_score import with_outlier_scores
from crow.evaluation.result import EvaluationResult
from crow.evaluation.scan_baselines import LAST_SCAN, MEAN_CHANGE
from crow.evaluation.scan_evaluation import (
    ScanEvaluation,
    ScanEvaluator,
    ScanTask,
    evaluate_all,
    last_visits,
    merge_folds,
    summarise_scans,
)
from crow.extras import extra
from crow.models.follow_up import FollowUpModel
from crow.pipelines.history import Missing
from crow.pipelines.scan_history import open_scans, store_beside
from crow.report import figures
from crow.report.scan_evaluation import panel, planes, region_rates, voxel_calibration
from crow.run.folder import sha256
from crow.scans.intensity import PET, STRUCTURAL
from crow.scans.store import FAILED, ScanStore

with extra("scans"):
    import nibabel as nib

Progress = Callable[[Any], Iterable[Any]]
PICTURES = ("best", "median", "worst")
FOLDER = "scans"


@dataclass(frozen=True)
class ScanFold:
    """A model and the test visits of ``store`` (index: its row); ``training`` as in `ScanEvaluator`."""

    model: FollowUpModel
    store: ScanStore
    cohort: Cohort
    training: tuple[ScanStore, pd.DataFrame] | None


def evaluate_scans(
    run: Path,
    out: Path,
    *,
    cohort: Path | None = None,
    folds: int | None = None,
    draws: int = 200,
    seed: int = 0,
    future: FutureCovariates = "carry",
    work: Path | None = None,
    missing: Missing | None = None,
    overwrite: bool = False,
    echo: Callable[[str], None] = lambda line: None,
    progress: Progress = iter,
) -> EvaluationResult:
    """Evaluate the follow-up scans, the changes of structures and the likelihoods of a run of scans.

    The last scan of each test subject is forecast from all earlier ones. With ``folds``, models are trained one after
    the other, and each is evaluated on the subjects that it was not trained on.

    Parameters
    ----------
    run : Path
        The run folder.
    out : Path
        An existing folder that receives the pictures.
    cohort : Path, optional
        Other scans to evaluate on: a store, or a table or BIDS tree that is prepared into ``work``.
    folds, draws, seed, future, missing, overwrite, echo, progress
        As in `crow.pipelines.evaluate.evaluate`.
    work : Path, optional
        Where the scans of ``cohort`` are prepared.

    Returns
    -------
    EvaluationResult
        Metrics ``scans``; tables ``scans``, ``scan_regions``, ``scan_rates``, ``scan_pit``, ``scan_pictures`` and
        ``likelihood``.

    Raises
    ------
    RunError
        If the run has no test subjects.
    CohortError
        If the scans are of another kind, or no subject has two.
    ConfigError
        If the number of folds is impossible.
    """
    model = FollowUpModel.load(run)
    store = open_scans(model, cohort, work or store_beside(out), echo, overwrite, missing)
    if folds is not None:
        parts = _folds(model, store, folds, seed, echo)
        split, warnings = f"{folds} folds by subject", list[str]()
    else:
        one, split, warnings = _test_fold(run, model, store)
        parts = iter([one])
    evaluations: list[ScanEvaluation] = []
    likelihoods: list[pd.DataFrame] = []
    pictures = pd.DataFrame()
    regions = None
    for part in parts:
        tasks, single_scan = last_visits(part.cohort)
        if not tasks and folds is None:
            raise CohortError(
                f"{store.path}: none of the {single_scan} subjects to evaluate has two scans. Give other scans with "
                "--cohort."
            )
        evaluator = ScanEvaluator(part.model, part.store, part.training, draws, seed, future)
        found = evaluate_all(evaluator, tasks, progress)
        found.single_scan = single_scan
        evaluations.append(found)
        regions = evaluator.regions
        likelihoods.append(_likelihoods(part))
        if pictures.empty:
            pictures = _write_pictures(out, evaluator, tasks, found)
    merged = merge_folds(evaluations)
    if not merged.scans:
        raise CohortError(f"{store.path}: no scan could be evaluated. {' '.join(merged.failures[:1])}")
    result = summarise_scans(merged, regions, seed)
    likelihood = with_outlier_scores(pd.concat(likelihoods, ignore_index=True))
    warnings += _warnings(store, merged, folds)
    left_out = [] if MEAN_CHANGE in result.metrics["scans"]["forecast"] else [_no_baselines()]
    result = result.merge(EvaluationResult(
        {"scans": _protocol(model, store, split, draws, future)},
        {"scan_pictures": pictures, "likelihood": likelihood}, left_out, warnings,
    ))  # fmt: skip
    figures.save(voxel_calibration(result.tables["scan_pit"]), out / "scans_calibration.png", overwrite=True)
    if "scan_rates" in result.tables and regions is not None:
        unit = "%" if regions.moving else "intensity"
        figures.save(region_rates(result.tables["scan_rates"], unit), out / "scans_regions.png", overwrite=True)
    return result


def _test_fold(run: Path, model: FollowUpModel, store: ScanStore) -> tuple[ScanFold, str, list[str]]:
    """The test subjects of the training store, or all subjects of another store; a description, and warnings."""
    if sha256(store.path / "visits.csv") == model.source.get("sha256"):
        training, visits = _training(model, store), model.cohort(store).visits
        test = visits[~visits["subject"].isin(training["subject"])]
        if test.empty:
            raise RunError(
                f"{run}: trained on all subjects of {store.path}, so there are no test subjects. Train with --test "
                "0.2, or cross-validate with --folds 5, or give scans of other subjects with --cohort."
            )
        return ScanFold(model, store, _subset(model, store, test), (store, training)), "test subjects", []
    warning = "Some of these subjects may be training subjects: the run stores no names to compare."
    own = _training_store(model)
    baseline_data = None if own is None else (own, _training(model, own))
    fold = ScanFold(model, store, model.cohort(store), baseline_data)
    return fold, "all subjects of another cohort", [warning]


def _folds(
    model: FollowUpModel, store: ScanStore, folds: int, seed: int, echo: Callable[[str], None]
) -> Iterable[ScanFold]:
    """Models that are trained anew, each without one part of the subjects, and that part."""
    cohort = model.cohort(store)
    names = sorted(cohort.subjects)
    if not 2 <= folds <= len(names):
        raise ConfigError(f"--folds {folds}: {store.path} has {len(names)} subjects; choose 2 to {len(names)}.")
    config = model.config
    config = config.model_copy(update={"split": config.split.model_copy(update={"test": 0.0})})
    for k, part in enumerate(split_folds(cohort.split_names(names), folds, seed), 1):
        in_test = cohort.visits["subject"].isin([names[i] for i in part])
        training = cohort.visits[~in_test]
        echo(f"fold {k} of {folds}: training without {len(part)} subjects")
        again = type(model)(config).fit(store.subset(training.index.to_numpy()), echo=echo)
        yield ScanFold(again, store, _subset(again, store, cohort.visits[in_test]), (store, training))


def _training(model: FollowUpModel, store: ScanStore) -> pd.DataFrame:
    """The visits of a store that the model was trained on."""
    cohort = model.cohort(store)
    test = model.test_set(cohort)
    return cohort.visits[~cohort.visits["subject"].isin(test)]


def _training_store(model: FollowUpModel) -> ScanStore | None:
    """None if it was removed or has changed."""
    try:
        return open_scans(model, None, Path())
    except CohortError:
        return None


def _subset(model: FollowUpModel, store: ScanStore, visits: pd.DataFrame) -> Cohort:
    return model.cohort(store.subset(visits.index.to_numpy()))


def _likelihoods(part: ScanFold) -> pd.DataFrame:
    """Log-likelihood of every visit given the earlier ones; NaN if the first scan is given, not modelled."""
    return part.model.log_prob(part.store.subset(part.cohort.visits.index.to_numpy()))


def _protocol(
    model: FollowUpModel, store: ScanStore, split: str, draws: int, future: FutureCovariates
) -> dict[str, Any]:
    modality, reference = store.info.modality, store.info.settings.get("reference")
    unit = "the scan's own"
    if modality in STRUCTURAL:
        unit = "brightness of white matter"
    elif modality in PET and reference:
        unit = f"ratio to the {reference}"
    return {
        "representation": model.representation, "modality": modality, "unit": unit, "split": split, "draws": draws,
        "future covariates": future, "voxels": int(store.mask.sum()),
        "voxel size": [float(mm) for mm in store.info.grid.spacing],
    }  # fmt: skip


def _warnings(store: ScanStore, found: ScanEvaluation, folds: int | None) -> list[str]:
    failed = int((np.asarray(store.array("status")[:]) == FAILED).sum())
    warnings = []
    if found.single_scan:
        warnings.append(f"{found.single_scan} subjects have a single scan and are not evaluated.")
    if failed:
        warnings.append(f"{failed} scans could not be prepared and do not count; see qc/ of {store.path.name}.")
    if found.failures:
        warnings.append(f"{len(found.failures)} subjects could not be evaluated. The first: {found.failures[0]}")
    if found.folded:
        warnings.append(f"The deformation folds at {found.folded} voxels of the forecast scans.")
    if folds is not None:
        warnings.append("The pictures show subjects of the first fold.")
    return warnings


def _no_baselines() -> tuple[str, str]:
    reason = "the training store was removed, has changed, or has no subject with two scans."
    return f"scans: {MEAN_CHANGE}", reason


def _write_pictures(
    out: Path, evaluator: ScanEvaluator, tasks: list[ScanTask], found: ScanEvaluation
) -> pd.DataFrame:
    """Pictures of the subjects with the best, median and worst forecast (RMSE relative to the last scan's).

    Volumes are written for the median one. Returns one row per subject.
    """
    scans = pd.DataFrame(found.scans)
    if scans.empty:
        return scans
    ours, last = (scans[scans["model"] == name].set_index("subject")["RMSE"] for name in ("crow", LAST_SCAN))
    ranked = (ours / last).sort_values(kind="stable").index
    places = dict(zip(PICTURES, (0, (len(ranked) - 1) // 2, len(ranked) - 1), strict=True))
    chosen = dict.fromkeys(ranked[place] for place in places.values())
    rows: list[dict[str, Any]] = []
    for k, subject in enumerate(chosen):
        task = next(each for each in tasks if each.subject == subject)
        label = re.sub(r"[^A-Za-z0-9]", "", subject.removeprefix("sub-")) or "unnamed"
        taken = {row["stem"] for row in rows}
        stem = f"{FOLDER}/sub-{label}"
        stem = stem if stem not in taken else f"{stem}x{k}"
        which = [name for name, place in places.items() if ranked[place] == subject]
        volumes = "median" in which
        _write_picture(out / stem, evaluator, task, f"{subject}, {_years(task.ahead)} after the last scan", volumes)
        rows.append({
            "subject": subject, "session": task.session, "which": which[0], "years": task.ahead, "stem": stem,
            "volumes": volumes,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _years(ahead: float) -> str:
    return f"{ahead:.2g} year{'s' * (f'{ahead:.2g}' != '1')}"


def _write_picture(stem: Path, evaluator: ScanEvaluator, task: ScanTask, title: str, volumes: bool) -> None:
    stem.parent.mkdir(exist_ok=True)
    comparison, affine = evaluator.compare(task), evaluator.store.info.grid.matrix
    pictures, greys, colours = planes(*comparison, affine, evaluator.mask)
    for name, picture in pictures.items():
        picture.save(stem.with_name(f"{stem.name}_{name}.png"))
    figures.save(panel(pictures, greys, colours, title), stem.with_name(f"{stem.name}_panel.png"), overwrite=True)
    if volumes:
        each = {"last": comparison.last, "real": comparison.real, "synthetic": comparison.synthetic,
                "change_synthetic": comparison.change}  # fmt: skip
        for name, volume in each.items():
            image = nib.Nifti1Image(volume.astype(np.float32), affine)
            nib.save(image, stem.with_name(f"{stem.name}_{name}.nii.gz"))
