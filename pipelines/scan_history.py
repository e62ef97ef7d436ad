"""The prepared scans to which a run is applied."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crow.cohort import Cohort, Schema, read_cohort
from crow.errors import CohortError
from crow.models.follow_up import FollowUpModel
from crow.pipelines.history import Missing, trained_on
from crow.places import is_store
from crow.scans.compatibility import require_same_preparation
from crow.scans.store import ScanStore


def store_beside(out: Path) -> Path:
    """The store of scans that are prepared for ``out``: ``<out>_store``."""
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
    """The prepared scans of a cohort: a store, or a table or BIDS tree, which is prepared in ``work`` like the training
    scans; by default the store that the model was trained on.

    Raises CohortError if that store is missing or has changed, or the scans do not fit the model; OutputError if
    ``work`` exists with other content.
    """
    if cohort is None:
        advice = "Use --cohort with the subject's scans: a table, a BIDS folder or a store."
        return ScanStore.open(trained_on(model.source, "store", advice).parent)
    if is_store(cohort):
        store = ScanStore.open(cohort)
    else:
        echo(f"Preparing the scans of {cohort} in {work}, like the training scans.")
        store = _prepared(model, cohort, work, echo, overwrite, missing)
    require_same_preparation(store, model.store_info)
    if unknown := [name for name in model.schema.covariates if name not in store.visits]:
        echo(f"warning: {', '.join(unknown)}: missing for these subjects; the training average is used.")
    return store


def _prepared(
    model: FollowUpModel, cohort: Path, work: Path, echo: Callable[[str], None], overwrite: bool,
    missing: Missing | None,
) -> ScanStore:  # fmt: skip
    """Prepare the scans of a table or BIDS tree, read with the run's schema if it fits, else as detected."""
    from crow.pipelines.prepare import prepare  # takes seconds to import

    schema: Schema | None = Schema.model_validate(model.store_info["cohort_schema"])
    try:
        found = read_cohort(cohort, schema=schema, missing=missing)
    except CohortError:
        found, schema = read_cohort(cohort, strict=False, missing=missing), None
    if found.modality not in (None, model.store_info["modality"]):
        raise CohortError(
            f"{cohort}: scans of modality {found.modality}; the run was trained on {model.store_info['modality']}. "
            "Use scans of that modality."
        )
    settings = preparation_settings(model.store_info, cohort)
    again = overwrite and not has_scans_of(work, found)
    prepare(cohort, work, echo=echo, overwrite=again, schema=schema, missing=missing, **settings)
    return ScanStore.open(work)


def preparation_settings(facts: dict[str, Any], source: Path) -> dict[str, Any]:
    """Arguments of `prepare` that repeat the preparation of a run's training scans, described by ``facts``.

    Raises CohortError if these were prepared with a user's mask, which a run does not contain.
    """
    settings = {name: value for name, value in facts["settings"].items() if value is not None}
    if mask := settings.pop("mask", None):
        raise CohortError(
            f"{source}: the training scans were prepared with a user's mask ({mask}). Run crow prepare with that "
            "--mask and use the store instead of the scans."
        )
    return settings


def has_scans_of(work: Path, cohort: Cohort) -> bool:
    """Whether ``work`` is absent or a store of the scans of a cohort, so that nothing has to be replaced."""
    if not is_store(work):
        return True
    return ScanStore.open(work, unfinished=True).visits["scan"].tolist() == cohort.visits["scan"].tolist()
