"""A row a visit with the volumes or mean values of regions, out of prepared scans."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from crow.errors import CohortError, ConfigError, OutputError
from crow.files import writing
from crow.scans.atlas import Atlas, built_in, read_atlas
from crow.scans.intensity import STRUCTURAL
from crow.scans.region_values import means, volumes
from crow.scans.store import ScanStore

PARCELS = 50


@dataclass(frozen=True)
class Extracted:
    """What was written; ``what`` the values are, and ``said`` what was decided on the way."""

    table: pd.DataFrame
    regions: list[str]
    what: str
    said: tuple[str, ...]
    written: tuple[Path, ...]


def extract(
    scans: Path,
    out: Path,
    *,
    atlas: Path | None = None,
    labels: Path | None = None,
    parcels: int | None = None,
    overwrite: bool = False,
) -> Extracted:
    """Write regions of the store ``scans`` as a table that `train` takes: subject, session, years, age, covariates.

    Structural scans give volumes (mm3, in the scans' own space), PET and quantitative maps mean values. Regions are
    those of ``atlas``, named by ``labels``; else the template's structures (structural), or ``parcels`` regions learned
    across all subjects of the store, which are then written beside the table. Raises CohortError, ConfigError,
    ScanError and OutputError.
    """
    store = ScanStore.open(scans)
    structural = store.info.modality in STRUCTURAL
    if structural and "velocity" not in store.arrays:
        raise CohortError(f"{scans}: volumes need deformations. Run crow prepare again with --registration nonlinear.")
    learned = atlas is None and not structural
    targets: tuple[Path, ...] = (out, out.with_name(f"{out.stem}_atlas.nii.gz")) if learned else (out,)
    _check_free(targets, overwrite)
    regions = _regions(store, structural, atlas, labels, parcels)
    rows = store.rows
    if structural:
        values = np.stack([volumes(store, int(row), regions) for row in rows])
    else:
        values = np.stack([means(store, int(row), regions) for row in rows])
    names = list(regions.names.values())
    table = _visits(store, names).join(pd.DataFrame(values.round(6), rows, names))
    with writing(out, overwrite) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", sep="\t" if out.suffix == ".tsv" else ",")
        if learned:  # within the table's block: both are written or none
            with writing(targets[1], overwrite) as beside:
                image = nib.Nifti1Image(regions.labels, store.info.grid.matrix)
                beside.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    what = "volumes in mm3" if structural else "mean values"
    said = (*regions.said, *([_learned_from(store)] if learned else []))
    return Extracted(table, names, what, said, targets)


def _regions(store: ScanStore, structural: bool, atlas: Path | None, labels: Path | None, parcels: int | None) -> Atlas:
    if atlas is not None:
        if parcels is not None:
            raise ConfigError("--parcels: regions are learned where no --atlas is given. Leave one of them out.")
        return read_atlas(atlas, labels, store.info.grid)
    if labels is not None:
        raise ConfigError("--labels: names the labels of an --atlas. Give that too.")
    if structural:
        if parcels is not None:
            raise ConfigError("--parcels: regions are learned from PET and quantitative maps, not structural scans.")
        return built_in(store.info.grid, float(store.info.settings["resolution"]))
    from crow.representation.parcellation import learn_parcels

    return learn_parcels(store, store.rows, parcels or PARCELS)


def _check_free(paths: tuple[Path, ...], overwrite: bool) -> None:
    """Raise OutputError before any work where one of the files is there and is not to be replaced."""
    if not overwrite and (there := [path for path in paths if os.path.lexists(path)]):
        raise OutputError(f"{there[0]}: exists already. Choose another name, or replace it with --overwrite.")


def _learned_from(store: ScanStore) -> str:
    subjects = store.visits["subject"].iloc[store.rows].nunique()
    return (
        f"the regions were learned across all {subjects:,} subjects of the store, also those that a later training "
        "keeps for testing; to keep test subjects apart, learn them from a store without these and give --atlas"
    )


def _visits(store: ScanStore, regions: list[str]) -> pd.DataFrame:
    """Who, when and covariates of the prepared visits; raises ConfigError for a covariate named as a region."""
    cohort = store.cohort()
    if both := [name for name in cohort.covariates if name in regions]:
        raise ConfigError(f"--labels: {both[0]} is the name of a covariate too. Name the region otherwise.")
    visits = cohort.visits[["subject", "session", "time", "age", *cohort.covariates]].rename(columns={"time": "years"})
    return visits.drop(columns=[name for name in ("age",) if visits[name].isna().all()])
