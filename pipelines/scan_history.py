"""A run of scans and the prepared scans to ask it about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from crow.artifact import sha256
from crow.errors import CohortError
from crow.pipelines.prepare import prepare
from crow.scan_model import ScanModel
from crow.scans.store import ScanStore
from crow.voxel_model import VoxelModel

AnyModel = ScanModel | VoxelModel


def open_scans(
    model: AnyModel,
    cohort: Path | None,
    work: Path,
    say: Callable[[str], None] = lambda line: None,
    overwrite: bool = False,
    **flags: Any,
) -> ScanStore:
    """The prepared scans of a cohort: a store as it is, a table or BIDS tree prepared into ``work`` as the model's was.

    Without a cohort, the store that the model was trained on. Raises CohortError where that is gone or has changed, and
    for a store of another modality or grid; OutputError where ``work`` holds something else.
    """
    if cohort is None:
        return _training_store(model)
    if ScanStore.is_store(cohort):
        store = ScanStore.open(cohort)
    else:
        facts = model.store_facts
        say(f"Preparing the scans of {cohort} into {work}, as those that the run was trained on.")
        settings = {key: value for key, value in facts["settings"].items() if value is not None}
        prepare(cohort, work, say=say, overwrite=overwrite, **{**settings, **flags})
        store = ScanStore.open(work)
    _check_alike(model, store)
    if unknown := [name for name in model.schema.covariates if name not in store.visits]:
        say(f"warning: {', '.join(unknown)}: not known of these subjects; taken as on average in training.")
    return store


def _check_alike(model: AnyModel, store: ScanStore) -> None:
    facts = model.store_facts
    if store.info.modality != facts["modality"]:
        raise CohortError(
            f"{store.path}: scans of modality {store.info.modality}; the run was trained on {facts['modality']}. "
            "Give scans of that modality."
        )
    if store.info.grid.model_dump(mode="json") != facts["grid"]:
        raise CohortError(
            f"{store.path}: prepared on another grid than the run's (space {facts['space']}, shape "
            f"{facts['grid']['shape']}). Give --cohort the table or folder, and the scans are prepared as needed."
        )


def _training_store(model: AnyModel) -> ScanStore:
    advice = "Give the subject's scans: --cohort TABLE, BIDS folder or store."
    if not model.source:
        raise CohortError(f"The run was not trained from a store on disk. {advice}")
    visits = Path(model.source["path"])
    if not visits.is_file():
        raise CohortError(f"{visits.parent}: the store that the run was trained on is not there. {advice}")
    if sha256(visits) != model.source["sha256"]:
        raise CohortError(f"{visits.parent}: the store that the run was trained on has changed since. {advice}")
    return ScanStore.open(visits.parent)
