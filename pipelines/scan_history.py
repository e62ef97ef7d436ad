"""A run of scans and the prepared scans to ask it about."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from crow.cohort import Cohort, Schema, read_cohort
from crow.errors import CohortError
from crow.models.follow_up import FollowUpModel
from crow.pipelines.history import Missing, trained_on
from crow.scans.store import ScanStore


def store_beside(out: Path) -> Path:
    """Where scans that are prepared on the way to ``out`` go: ``<out>_store``."""
    out = Path(os.path.abspath(out))
    return out.with_name(f"{out.name}_store")


def open_scans(
    model: FollowUpModel,
    cohort: Path | None,
    work: Path,
    echo: Callable[[str], None] = lambda line: None,
    overwrite: bool = False,
    missing: Missing | None = None,
) -> ScanStore:
    """The prepared scans of a cohort: a store as it is, a table or BIDS tree prepared into ``work`` as the model's was.

    Without a cohort, the store that the model was trained on. Raises CohortError where that is gone or has changed, and
    for scans of another modality or grid; OutputError where ``work`` holds something else.
    """
    if cohort is None:
        advice = "Give the subject's scans: --cohort TABLE, BIDS folder or store."
        return ScanStore.open(trained_on(model.source, "store", advice).parent)
    if ScanStore.is_store(cohort):
        store = ScanStore.open(cohort)
    else:
        echo(f"Preparing the scans of {cohort} into {work}, as those that the run was trained on.")
        store = _prepared(model, cohort, work, echo, overwrite, missing)
    _check_alike(model, store)
    if unknown := [name for name in model.schema.covariates if name not in store.visits]:
        echo(f"warning: {', '.join(unknown)}: not known of these subjects; taken as on average in training.")
    return store


def _prepared(
    model: FollowUpModel,
    cohort: Path,
    work: Path,
    echo: Callable[[str], None],
    overwrite: bool,
    missing: Missing | None,
) -> ScanStore:
    """Read by the run's schema where the columns are the same, else as what they look like."""
    from crow.pipelines.prepare import prepare  # what registers scans takes seconds to import

    schema: Schema | None = Schema.model_validate(model.store_info["cohort_schema"])
    try:
        known = read_cohort(cohort, schema=schema, missing=missing)
    except CohortError:
        known, schema = read_cohort(cohort, strict=False, missing=missing), None
    if known.modality not in (None, model.store_info["modality"]):
        raise CohortError(
            f"{cohort}: scans of modality {known.modality}; the run was trained on {model.store_info['modality']}. "
            "Give scans of that modality."
        )
    settings = {key: value for key, value in model.store_info["settings"].items() if value is not None}
    if mask := settings.pop("mask", None):
        raise CohortError(
            f"{cohort}: the run's scans were prepared with their own mask ({mask}). Run crow prepare with that --mask "
            "and give its store as --cohort."
        )
    again = overwrite and not holds(work, known)
    prepare(cohort, work, echo=echo, overwrite=again, schema=schema, missing=missing, **settings)
    return ScanStore.open(work)


def holds(work: Path, cohort: Cohort) -> bool:
    """Whether a store at ``work``, if any, is of the scans of a cohort, so that there is nothing to replace."""
    if not ScanStore.is_store(work):
        return True
    return ScanStore.open(work, unfinished=True).visits["scan"].tolist() == cohort.visits["scan"].tolist()


def _check_alike(model: FollowUpModel, store: ScanStore) -> None:
    facts = model.store_info
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
