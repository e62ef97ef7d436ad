"""Extract volumes or mean values of regions from prepared scans, one row per visit."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.errors import CohortError, ConfigError
from crow.extras import extra
from crow.files import check_free, writing
from crow.scans.atlas import Atlas, built_in, read_atlas
from crow.scans.intensity import STRUCTURAL
from crow.scans.region_values import means, volumes
from crow.scans.store import ScanStore
from crow.scans.unbiased import approximate, unbiased
from crow.tables import save_table

with extra("scans"):
    import nibabel as nib

PARCELS = 50


@dataclass(frozen=True)
class Extracted:
    """The table, its regions, ``what`` their values are, ``notes`` for the user, and the files written."""

    table: pd.DataFrame
    regions: list[str]
    what: str
    notes: tuple[str, ...]
    written: tuple[Path, ...]


def extract(
    scans: Path,
    out: Path,
    *,
    atlas: Path | None = None,
    labels: Path | None = None,
    parcels: int | None = None,
    as_registered: bool = False,
    overwrite: bool = False,
    progress: Callable[[list[int]], Iterable[int]] = iter,
) -> Extracted:
    """Write regional values of the store ``scans`` as a table for `train`: subject, session, years, age, covariates.

    Structural scans give volumes (mm3, in the scans' own space), PET and quantitative maps mean values. Regions are
    those of ``atlas``, named by ``labels``. Without an atlas they are the template's structures (structural scans) or
    ``parcels`` regions learned from all subjects of the store, whose atlas is written beside the table. Changes of the
    template's structures are corrected for the bias of registration (`crow.scans.unbiased`) unless ``as_registered``.
    Raises CohortError, ConfigError, ScanError and OutputError.
    """
    store = ScanStore.open(scans)
    structural = store.info.modality in STRUCTURAL
    if structural and "velocity" not in store.arrays:
        raise CohortError(f"{scans}: volumes need deformations. Run crow prepare again with --registration nonlinear.")
    learned = atlas is None and not structural
    targets: tuple[Path, ...] = (out, out.with_name(f"{out.stem}_atlas.nii.gz")) if learned else (out,)
    for target in targets:
        check_free(target, overwrite)
    regions = _regions(store, structural, atlas, labels, parcels)
    rows = store.rows
    measure = volumes if structural else means
    values = np.stack([measure(store, row, regions) for row in progress([int(row) for row in rows])])
    names = list(regions.names.values())
    notes = [*regions.notes, *([_learned_from(store)] if learned else [])]
    if structural and atlas is None and not as_registered:
        values = _unbiased(store, values, names)
        notes += _correction(names, float(store.info.settings["resolution"]))
    table = _visits(store, names).join(pd.DataFrame(values.round(6), rows, names))
    with writing(out, overwrite) as temporary:
        save_table(table, temporary, out.suffix, digits=None)
        if learned:  # inside the block of the table, so that both files are written or none
            with writing(targets[1], overwrite) as beside:
                image = nib.Nifti1Image(regions.labels, store.info.grid.matrix)
                beside.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    what = "volumes in mm3" if structural else "mean values"
    return Extracted(table, names, what, tuple(notes), targets)


def _regions(store: ScanStore, structural: bool, atlas: Path | None, labels: Path | None, parcels: int | None) -> Atlas:
    if atlas is not None:
        if parcels is not None:
            raise ConfigError("--parcels: regions are learned only without --atlas. Leave out one of the two.")
        return read_atlas(atlas, labels, store.info.grid)
    if labels is not None:
        raise ConfigError("--labels: names the labels of an --atlas. Add --atlas.")
    if structural:
        if parcels is not None:
            raise ConfigError(
                "--parcels: regions are learned from PET and quantitative maps, not from structural scans. Leave it "
                "out."
            )
        return built_in(store.info.grid, float(store.info.settings["resolution"]))
    from crow.representation.parcellation import learn_parcels

    return learn_parcels(store, store.rows, parcels or PARCELS)


def _unbiased(store: ScanStore, values: NDArray[np.float64], names: list[str]) -> NDArray[np.float64]:
    """The volumes of all visits with corrected changes, ``[visit, structure]``."""
    out, resolution = values.copy(), float(store.info.settings["resolution"])
    subjects = np.array([store.subject_index(int(row)) for row in store.rows])
    for subject in np.unique(subjects):
        out[subjects == subject] = unbiased(values[subjects == subject], names, resolution)
    return out


def _correction(names: list[str], resolution: float) -> list[str]:
    errors = approximate(names, resolution)
    note = (
        "changes of volumes are corrected for what registration misses in simulated scans with 3 % noise; "
        "--as-registered leaves this out"
    )
    listed = ", ".join(f"{name} ({100 * error:.0f} %)" for name, error in errors.items())
    return [note, *([f"approximate, by the error (sd) of a change: {listed}"] if errors else [])]


def _learned_from(store: ScanStore) -> str:
    subjects = store.visits["subject"].iloc[store.rows].nunique()
    return (
        f"the regions were learned from all {subjects:,} subjects of the store, including those of a later test set; "
        "to exclude test subjects, learn the regions from a store without them and use the result as --atlas"
    )


def _visits(store: ScanStore, regions: list[str]) -> pd.DataFrame:
    """Subject, session, time, age and covariates; raises ConfigError if a region has a covariate's name."""
    cohort = store.cohort()
    if both := [name for name in cohort.covariates if name in regions]:
        raise ConfigError(f"--labels: {both[0]} is also the name of a covariate. Rename the region.")
    visits = cohort.visits[["subject", "session", "time", "age", *cohort.covariates]].rename(columns={"time": "years"})
    return visits.drop(columns=[name for name in ("age",) if visits[name].isna().all()])
