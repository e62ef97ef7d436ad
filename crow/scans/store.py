"""The prepared scans of a cohort: a folder that is read one piece at a time.

    store.json   format version, modality, grid, settings of the preparation, schema of the cohort
    visits.csv   one row per visit: subject, session, time, covariates, regions, and the path of the scan
    arrays.zarr  per visit (one chunk each): intensity, to_scan, scale, status; after nonlinear registration also
                 velocity per visit and anatomy per subject
    template.nii.gz  mask.nii.gz  findings.json  qc/

A store contains subjects' scans, so keep it where these may be kept. Models are fitted to a store and do not contain
it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from crow.cohort.cohort import Cohort
from crow.cohort.findings import Finding
from crow.cohort.schema import Schema
from crow.errors import CohortError
from crow.extras import extra
from crow.files import read_text, write_text, writing
from crow.places import is_store
from crow.scans.grid import Grid
from crow.scans.store_content import FAMILY, START, check_volume, open_arrays, read_findings, read_visits, read_volume

if TYPE_CHECKING:
    import zarr

FORMAT_VERSION = 1
ARRAYS = "arrays.zarr"
FILES = ("store.json", "visits.csv", ARRAYS, "template.nii.gz", "mask.nii.gz", "findings.json")
PENDING, DONE, FAILED = 0, 1, 2


class StoreInfo(BaseModel):
    """Description of a store.

    ``modality`` (BIDS suffix), ``space`` and ``grid`` of its arrays, the grid of velocity fields (None without them),
    ``settings`` of the preparation (JSON values), and the cohort's schema.
    """

    model_config = ConfigDict(extra="forbid")

    format_version: int = FORMAT_VERSION
    modality: str
    space: str
    grid: Grid
    velocity_grid: Grid | None = None
    settings: dict[str, Any] = {}
    cohort_schema: Schema
    cohort_path: str | None = None
    finished: bool = False


class ScanStore:
    """Prepared scans of a cohort on one grid, read from disk on demand; ``crow prepare`` writes a store.

    Parameters
    ----------
    path : str or Path
        Folder of the store.
    info : StoreInfo
        Modality, grids, settings and schema.
    visits : DataFrame
        One row per visit; its index is the row in the arrays.
    arrays : zarr.Group
        The arrays below, one chunk per row.
    only : array of int, optional
        Rows of a `subset`; by default all rows.

    Notes
    -----
    Read an array with `array`:

    - ``intensity [row, X, Y, Z]``, float32: normalised, 0 outside the scan's field of view.
    - ``scale [row, 2]``: (gain, offset), scan = gain * intensity + offset.
    - ``to_scan [row, 4, 4]``: maps world points of the grid to those of the scan's file, in mm.
    - ``velocity [row, 3, x, y, z]``, mm on ``info.velocity_grid`` in template space: exp(velocity) warps the subject's
      first scan to this visit; 0 for the first visit.
    - ``anatomy [subject, 3, x, y, z]``: displacement psi in mm from template points to the subject's first scan.
    - ``status [row]``: pending, done or failed.

    Examples
    --------
    >>> from crow import ScanStore
    >>> store = ScanStore.open("t1w")
    >>> store.cohort().visits[["subject", "time"]].head(3)
      subject  time
    0     s00   0.0
    1     s00   1.0
    2     s01   0.0
    >>> store.array("intensity")[0].shape
    (8, 10, 9)
    """

    def __init__(
        self, path: str | Path, info: StoreInfo, visits: pd.DataFrame, arrays: zarr.Group,
        only: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        self.path, self.info, self.visits, self.arrays, self.only = Path(path), info, visits, arrays, only

    @classmethod
    def create(
        cls,
        path: str | Path,
        info: StoreInfo,
        cohort: Cohort,
        template: NDArray[np.float32],
        mask: NDArray[np.bool_],
        overwrite: bool = False,
        velocities: bool = True,
    ) -> ScanStore:
        """Create an empty store, whose rows are pending.

        Parameters
        ----------
        path : str or Path
            Folder to create.
        info : StoreInfo
            Modality, grids, settings and schema.
        cohort : Cohort
            Visits with scans.
        template, mask : array [X, Y, Z]
            Intensities and brain of the template.
        overwrite : bool
            Replace an existing store.
        velocities : bool
            With a velocity grid: allocate ``velocity`` as well as ``anatomy``.

        Returns
        -------
        ScanStore

        Raises
        ------
        OutputError
            If ``path`` exists and may not be replaced.
        """
        with extra("scans"):
            import nibabel as nib
        path = Path(path)
        with writing(path, overwrite, "store") as folder:
            folder.mkdir()
            write_text(folder / "visits.csv", _table(cohort))
            nib.save(nib.Nifti1Image(template.astype(np.float32), info.grid.matrix), folder / "template.nii.gz")
            nib.save(nib.Nifti1Image(mask.astype(np.uint8), info.grid.matrix), folder / "mask.nii.gz")
            _make_arrays(folder / "arrays.zarr", info, len(cohort), len(cohort.subjects), velocities)
            (folder / "findings.json").write_text("[]", encoding="utf-8")
            (folder / "store.json").write_text(info.model_dump_json(indent=2), encoding="utf-8")
        return cls.open(path, unfinished=True)

    @classmethod
    def open(cls, path: str | Path, unfinished: bool = False) -> ScanStore:
        """Open a store.

        Parameters
        ----------
        path : str or Path
            Folder that ``crow prepare`` wrote.
        unfinished : bool
            Also open a store whose preparation was interrupted.

        Returns
        -------
        ScanStore

        Raises
        ------
        CohortError
            If ``path`` is not a store, is damaged, or is unfinished.
        """
        path = Path(path)
        info = _read_info(path)
        there = {name: (path / name).is_dir() if name == ARRAYS else (path / name).is_file() for name in FILES}
        if missing := [name for name, found in there.items() if not found]:
            raise CohortError(f"{path}: {', '.join(missing)} missing. Run crow prepare again with --overwrite.")
        if not (info.finished or unfinished):
            raise CohortError(
                f"{path}: its preparation was interrupted. Run the same crow prepare command again to continue."
            )
        for name in ("template.nii.gz", "mask.nii.gz"):
            check_volume(path / name, info.grid.shape)
        visits = read_visits(path, info)
        return cls(path, info, visits, open_arrays(path, info, visits, _writable(path)))

    @staticmethod
    def is_store(path: str | Path) -> bool:
        """Whether a folder is a scan store."""
        return is_store(path)

    def array(self, name: str) -> zarr.Array[Any]:
        """An array by name: ``intensity``, ``scale``, ``to_scan``, ``status``, ``velocity`` or ``anatomy``."""
        return self.arrays[name]  # type: ignore[return-value]

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Brain mask of the template, ``[X, Y, Z]``."""
        return read_volume(self.path / "mask.nii.gz", self.info.grid.shape) > 0

    @cached_property
    def template(self) -> NDArray[np.float32]:
        """The template's intensities, ``[X, Y, Z]``."""
        return read_volume(self.path / "template.nii.gz", self.info.grid.shape).astype(np.float32)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows whose scan was prepared, ``[n]``."""
        done = np.flatnonzero(self.array("status")[:] == DONE)
        return done if self.only is None else np.intersect1d(done, self.only)

    def subset(self, rows: NDArray[np.int64]) -> ScanStore:
        """A view of the store with these rows only; row numbers and arrays stay the same."""
        return ScanStore(self.path, self.info, self.visits, self.arrays, rows)

    @property
    def subjects(self) -> list[str]:
        """Subjects in the order of ``anatomy``."""
        return list(self.visits["subject"].unique())

    def subject_index(self, row: int) -> int:
        """The index in ``anatomy`` of the subject of a row."""
        return self.subjects.index(self.visits["subject"].iloc[row])

    def applied_anatomy(self, row: int) -> NDArray[np.float32] | None:
        """The displacement psi ``[3, x, y, z]`` with which the scan of a row was resampled before ``to_scan``.

        In mm on the velocity grid; None if the scan was aligned linearly only.
        """
        if self.info.velocity_grid is None or "anatomy" not in self.arrays or "velocity" in self.arrays:
            return None
        return np.asarray(self.array("anatomy")[self.subject_index(row)], np.float32)

    def cohort(self) -> Cohort:
        """The visits whose scan was prepared.

        Returns
        -------
        Cohort
            The index of ``Cohort.visits`` is the row in the arrays; times are years since each subject's first
            prepared visit.
        """
        visits = self.visits.loc[self.rows]
        schema = self.info.cohort_schema
        began = visits.groupby("subject", sort=False)["time"].transform("first")
        full = Cohort(visits, schema, visits.groupby("subject", sort=False)[START].first())
        start = full.own_time(visits["subject"], began).groupby(visits["subject"], sort=False).first()
        groups = visits.groupby("subject", sort=False)[FAMILY].first() if FAMILY in visits else pd.Series(dtype=object)
        visits = visits.drop(columns=[START, FAMILY], errors="ignore").assign(time=visits["time"] - began)
        return Cohort(visits, schema, start, self.findings, str(self.path), groups=groups)

    @property
    def findings(self) -> list[Finding]:
        """Findings of the cohort and of the preparation."""
        return read_findings(self.path / "findings.json")

    def masked(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Intensities inside the mask, ``[rows, voxels]``, read one row at a time."""
        out = np.empty((len(rows), int(self.mask.sum())), np.float32)
        for k, row in enumerate(rows):
            out[k] = np.asarray(self.array("intensity")[int(row)])[self.mask]
        return out

    def chunks(self, rows: NDArray[np.int64], size: int = 32) -> Iterator[NDArray[np.int64]]:
        """``rows`` in chunks of at most ``size``, for passes in bounded memory."""
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def matches(self, cohort: Cohort) -> bool:
        """Whether visits, covariates, regions and ages equal those of a cohort."""
        text = (self.path / "visits.csv").read_text(encoding="utf-8")
        return self.info.cohort_schema == cohort.schema and text == _table(cohort)

    def update_cohort(self, cohort: Cohort) -> ScanStore:
        """Replace covariates, regions and ages by those of ``cohort``, which has the same visits.

        The store becomes unfinished and keeps its arrays.
        """
        self.invalidate({"cohort_schema": cohort.schema, "cohort_path": cohort.path})
        write_text(self.path / "visits.csv", _table(cohort), overwrite=True)
        return ScanStore.open(self.path, unfinished=True)

    def invalidate(self, changes: dict[str, Any] | None = None) -> None:
        """Mark the store as unfinished until `finish`, with optional ``changes`` of ``info``."""
        self._write_info({**(changes or {}), "finished": False})

    def finish(self, findings: list[Finding]) -> None:
        """Mark the store as finished (every visit is done or failed) and save ``findings``."""
        text = json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False)
        write_text(self.path / "findings.json", text, overwrite=True)
        self._write_info({"finished": True})

    def _write_info(self, changes: dict[str, Any]) -> None:
        self.info = self.info.model_copy(update=changes)
        write_text(self.path / "store.json", self.info.model_dump_json(indent=2), overwrite=True)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.info.grid.shape))
        size = " x ".join(f"{mm:g}" for mm in self.info.grid.spacing)
        return f"ScanStore of {len(self.rows)} {self.info.modality} scans, {shape} voxels of {size} mm, {self.path}"


def _table(cohort: Cohort) -> str:
    visits = cohort.visits.reset_index(drop=True)
    visits[START] = visits["subject"].map(cohort.start)
    if len(cohort.groups):
        visits[FAMILY] = cohort.split_names(visits["subject"])
    return visits.to_csv(index=False, lineterminator="\n")


def _make_arrays(path: Path, info: StoreInfo, visits: int, subjects: int, velocities: bool) -> None:
    with extra("scans"):
        import zarr
    group = zarr.create_group(path)

    def make(name: str, count: int, event: tuple[int, ...], kind: str = "float32") -> None:
        group.create_array(name, shape=(count, *event), chunks=(1, *event), dtype=kind, fill_value=0)

    make("intensity", visits, info.grid.shape)
    make("scale", visits, (2,), "float64")
    make("to_scan", visits, (4, 4), "float64")
    make("status", visits, (), "int8")
    if info.velocity_grid is not None:
        if velocities:
            make("velocity", visits, (3, *info.velocity_grid.shape))
        make("anatomy", subjects, (3, *info.velocity_grid.shape))


def _read_info(path: Path) -> StoreInfo:
    try:
        content = json.loads(read_text(path / "store.json"))
        found = content["format_version"]
        if isinstance(found, int) and found > FORMAT_VERSION:
            raise CohortError(f"{path}: store format {found} is newer than this crow reads ({FORMAT_VERSION}). Update.")
        return StoreInfo.model_validate(content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise CohortError(f"{path}: not a scan store. Make one: crow prepare --cohort ... --out {path}") from None
        raise CohortError(f"{path / 'store.json'}: damaged. Run crow prepare again with --overwrite.") from None


def _writable(path: Path) -> bool:
    """Whether arrays can be written; a store on a read-only disk can still be read."""
    return os.access(path / "arrays.zarr", os.W_OK)
