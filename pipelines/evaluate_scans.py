"""How good a run of scans is, on people whom its training did not see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.cohort.split import folds as split_folds
from crow.cohort.split import test_subjects
from crow.errors import CohortError, ConfigError, RunError
from crow.evaluation.outlier_score import LIMIT, outlier_score
from crow.evaluation.result import EvaluationResult
from crow.evaluation.scan_baselines import LAST
from crow.evaluation.scan_evaluation import (
    Asked,
    Future,
    ScanEvaluation,
    ScanEvaluator,
    evaluate_scans_of,
    joined,
    last_visits,
    summarise_scans,
)
from crow.models.follow_up import FollowUpModel
from crow.pipelines.history import Missing
from crow.pipelines.scan_history import open_scans, store_beside
from crow.report import figures
from crow.report.scan_evaluation import panel, planes, region_rates, voxel_calibration
from crow.run.folder import sha256
from crow.scans.intensity import PET, STRUCTURAL
from crow.scans.store import FAILED, ScanStore

Progress = Callable[[Any], Iterable[Any]]
PICTURES = ("best", "median", "worst")
FOLDER = "scans"


@dataclass(frozen=True)
class Held:
    """A model and whom it is judged on: visits of ``store`` (index: its row); ``training`` as in `ScanEvaluator`."""

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
    samples: int = 200,
    seed: int = 0,
    future: Future = "known",
    work: Path | None = None,
    missing: Missing | None = None,
    overwrite: bool = False,
    echo: Callable[[str], None] = lambda line: None,
    progress: Progress = iter,
) -> EvaluationResult:
    """Judge the follow-up scans, the structures' changes and the likelihoods of a run of scans; pictures go into the
    folder ``out``, which exists.

    On the test subjects of the store that it was trained on; with another ``cohort`` (store, table or BIDS tree, then
    prepared into ``work``) on all subjects of that; with ``folds`` on everybody, by models that are trained again, one
    after the other. Of each the last scan is forecast from all earlier ones. Raises RunError where no one was held out,
    CohortError for scans of another kind or where no one has two, ConfigError for folds that cannot be.
    """
    model = FollowUpModel.load(run)
    store = open_scans(model, cohort, work or store_beside(out), echo, overwrite, missing)
    if folds is not None:
        held = _folds(model, store, folds, seed, echo)
        split, warnings = f"{folds} folds by subject", list[str]()
    else:
        one, split, warnings = _held_out(run, model, store)
        held = iter([one])
    parts: list[ScanEvaluation] = []
    likelihoods: list[pd.DataFrame] = []
    pictures = pd.DataFrame()
    regions = None
    for each in held:
        asked, alone = last_visits(each.cohort)
        if not asked and folds is None:
            raise CohortError(
                f"{store.path}: none of the {alone} subjects to evaluator has two scans. Give more --cohort."
            )
        evaluator = ScanEvaluator(each.model, each.store, each.training, samples, seed, future)
        found = evaluate_scans_of(evaluator, asked, progress)
        found.alone = alone
        parts.append(found)
        regions = evaluator.regions
        likelihoods.append(_likelihoods(each))
        if pictures.empty:
            pictures = _write_pictures(out, evaluator, asked, found)
    whole = joined(parts)
    if not whole.scans:
        raise CohortError(f"{store.path}: no scan could be judged. {' '.join(whole.failures[:1])}")
    result = summarise_scans(whole, regions, seed)
    facts = _facts(model, store, split, samples, future)
    tables = {"scan_pictures": pictures, "likelihood": _with_surprise(pd.concat(likelihoods, ignore_index=True))}
    warnings += _warnings(store, whole, folds)
    left_out = [] if "mean change" in result.metrics["scans"]["forecast"] else [_no_baselines(store)]
    result = result.merge(EvaluationResult({"scans": facts}, tables, left_out, warnings))
    figures.save(voxel_calibration(result.tables["scan_pit"]), out / "scans_calibration.png", overwrite=True)
    if "scan_rates" in result.tables and regions is not None:
        unit = "%" if regions.moving else "intensity"
        figures.save(region_rates(result.tables["scan_rates"], unit), out / "scans_regions.png", overwrite=True)
    return result


def _held_out(run: Path, model: FollowUpModel, store: ScanStore) -> tuple[Held, str, list[str]]:
    """Test subjects of the store of the training, or everyone of another; how that was decided, and warnings."""
    if sha256(store.path / "visits.csv") == model.source.get("sha256"):
        kept, visits = _training(model, store), model.cohort(store).visits
        held = visits[~visits["subject"].isin(kept["subject"])]
        if held.empty:
            raise RunError(
                f"{run}: trained on everyone in {store.path}, so no one is left to evaluator it on. Train with --set "
                "split.test=0.2, or give --folds 5, or --cohort with scans of other people."
            )
        return Held(model, store, _some(model, store, held), (store, kept)), "test subjects", []
    warning = "crow cannot know whether some of these people were trained on"
    own = _store_of_training(model)
    training = None if own is None else (own, _training(model, own))
    return Held(model, store, model.cohort(store), training), "all subjects of another cohort", [warning]


def _folds(
    model: FollowUpModel, store: ScanStore, folds: int, seed: int, echo: Callable[[str], None]
) -> Iterable[Held]:
    """Models trained again, each without one part of the subjects, and that part."""
    cohort = model.cohort(store)
    names = sorted(cohort.subjects)
    if not 2 <= folds <= len(names):
        raise ConfigError(f"--folds {folds}: {store.path} has {len(names)} subjects; choose 2 to {len(names)}.")
    config = model.config
    config = config.model_copy(update={"split": config.split.model_copy(update={"test": 0.0})})
    for k, part in enumerate(split_folds(cohort.split_names(names), folds, seed), 1):
        theirs = cohort.visits["subject"].isin([names[i] for i in part])
        training = cohort.visits[~theirs]
        echo(f"fold {k} of {folds}: training without {len(part)} subjects")
        again = type(model)(config).fit(store.some(training.index.to_numpy()), echo=echo)
        yield Held(again, store, _some(again, store, cohort.visits[theirs]), (store, training))


def _training(model: FollowUpModel, store: ScanStore) -> pd.DataFrame:
    """The visits in the store of the training that the model has learned from."""
    cohort = model.cohort(store)
    return cohort.visits[
        ~cohort.visits["subject"].isin(test_subjects(cohort, model.config.split.test, model.config.seed))
    ]


def _store_of_training(model: FollowUpModel) -> ScanStore | None:
    """None where it is gone or has changed."""
    try:
        return open_scans(model, None, Path())
    except CohortError:
        return None


def _some(model: FollowUpModel, store: ScanStore, visits: pd.DataFrame) -> Cohort:
    return model.cohort(store.some(visits.index.to_numpy()))


def _likelihoods(held: Held) -> pd.DataFrame:
    """Of every visit given those before it; NaN where the first scan is given, not modelled."""
    return held.model.log_prob(held.store.some(held.cohort.visits.index.to_numpy()))


def _with_surprise(scores: pd.DataFrame) -> pd.DataFrame:
    how = outlier_score(scores)
    return scores.assign(outlier_score=how, unusual=how > LIMIT)


def _facts(model: FollowUpModel, store: ScanStore, split: str, samples: int, future: Future) -> dict[str, Any]:
    modality, reference = store.info.modality, store.info.settings.get("reference")
    unit = "the scan's own"
    if modality in STRUCTURAL:
        unit = "brightness of white matter"
    elif modality in PET and reference:
        unit = f"ratio to the {reference}"
    return {
        "representation": model.representation, "modality": modality, "unit": unit, "split": split, "draws": samples,
        "covariates ahead": future, "voxels": int(store.mask.sum()),
        "voxel size": [float(mm) for mm in store.info.grid.spacing],
    }  # fmt: skip


def _warnings(store: ScanStore, found: ScanEvaluation, folds: int | None) -> list[str]:
    failed = int((np.asarray(store.array("status")[:]) == FAILED).sum())
    said = []
    if found.alone:
        said.append(f"{found.alone} subjects have a single scan: nothing to forecast, left out")
    if failed:
        said.append(f"{failed} scans could not be prepared and do not count; see qc/ of {store.path.name}")
    if found.failures:
        said.append(f"{len(found.failures)} subjects could not be judged, the first: {found.failures[0]}")
    if found.folded:
        said.append(f"{found.folded} voxels of forecast scans fold: their tissue turns inside out")
    if folds is not None:
        said.append("pictures are of the first fold's subjects")
    return said


def _no_baselines(store: ScanStore) -> tuple[str, str]:
    return "scans: mean change", "the store of the training is gone, has changed, or has no one with two scans"


def _write_pictures(out: Path, evaluator: ScanEvaluator, asked: list[Asked], found: ScanEvaluation) -> pd.DataFrame:
    """Pictures of the subjects whose forecast is best, median and worst (RMSE against the last scan's); of the median
    also volumes. A row a subject."""
    scans = pd.DataFrame(found.scans)
    if scans.empty:
        return scans
    ours, last = (scans[scans["model"] == name].set_index("subject")["RMSE"] for name in ("crow", LAST))
    ranked = (ours / last).sort_values(kind="stable").index
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    chosen = dict.fromkeys(ranked[place] for place in places.values())
    rows: list[dict[str, Any]] = []
    for k, subject in enumerate(chosen):
        visit = next(each for each in asked if each.subject == subject)
        label = re.sub(r"[^A-Za-z0-9]", "", subject.removeprefix("sub-")) or "unnamed"
        taken = {row["stem"] for row in rows}
        stem = f"{FOLDER}/sub-{label}"
        stem = stem if stem not in taken else f"{stem}x{k}"
        which = [name for name, place in places.items() if ranked[place] == subject]
        keeps = "median" in which
        _write_one(out / stem, evaluator, visit, f"{subject}, {_years(visit.ahead)} after the last scan", keeps)
        rows.append({
            "subject": subject, "session": visit.session, "which": which[0], "years": visit.ahead, "stem": stem,
            "volumes": keeps,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _years(ahead: float) -> str:
    return f"{ahead:.2g} year{'s' * (f'{ahead:.2g}' != '1')}"


def _write_one(stem: Path, evaluator: ScanEvaluator, visit: Asked, title: str, volumes: bool) -> None:
    stem.parent.mkdir(exist_ok=True)
    shown, affine = evaluator.shown(visit), evaluator.store.info.grid.matrix
    pictures, greys, colours = planes(*shown, affine, evaluator.mask)
    for name, picture in pictures.items():
        picture.save(stem.with_name(f"{stem.name}_{name}.png"))
    figures.save(panel(pictures, greys, colours, title), stem.with_name(f"{stem.name}_panel.png"), overwrite=True)
    if volumes:
        each = {"last": shown.last, "real": shown.real, "synthetic": shown.synthetic, "change_synthetic": shown.change}
        for name, volume in each.items():
            image = nib.Nifti1Image(volume.astype(np.float32), affine)
            nib.save(image, stem.with_name(f"{stem.name}_{name}.nii.gz"))
