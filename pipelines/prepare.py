"""Bring the scans of a cohort onto one grid, into a store that everything else reads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy import ndimage

from crow.cohort import Cohort, Finding, read_cohort
from crow.cohort.reader import read_options
from crow.cohort.schema import Schema
from crow.errors import CohortError, ConfigError, OutputError, ScanError
from crow.scans.intensity import PET, STRUCTURAL, check_modality, check_reference
from crow.scans.nifti import open_scan, read_scan
from crow.scans.prepare import VELOCITY_MM, Facts, Plan, prepare_subject, read_facts
from crow.scans.qc import write_page
from crow.scans.store import PENDING, ScanStore, StoreInfo
from crow.scans.template import SPACE, Template, load_template

Register = Literal["auto", "none", "linear", "nonlinear"]
COMMON = ("MNI", "ICBM", "IXI549Space")  # spaces (as BIDS names them) that the template's is alike
OVERLAP = 0.2


@dataclass(frozen=True)
class Prepared:
    """The store, what was found on the way, the page to look at, and the seconds that this took."""

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
    register: Register = "auto",
    mask: Path | None = None,
    reference: str | None = None,
    jobs: int | None = None,
    overwrite: bool = False,
    echo: Callable[[str], None] = lambda line: None,
    schema: Schema | None = None,
    **flags: Any,
) -> Prepared:
    """Prepare every scan of a table or BIDS tree into the store ``out``; an interrupted preparation goes on.

    A store that the same command made is brought up to date: with what the table now says of the same visits, and by
    preparing subjects again of whom a scan's file has changed.

    ``resolution``: voxels in mm. ``register``: ``linear`` aligns a subject's visits to each other and to the template,
    ``nonlinear`` also finds its anatomy and, of structural scans, how it changed; ``auto`` is nonlinear, but for maps
    that are in a common space already. ``mask``: a brain mask in template space in place of the template's.
    ``reference``: of PET. ``jobs``: processes (all cores where None); the backend is joblib's. With ``schema`` (of a
    trained run) the cohort is read just as that one was; flags are those of `ReadOptions`. Raises CohortError, also
    where every scan failed, ConfigError, ScanError for the mask, OutputError.
    """
    if not 0.9 <= resolution <= 16:
        raise ConfigError(f"--resolution {resolution:g}: out of range; the template has 1 mm. Choose 1 to 16.")
    visits = read_cohort(cohort, read_options(**flags), schema=schema, strict=False)
    if not visits.has_scans:
        raise CohortError(f"{cohort}: holds no scans. Name the column of their paths with --scan, or use crow train.")
    kind = check_modality(modality, visits.modality, visits.visits["scan"])
    plan = _plan(visits, kind, resolution, register, check_reference(reference, kind))
    template = load_template(resolution)
    if mask is not None:
        template = replace(template, mask=_own_mask(mask, template))
    settings = {
        "resolution": resolution,
        "modality": kind,
        "register": "nonlinear" if plan.nonlinear else "linear" if plan.linear else "none",
        "mask": None if mask is None else f"{Path(mask).name} sha256:{_digest(mask)}",
        "reference": (plan.reference or "none") if kind in PET else None,
    }
    store = _store(out, visits, plan, template, settings, overwrite, echo)
    _renew_changed(store, echo)
    began = time.perf_counter()
    done = _work(store, plan, jobs, echo)
    seconds = time.perf_counter() - began
    if done:
        echo(f"{done:,} scans in {seconds:.0f} s, {seconds / done:.2f} s a scan.")
    else:
        echo(f"{out}: all {len(store.visits):,} scans are prepared already.")
    return _finish(store, visits, done, seconds)


def _plan(cohort: Cohort, modality: str, resolution: float, register: Register, reference: str | None) -> Plan:
    space = cohort.schema.bids.space if cohort.schema.bids else None
    common = space is not None and space.startswith(COMMON)
    structural = modality in STRUCTURAL
    if register == "auto":
        register = "nonlinear" if structural or not common else "none"
    nonlinear = register == "nonlinear"
    linear = register == "linear" or (nonlinear and not common)
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
    """A new store, or the one that the same command made or was interrupted at; raises OutputError for another one."""
    info = StoreInfo(
        modality=plan.modality,
        space=SPACE,
        grid=template.grid,
        velocity_grid=template.grid.coarser(VELOCITY_MM) if plan.nonlinear else None,
        settings=settings,
        cohort_schema=cohort.schema,
        cohort_path=cohort.path,
    )
    if overwrite or not ScanStore.is_store(out):
        return ScanStore.create(out, info, cohort, template.t1, template.mask, overwrite, plan.velocities)
    store = ScanStore.open(out, unfinished=True)
    same = store.info.settings == settings and store.info.modality == info.modality
    if not same or not _same_visits(store, cohort):
        raise OutputError(
            f"{out}: prepared with other settings or visits ({store.info.settings}). Run the very same command to go "
            "on, choose another name, or replace it with --overwrite."
        )
    if not store.says(cohort):
        echo(f"{out}: the cohort's covariates, regions or ages are read otherwise than before; they are replaced.")
        return store.renew(cohort)
    return store


def _same_visits(store: ScanStore, cohort: Cohort) -> bool:
    columns = ["subject", "session", "scan"]
    old, new = (frame[columns].astype(str).to_numpy().tolist() for frame in (store.visits, cohort.visits))
    return old == new and np.allclose(store.visits["time"], cohort.visits["time"], atol=1e-6)


def _renew_changed(store: ScanStore, echo: Callable[[str], None]) -> None:
    """Subjects of whom a scan's file is another than before are pending again."""
    tried = np.flatnonzero(store.array("status")[:] != PENDING)
    scans, subjects = store.visits["scan"], store.visits["subject"]
    changed = [int(row) for row in tried if read_facts(store.path, int(row)).outdated(scans.iloc[row])]
    if not changed:
        return
    echo(f"{len(changed):,} scans are other files than before; their subjects are prepared again.")
    store.reopen()
    for row in np.flatnonzero(subjects.isin(subjects.iloc[changed])):
        store.array("status")[int(row)] = PENDING


def _work(store: ScanStore, plan: Plan, jobs: int | None, echo: Callable[[str], None]) -> int:
    """Prepare the subjects that have pending scans; returns how many scans that were."""
    pending = np.flatnonzero(store.array("status")[:] == PENDING)
    subjects = store.visits["subject"]
    numbers = {name: k for k, name in enumerate(store.subjects)}
    waiting = list(dict.fromkeys(subjects.iloc[pending]))
    tasks = [(numbers[name], [int(row) for row in np.flatnonzero(subjects == name)]) for name in waiting]
    total = sum(len(rows) for _, rows in tasks)
    if 0 < total < len(subjects):
        echo(f"Going on: {len(subjects) - total:,} of {len(subjects):,} scans are prepared already.")
    columns = (
        TextColumn("Preparing"), BarColumn(), MofNCompleteColumn(), TextColumn("scans"), TimeRemainingColumn()
    )  # fmt: skip
    processes = 1 if len(tasks) == 1 else -1 if jobs is None else jobs
    run = Parallel(n_jobs=processes, return_as="generator_unordered")
    with Progress(*columns, transient=True) as progress:
        bar = progress.add_task("", total=total)
        for facts in run(delayed(prepare_subject)(store.path, number, rows, plan) for number, rows in tasks):
            progress.advance(bar, len(facts))
    return total


def _finish(store: ScanStore, cohort: Cohort, done: int, seconds: float) -> Prepared:
    facts = [read_facts(store.path, row) for row in range(len(store.visits))]
    page = write_page(store, facts)
    failed = [one for one in facts if one.failed]
    if len(failed) == len(facts):
        first = failed[0]
        scan = store.visits["scan"].iloc[first.row]
        raise CohortError(f"None of the {len(facts):,} scans could be prepared. The first, {scan}: {first.failed}")
    findings = [*cohort.findings, *(finding for one in facts for finding in _findings(store, one))]
    store.finish(findings)
    return Prepared(store, findings, page, len(facts), len(failed), seconds)


def _findings(store: ScanStore, facts: Facts) -> list[Finding]:
    scan = store.visits["scan"].iloc[facts.row]
    found = [Finding("scan-noted", "info", f"{scan}: {one}.") for one in facts.said]
    if facts.failed:
        found.append(Finding("scan-failed", "warning", f"{scan}: {facts.failed} The visit was left out."))
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _own_mask(path: Path, template: Template) -> NDArray[np.bool_]:
    """A user's mask on the grid, by the nearest voxel; raises ScanError where it is empty or lies elsewhere."""
    image = open_scan(path)
    values, _ = read_scan(image)
    matrix = np.linalg.inv(image.affine) @ template.grid.matrix
    there = values > 0.5 if values.max() >= 1 else values > 0
    mask = ndimage.affine_transform(
        there.astype(np.uint8), matrix[:3, :3], matrix[:3, 3], output_shape=template.grid.shape, order=0
    )
    inside = mask > 0
    union = float((inside | template.mask).sum())
    if not inside.any() or float((inside & template.mask).sum()) / union < OVERLAP:
        raise ScanError(
            f"{path}: empty, or not where the template's brain is ({SPACE}). Give a brain mask in that space, or leave "
            "--mask out."
        )
    return inside


__all__ = ["Prepared", "Register", "prepare"]
