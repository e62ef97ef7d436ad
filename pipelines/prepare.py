"""Prepare the scans of a cohort on one grid, in a store that all other commands read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy import ndimage

from crow.choices import require_choice
from crow.cohort import Cohort, Finding, read_cohort
from crow.cohort.reader import read_options
from crow.cohort.schema import Schema
from crow.errors import CohortError, ConfigError, OutputError, ScanError
from crow.places import is_store
from crow.scans.intensity import PET, STRUCTURAL, check_modality, check_reference
from crow.scans.nifti import open_scan, read_scan
from crow.scans.prepare import VELOCITY_MM, Plan, QCRecord, prepare_subject, read_qc
from crow.scans.qc import write_page
from crow.scans.store import PENDING, ScanStore, StoreInfo
from crow.scans.template import SPACE, Template, load_template
from crow.tasks import run_tasks

Registration = Literal["auto", "none", "linear", "nonlinear"]
COMMON_SPACES = ("MNI", "ICBM", "IXI549Space")  # BIDS names of spaces close to the template's
MIN_OVERLAP = 0.2  # of a mask with the template's brain
FIRST = 20  # subjects from all over the cohort that are prepared first; if they all fail, the rest is not tried
REASONS = 3


@dataclass(frozen=True)
class Prepared:
    """The store, findings of the cohort and of the preparation, the quality-control page, counts and duration."""

    store: ScanStore
    findings: list[Finding]
    page: Path
    scans: int
    failed: int
    seconds: float


def prepare(
    cohort: Path,
    out: Path,
    *,
    resolution: float = 2.0,
    modality: str | None = None,
    registration: Registration = "auto",
    mask: Path | None = None,
    reference: str | None = None,
    jobs: int | None = None,
    overwrite: bool = False,
    echo: Callable[[str], None] = lambda line: None,
    schema: Schema | None = None,
    **flags: Any,
) -> Prepared:
    """Prepare every scan of a table or BIDS tree in the store ``out``; an interrupted preparation continues.

    A store that the same command made is brought up to date: covariates, regions and ages are replaced by those of the
    table, and subjects with a changed scan file are prepared again.

    Parameters
    ----------
    cohort, out : Path
        Table or BIDS tree, and the store to write.
    resolution : float
        Voxel size of the grid in mm, 1 to 16.
    modality : str, optional
        BIDS suffix; by default as detected.
    registration : {"auto", "none", "linear", "nonlinear"}
        ``linear`` aligns a subject's visits with each other and with the template; ``nonlinear`` also estimates the
        anatomy and, for structural scans, the change; ``auto`` is nonlinear, except for maps in a common space.
    mask : Path, optional
        Brain mask in template space, instead of the template's.
    reference : str, optional
        Reference region of PET.
    jobs : int, optional
        Number of processes, by default one per core; the backend is joblib's.
    overwrite : bool
        Replace an existing store.
    echo : callable
        Receives progress messages.
    schema : Schema, optional
        Read the cohort with the schema of a trained run.
    **flags
        Fields of `ReadOptions`.

    Returns
    -------
    Prepared

    Raises
    ------
    CohortError
        If the cohort cannot be read, has no scans, or all scans fail, or those of the first 20 subjects, taken from all
        over the cohort.
    ConfigError, ScanError, OutputError
        For a setting out of range, an unusable mask, and an existing store of other settings.
    """
    if not 0.9 <= resolution <= 16:
        raise ConfigError(f"--resolution {resolution:g}: out of range. Choose 1 to 16 mm.")
    visits = read_cohort(cohort, read_options(**flags), schema=schema, strict=False)
    if not visits.has_scans:
        raise CohortError(
            f"{cohort}: no scans found. Name the column of their paths with --scan, or use crow train for regions."
        )
    require_choice("--registration", registration, get_args(Registration))
    kind = check_modality(modality, visits.modality, visits.visits["scan"])
    plan = _plan(visits, kind, resolution, registration, check_reference(reference, kind))
    template = load_template(resolution)
    if mask is not None:
        template = replace(template, mask=_read_mask(mask, template))
    settings = {
        "resolution": resolution,
        "modality": kind,
        "registration": "nonlinear" if plan.nonlinear else "linear" if plan.linear else "none",
        "mask": None if mask is None else f"{Path(mask).name} sha256:{_digest(mask)}",
        "reference": (plan.reference or "none") if kind in PET else None,
    }
    store = _store(out, visits, plan, template, settings, overwrite, echo)
    _invalidate_changed(store, echo)
    began = time.perf_counter()
    done = _work(store, plan, jobs, echo)
    seconds = time.perf_counter() - began
    prepared = _finish(store, visits, done, seconds)
    if done:
        echo(f"Prepared {done:,} scans in {seconds:.0f} s ({seconds / done:.2f} s per scan).")
    else:
        echo(f"{out}: all {len(store.visits):,} scans are already prepared.")
    return prepared


def _plan(cohort: Cohort, modality: str, resolution: float, registration: Registration, reference: str | None) -> Plan:
    space = cohort.schema.bids.space if cohort.schema.bids else None
    common = space is not None and space.startswith(COMMON_SPACES)
    structural = modality in STRUCTURAL
    if registration == "auto":
        registration = "nonlinear" if structural or not common else "none"
    nonlinear = registration == "nonlinear"
    linear = registration == "linear" or (nonlinear and not common)
    return Plan(modality, resolution, reference, linear, nonlinear, nonlinear and structural)


def _store(
    out: Path,
    cohort: Cohort,
    plan: Plan,
    template: Template,
    settings: dict[str, Any],
    overwrite: bool,
    echo: Callable[[str], None],
) -> ScanStore:
    """A new store, or the existing one of the same command; raises OutputError for a store of other settings."""
    info = StoreInfo(
        modality=plan.modality,
        space=SPACE,
        grid=template.grid,
        velocity_grid=template.grid.coarser(VELOCITY_MM) if plan.nonlinear else None,
        settings=settings,
        cohort_schema=cohort.schema,
        cohort_path=cohort.path,
    )
    if overwrite or not is_store(out):
        return ScanStore.create(out, info, cohort, template.t1, template.mask, overwrite, plan.velocities)
    store = ScanStore.open(out, unfinished=True)
    same = store.info.settings == settings and store.info.modality == info.modality
    if not same or not _same_visits(store, cohort):
        raise OutputError(
            f"{out}: prepared with other settings or visits ({store.info.settings}). Repeat the same command to "
            "continue, choose another name, or replace it with --overwrite."
        )
    if not store.matches(cohort):
        echo(f"{out}: covariates, regions or ages of the cohort have changed; they are replaced in the store.")
        return store.update_cohort(cohort)
    return store


def _same_visits(store: ScanStore, cohort: Cohort) -> bool:
    columns = ["subject", "session", "scan"]
    old, new = (frame[columns].astype(str).to_numpy().tolist() for frame in (store.visits, cohort.visits))
    return old == new and np.allclose(store.visits["time"], cohort.visits["time"], atol=1e-6)


def _invalidate_changed(store: ScanStore, echo: Callable[[str], None]) -> None:
    """Set subjects with changed scan files to pending."""
    tried = np.flatnonzero(store.array("status")[:] != PENDING)
    scans, subjects = store.visits["scan"], store.visits["subject"]
    changed = [int(row) for row in tried if read_qc(store.path, int(row)).outdated(scans.iloc[row])]
    if not changed:
        return
    echo(f"{len(changed):,} scan files have changed; their subjects are prepared again.")
    store.invalidate()
    for row in np.flatnonzero(subjects.isin(subjects.iloc[changed])):
        store.array("status")[int(row)] = PENDING


def _work(store: ScanStore, plan: Plan, jobs: int | None, echo: Callable[[str], None]) -> int:
    """Prepare the subjects with pending scans; returns their number of scans."""
    pending = np.flatnonzero(store.array("status")[:] == PENDING)
    subjects = store.visits["subject"]
    numbers = {name: k for k, name in enumerate(store.subjects)}
    waiting = list(dict.fromkeys(subjects.iloc[pending]))
    tasks = [(numbers[name], [int(row) for row in np.flatnonzero(subjects == name)]) for name in waiting]
    total = sum(len(rows) for _, rows in tasks)
    if 0 < total < len(subjects):
        echo(f"Continuing: {len(subjects) - total:,} of {len(subjects):,} scans are already prepared.")
    columns = (
        TextColumn("Preparing"), BarColumn(), MofNCompleteColumn(), TextColumn("scans"), TimeRemainingColumn()
    )  # fmt: skip
    calls = [(store.path, number, rows, plan) for number, rows in tasks]
    first = set(np.linspace(0, len(calls) - 1, FIRST).astype(int)) if len(calls) > FIRST else set(range(len(calls)))
    with Progress(*columns, transient=True) as progress:
        bar = progress.add_task("", total=total)
        for part in (first, set(range(len(calls))) - first):
            for _, records in run_tasks(prepare_subject, [calls[k] for k in sorted(part)], jobs) if part else ():
                progress.advance(bar, len(records))
            if len(calls) > FIRST:
                _require_some(store)
    return total


def _require_some(store: ScanStore) -> None:
    """Raise CohortError with the first reasons if every scan that was tried failed."""
    tried = np.flatnonzero(store.array("status")[:] != PENDING)
    failed = [one for row in tried if (one := read_qc(store.path, int(row))).failed]
    if len(failed) < len(tried) or not failed:
        return
    different = {(one.failed or "").split("(")[0]: one for one in reversed(failed)}
    shown = list({one.row: one for one in [*reversed(different.values()), *failed]}.values())[:REASONS]
    reasons = "\n".join(f"{store.visits['scan'].iloc[one.row]}: {one.failed}" for one in shown)
    total = len(store.visits)
    what = f"the {total:,} scans" if len(tried) == total else f"the first {len(tried):,} of {total:,} scans"
    rest = "" if len(tried) == total else "\nThe others were not tried. Repeat the command to try them."
    raise CohortError(f"None of {what} could be prepared. The first reasons:\n{reasons}{rest}")


def _finish(store: ScanStore, cohort: Cohort, done: int, seconds: float) -> Prepared:
    records = [read_qc(store.path, row) for row in range(len(store.visits))]
    page = write_page(store, records)
    _require_some(store)
    failed = [one for one in records if one.failed]
    findings = [*cohort.findings, *(finding for one in records for finding in _findings(store, one))]
    store.finish(findings)
    return Prepared(store, findings, page, len(records), len(failed), seconds)


def _findings(store: ScanStore, record: QCRecord) -> list[Finding]:
    scan = store.visits["scan"].iloc[record.row]
    found = [Finding("scan-noted", "info", f"{scan}: {one}.") for one in record.notes]
    if record.rounded:
        found.append(Finding("scan-rounded", "warning", f"{scan}: {record.rounded}. Convert or compute it again."))
    if record.orientation:
        found.append(Finding("scan-orientation", "warning", f"{scan}: {record.orientation}."))
    if record.misplaced:
        found.append(Finding("scan-misplaced", "warning", f"{scan}: {record.misplaced}."))
    if record.failed:
        found.append(Finding("scan-failed", "warning", f"{scan}: {record.failed} The visit is excluded."))
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _read_mask(path: Path, template: Template) -> NDArray[np.bool_]:
    """A user's mask, resampled to the grid (nearest neighbour); raises ScanError if it misses the template's brain."""
    image = open_scan(path)
    values, _ = read_scan(image)
    matrix = np.linalg.inv(image.affine) @ template.grid.matrix
    brain = values > 0.5 if values.max() >= 1 else values > 0
    mask = ndimage.affine_transform(
        brain.astype(np.uint8), matrix[:3, :3], matrix[:3, 3], output_shape=template.grid.shape, order=0
    )
    inside = mask > 0
    union = float((inside | template.mask).sum())
    if not inside.any() or float((inside & template.mask).sum()) / union < MIN_OVERLAP:
        raise ScanError(
            f"{path}: empty, or does not overlap the template's brain ({SPACE}). Use a brain mask in that space, or "
            "leave out --mask."
        )
    return inside


__all__ = ["Prepared", "Registration", "prepare"]
