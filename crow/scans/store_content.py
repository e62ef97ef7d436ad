"""The content of a store as `crow.scans.store.ScanStore` reads it: checked, so that damage is named where it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.findings import Finding
from crow.errors import CohortError
from crow.extras import extra

if TYPE_CHECKING:
    import zarr

    from crow.scans.store import StoreInfo

START = "first visit"  # column of visits.csv: each subject's first visit in the cohort's own time
FAMILY = "family of the subject"  # column of visits.csv, if the cohort has families
AGAIN = "Restore the file, or run crow prepare again with --overwrite."
STATUS = (0, 1, 2)


def read_visits(path: Path, info: StoreInfo) -> pd.DataFrame:
    """The table visits.csv of a store; raises CohortError if it is not what its schema describes."""
    file, schema = path / "visits.csv", info.cohort_schema
    words = [name for name, kind in schema.covariates.items() if kind == "categorical"]
    text = dict.fromkeys(["subject", "session", "scan", FAMILY, *words], str)
    try:
        visits = pd.read_csv(file, dtype=text, keep_default_na=False, na_values=[""])
    except (ValueError, OSError, OverflowError) as error:
        raise CohortError(f"{file}: cannot be read: {error}. {AGAIN}") from None
    scan = ["scan"] if schema.scan is not None else []
    own = [*schema.covariates, *schema.regions]
    # An unfinished store may have been stopped between its schema and its visits; crow prepare writes both again.
    needed = ["subject", "session", "time", "age", START, *scan, *(own if info.finished else ())]
    if missing := [name for name in needed if name not in visits]:
        raise CohortError(f"{file}: has no column {', '.join(missing)}. {AGAIN}")
    numbers = ["time", "age", *(name for name in own if name not in words and name in visits)]
    for name in numbers:
        if not pd.api.types.is_numeric_dtype(visits[name]) or np.isinf(visits[name].to_numpy(float)).any():
            raise CohortError(f"{file}, column {name}: has text or infinite values, not numbers. {AGAIN}")
    visits["session"] = visits["session"].fillna("")
    for name in visits.columns.intersection(words):
        visits[name] = visits[name].astype(object).where(visits[name].notna(), None)
    _check_order(file, visits)
    try:
        visits[START] = pd.to_datetime(visits[START]) if schema.time_kind == "date" else visits[START].astype(float)
    except (ValueError, TypeError, OverflowError):
        what = "dates" if schema.time_kind == "date" else "numbers"
        raise CohortError(f"{file}, column {START}: not {what}. {AGAIN}") from None
    return visits


def _check_order(file: Path, visits: pd.DataFrame) -> None:
    """Raise CohortError unless there are visits, each of a subject and later than the one before it."""
    if visits.empty or visits["subject"].isna().any() or visits["time"].isna().any():
        raise CohortError(f"{file}: visits without a subject or a time, or no visits. {AGAIN}")
    blocks = visits["subject"][visits["subject"] != visits["subject"].shift()]
    step = visits.groupby("subject", sort=False)["time"].diff()
    wrong = pd.concat([blocks[blocks.duplicated()], visits["subject"][step <= 0]])
    if len(wrong):
        raise CohortError(f"{file}, subject {wrong.iloc[0]}: its visits are not in the order of their times. {AGAIN}")


def open_arrays(path: Path, info: StoreInfo, visits: pd.DataFrame, writable: bool) -> zarr.Group:
    """The arrays of a store; raises CohortError if they do not fit its grid and visits."""
    with extra("scans"):
        import zarr
    file, rows, subjects = path / "arrays.zarr", len(visits), visits["subject"].nunique()
    try:
        arrays = zarr.open_group(file, mode="r+" if writable else "r")
        names = set(arrays.array_keys())
        found = {name: (arrays[name].shape, arrays[name].dtype) for name in names}  # type: ignore[union-attr]
        status = np.asarray(arrays["status"][:])  # type: ignore[index]
    except Exception as error:  # zarr, its codecs and the disk each have errors of their own
        raise CohortError(f"{file}: damaged ({type(error).__name__}). {AGAIN}") from None
    nodes = () if info.velocity_grid is None else info.velocity_grid.shape
    expected: dict[str, tuple[int, ...]] = {
        "intensity": (rows, *info.grid.shape), "scale": (rows, 2), "to_scan": (rows, 4, 4), "status": (rows,),
        "velocity": (rows, 3, *nodes), "anatomy": (subjects, 3, *nodes),
    }  # fmt: skip
    optional = {"velocity"} if nodes else {"velocity", "anatomy"}
    for name, shape in expected.items():
        if name in found and found[name][0] != shape:
            raise CohortError(
                f"{file}: {name} has the shape {found[name][0]}; by visits.csv and store.json it is {shape}. {AGAIN}"
            )
        if name not in found and name not in optional:
            raise CohortError(f"{file}: has no {name}. {AGAIN}")
    if bad := [name for name, (_, kind) in found.items() if kind.kind not in "fiu"]:
        raise CohortError(f"{file}: {bad[0]} has no numbers. {AGAIN}")
    if not np.isin(status, STATUS).all():
        raise CohortError(f"{file}: status has values that crow does not write. {AGAIN}")
    return arrays


def read_volume(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """A volume of the store on its grid; raises CohortError."""
    with extra("scans"):
        import nibabel as nib
    check_volume(path, shape)
    try:
        return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
    except Exception as error:  # nibabel, gzip and the disk each have errors of their own
        raise CohortError(f"{path}: damaged ({type(error).__name__}). {AGAIN}") from None


def check_volume(path: Path, shape: tuple[int, ...]) -> None:
    """Raise CohortError unless the header of a volume is that of the grid; its voxels are not read."""
    with extra("scans"):
        import nibabel as nib
    try:
        found = nib.load(path).shape  # type: ignore[attr-defined]
    except Exception as error:
        raise CohortError(f"{path}: damaged ({type(error).__name__}). {AGAIN}") from None
    if found != tuple(shape):
        raise CohortError(f"{path}: has the shape {found}, the store's grid {tuple(shape)}. {AGAIN}")


def read_findings(path: Path) -> list[Finding]:
    """The findings of a store; raises CohortError."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Finding(**{**row, "rows": tuple(row["rows"])}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise CohortError(f"{path}: damaged. {AGAIN}") from None
