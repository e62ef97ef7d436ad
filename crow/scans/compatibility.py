"""Whether a store fits a fitted run: the same modality, grid, mask and reference region as the training scans."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crow.errors import CohortError
from crow.scans.grid import Grid
from crow.scans.store import ScanStore


def require_same_preparation(store: ScanStore, facts: dict[str, Any]) -> None:
    """Raise CohortError unless a store was prepared like the training scans of a run.

    ``facts``: the run's `StoreInfo` as JSON values, of which modality, grid and reference region are compared.
    """
    if store.info.modality != facts["modality"]:
        raise CohortError(
            f"{store.path}: scans of modality {store.info.modality}; the run was trained on {facts['modality']}. "
            "Use scans of that modality."
        )
    require_same_grid(store, Grid.model_validate(facts["grid"]))
    found, trained = (settings.get("reference") or "none" for settings in (store.info.settings, facts["settings"]))
    if found != trained:
        raise CohortError(
            f"{store.path}: its reference region is {found}; that of the training scans is {trained}. Prepare the "
            "scans with the same --reference."
        )


def require_same_grid(store: ScanStore, grid: Grid, velocity_grid: Grid | None = None) -> None:
    """Raise CohortError unless a store has the grid (and, if given, the velocity grid) of the training scans."""
    if store.info.grid != grid:
        shapes = [" x ".join(map(str, each.shape)) for each in (store.info.grid, grid)]
        raise CohortError(
            f"{store.path}: its grid ({shapes[0]} voxels) differs from that of the training scans ({shapes[1]} "
            "voxels) in shape or position. Prepare the scans with the same --resolution, or use the table or BIDS "
            "folder as --cohort: its scans are then prepared like the training scans."
        )
    if velocity_grid is not None and store.info.velocity_grid != velocity_grid:
        raise CohortError(
            f"{store.path}: its velocity grid differs from that of the training scans. Prepare the scans with the same "
            "--resolution and --registration nonlinear."
        )


def require_same_mask(store: ScanStore, mask: NDArray[np.bool_]) -> None:
    """Raise CohortError unless a store has the brain ``mask [X, Y, Z]`` of the training scans."""
    if not np.array_equal(store.mask, mask):
        raise CohortError(
            f"{store.path}: its brain mask differs from that of the training scans. Prepare the scans with the same "
            "--resolution and --mask."
        )
