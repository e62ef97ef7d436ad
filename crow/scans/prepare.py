"""Preparation of one subject: read, align, normalise and register its scans, and write them into the store.

Every scan gets a quality-control record and a picture in ``qc/``; the record of a failed scan has the reason.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crow.errors import ScanError
from crow.files import write_text
from crow.scans.background import above_background, background_level, label_note
from crow.scans.brain import template_overlap
from crow.scans.deform import sample
from crow.scans.intensity import PET, STRUCTURAL, scale_of
from crow.scans.linear import Image, align_subject, resample
from crow.scans.nifti import open_scan, orientation_note, read_scan
from crow.scans.picture import draw
from crow.scans.store import DONE, FAILED, ScanStore
from crow.scans.template import Template, load_template

Volume = NDArray[np.float32]
Matrix = NDArray[np.float64]

VELOCITY_MM = 4.0
MIN_COVERAGE = 0.5  # share of the template's brain in a scan's field of view
MIN_TEMPLATE_FIT = 0.25  # correlation with the template's tissues below which a scan looks misplaced
MIN_OVERLAP = 0.8  # Dice coefficient of the brains of scan and template, below which a structural scan looks misplaced
MIRROR_MARGIN = 0.02  # excess correlation of the mirrored scan with the first scan that counts as swapped
MAX_COUNTED = 1_000_000  # voxels whose different values are counted
MIN_LEVEL_RATIO = 20  # of the different values of two scans, from which one of them was rounded
STANDARD_SPACES = (3, 4)  # NIfTI codes of Talairach and MNI space
SPACE = re.compile(r"_space-([A-Za-z0-9]+)")


@dataclass(frozen=True)
class Plan:
    """Steps applied to every subject: ``linear`` alignment, ``nonlinear`` anatomy, ``velocities`` between visits."""

    modality: str
    resolution: float
    reference: str | None
    linear: bool
    nonlinear: bool
    velocities: bool


@dataclass(frozen=True)
class QCRecord:
    """Quality-control record of a prepared scan.

    ``fit``: see `template_fit`; ``coverage``: share of the template's brain in the field of view; ``failed``: the
    reason, if it failed; ``notes`` for the user; ``rounded``: see `rounding`; ``orientation``: see `orientation_note`;
    ``misplaced``: why it seems not to lie on the template; ``file``: `file_state` before the scan was read.
    """

    row: int
    fit: float | None = None
    coverage: float | None = None
    seconds: float | None = None
    failed: str | None = None
    notes: tuple[str, ...] = ()
    rounded: str | None = None
    file: tuple[int, int] | None = None
    orientation: str | None = None
    misplaced: str | None = None

    def outdated(self, scan: str) -> bool:
        """Whether the scan's file has changed since it was prepared, or has appeared since it failed."""
        now = file_state(scan)
        return now is not None and now != self.file and (self.file is not None or self.failed is not None)


def prepare_subject(path: Path, subject: int, rows: list[int], plan: Plan) -> list[QCRecord]:
    """Prepare the ``rows`` of a subject in the store at ``path``; afterwards each is done or failed."""
    began = time.perf_counter()
    store = ScanStore.open(path, unfinished=True)
    work = _SubjectPreparation(store, rows, plan)
    try:
        work.align()
        work.normalise()
        work.deform(subject)
    except Exception as error:  # any error: the scans of other subjects are still prepared
        work.fail_all(f"registration failed ({type(error).__name__}: {error}). Inspect the subject's scans.")
    return work.write((time.perf_counter() - began) / len(rows))


def qc_path(store: Path, row: int) -> Path:
    """File of the quality-control record of a row."""
    return store / "qc" / f"scan-{row:05d}.json"


def read_qc(store: Path, row: int) -> QCRecord:
    """The quality-control record of a row."""
    content: dict[str, Any] = json.loads(qc_path(store, row).read_text(encoding="utf-8"))
    file = content.get("file")
    return QCRecord(**{**content, "notes": tuple(content["notes"]), "file": None if file is None else tuple(file)})


def file_state(path: str | Path) -> tuple[int, int] | None:
    """Size (bytes) and modification time (ns) of a file, None if it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def template_fit(intensity: Volume, template: Template) -> float:
    """Multiple correlation of a scan with the template's grey and white matter inside the mask."""
    inside = template.mask & (intensity != 0)
    tissue = np.stack([np.ones(int(inside.sum()), np.float32), template.gm[inside], template.wm[inside]], 1)
    y = intensity[inside].astype(np.float64)
    if len(y) < 50 or y.std() == 0:
        return 0.0
    y = np.clip(y, *np.percentile(y, [1, 99]))
    coefficients = np.linalg.lstsq(tissue, y, rcond=None)[0]
    return float(np.sqrt(max(0.0, 1 - ((y - tissue @ coefficients) ** 2).mean() / max(y.var(), 1e-12))))


def rounding(levels: dict[int, int]) -> dict[int, str]:
    """A note for each scan with far fewer different values than the subject's other scans, which ``levels`` counts."""
    most = max(levels.values(), default=0)
    return {
        row: f"{count:,} different values, but {most:,} in another scan of the subject, so it was probably rounded"
        for row, count in levels.items()
        if count * MIN_LEVEL_RATIO < most
    }


class _SubjectPreparation:
    """The preparation of a subject: ``images`` of valid rows on the grid; ``failed`` rows with the reason."""

    def __init__(self, store: ScanStore, rows: list[int], plan: Plan) -> None:
        self.store, self.plan, self.rows = store, plan, rows
        self.template = replace(load_template(plan.resolution), mask=store.mask)
        self.paths = {row: str(store.visits["scan"].iloc[row]) for row in rows}
        self.files = {row: file_state(path) for row, path in self.paths.items()}
        self.failed: dict[int, str] = {}
        self.notes: dict[int, list[str]] = {row: [] for row in rows}
        self.rounded: dict[int, str] = {}
        self.orientation: dict[int, str] = {}
        self.backgrounds: dict[int, tuple[float, float | None]] = {}
        self.to_scan: dict[int, Matrix] = {}
        self.images: dict[int, Volume] = {}
        self.gains: dict[int, float] = {}
        self.anatomy: Volume | None = None
        self.velocity: dict[int, Volume] = {}
        self.subject = 0

    def align(self) -> None:
        """Resample every scan to the grid in one interpolation; files are read again to limit memory."""
        coarse, codes, levels = {}, {}, {}
        for row in self.rows:
            try:
                scan = open_scan(self.paths[row])
                values, note = read_scan(scan)
                values = self._above_background(row, values)
                coarse[row] = Image.of(values, scan.affine) if self.plan.linear else None
            except ScanError as error:
                self._fail(row, str(error))
                continue
            levels[row] = len(np.unique(values.ravel()[:: max(1, values.size // MAX_COUNTED)]))
            codes[row] = int(scan.header["sform_code"]) or int(scan.header["qform_code"])
            self.notes[row] += [note] if note else []
            if wrong := orientation_note(scan):
                self.orientation[row] = wrong
        self.rounded = rounding(levels)
        self._require_one_space(codes)
        good = [row for row in self.rows if row not in self.failed]
        if not good:
            return
        images = [image for row in good if (image := coarse[row]) is not None]
        matrices = align_subject(images) if self.plan.linear else [np.eye(4)] * len(good)
        for row, matrix in zip(good, matrices, strict=True):
            self.to_scan[row] = matrix
            self._resample(row)
        for row in list(self.images):
            self._check(row)

    def normalise(self) -> None:
        for row in list(self.images):
            try:
                gain = scale_of(self.images[row], self.template, self.plan.modality, self.plan.reference)
            except ScanError as error:
                self._fail(row, str(error))
                continue
            self.gains[row] = gain
            self.images[row] /= np.float32(gain)

    def deform(self, subject: int) -> None:
        """Estimate anatomy and velocities; without velocities, resample the scans to template space."""
        if not (self.plan.nonlinear and self.images):
            return
        from crow.scans.change import register_subject

        self.subject = subject
        nodes = self.store.info.velocity_grid
        assert nodes is not None
        stack = np.stack(list(self.images.values()))
        if self.plan.velocities:
            self.anatomy, fields = register_subject(stack, self.template, nodes, True)
            self.velocity = dict(zip(self.images, fields, strict=True))
            return
        self.anatomy, _ = register_subject(stack.mean(0, keepdims=True), self.template, nodes, False)
        displacement = sample(self.anatomy, nodes, self.template.grid.points())
        for row in list(self.images):
            self._resample(row, displacement)
        self.normalise()

    def fail_all(self, reason: str) -> None:
        for row in self.rows:
            if row not in self.failed:
                self._fail(row, reason)
        self.anatomy = None

    def write(self, seconds: float) -> list[QCRecord]:
        for row, image in self.images.items():
            self.store.array("intensity")[row] = image
            self.store.array("scale")[row] = np.array([self.gains[row], self.backgrounds[row][0]])
            self.store.array("to_scan")[row] = self.to_scan[row]
            if row in self.velocity:
                self.store.array("velocity")[row] = self.velocity[row]
        if self.anatomy is not None:
            self.store.array("anatomy")[self.subject] = self.anatomy
        records = []
        for row in self.rows:
            record = self._record(row, seconds)
            records.append(record)
            write_text(qc_path(self.store.path, row), json.dumps(asdict(record)), overwrite=True)
            self.store.array("status")[row] = FAILED if row in self.failed else DONE
        return records

    def _record(self, row: int, seconds: float) -> QCRecord:
        if row in self.failed:
            return QCRecord(row, None, None, seconds, self.failed[row], *self._remarks(row))
        image = self.images[row]
        fit = template_fit(image, self.template)
        draw(image, self.template, qc_path(self.store.path, row).with_suffix(".png"))
        remarks = self._remarks(row)
        return QCRecord(row, fit, self._coverage(image), seconds, None, *remarks, self._misplaced(image, fit))

    def _misplaced(self, image: Volume, fit: float) -> str | None:
        """Why a scan seems not to lie on the template, and what to do."""
        what = []
        if fit < MIN_TEMPLATE_FIT:
            what.append(f"poor fit to the template's tissues (correlation {fit:.2f})")
        if self.plan.modality in STRUCTURAL:
            overlap = template_overlap(image, self.template.grid)
            if overlap < MIN_OVERLAP:
                what.append(f"its brain and the template's overlap little (Dice {overlap:.2f})")
        advice = "" if self.plan.linear else ", or align it with --registration linear"
        return f"{' and '.join(what)}. Inspect its picture in qc/index.html{advice}" if what else None

    def _remarks(self, row: int) -> tuple[tuple[str, ...], str | None, tuple[int, int] | None, str | None]:
        return tuple(self.notes[row]), self.rounded.get(row), self.files[row], self.orientation.get(row)

    def _above_background(self, row: int, values: Volume) -> Volume:
        """The scan less its offset, which is noted; raises ScanError for a mask or labels in place of a scan."""
        if self.plan.modality in (*STRUCTURAL, *PET) and (what := label_note(values)):
            raise ScanError(f"{what}. A scan of intensities is needed; give masks to crow segment.")
        known = row in self.backgrounds
        if not known:
            structural = self.plan.modality in STRUCTURAL
            self.backgrounds[row] = background_level(values) if structural else (0.0, None)
        offset, constant = self.backgrounds[row]
        if offset != 0 and not known:
            what = "its background" if constant is None else "its darkest tissue"
            self.notes[row].append(f"has values below 0; {what} ({offset:.3g}) was taken as 0")
        return above_background(values, offset, constant)

    def _resample(self, row: int, displacement: NDArray[np.floating] | None = None) -> None:
        """Read a scan and resample it to the grid; it fails if it can no longer be read."""
        try:
            scan = open_scan(self.paths[row])
            values = self._above_background(row, read_scan(scan)[0])
        except ScanError as error:
            self._fail(row, str(error))
            return
        self.images[row] = resample(values, scan.affine, self.template.grid, self.to_scan[row], displacement)

    def _require_one_space(self, codes: dict[int, int]) -> None:
        """Fail all visits if their names, or the headers of scans that are not aligned, are in different spaces."""
        named = {(found[1] if (found := SPACE.search(Path(self.paths[row]).name)) else "native") for row in codes}
        coded = set() if self.plan.linear else {codes[row] in STANDARD_SPACES for row in codes}
        if len(named) > 1:
            what = f"the subject's visits are in different spaces ({', '.join(sorted(named))}). Choose one with --space"
        elif len(coded) > 1:
            what = "some headers of the subject's visits are in scanner space, others in a standard space"
        else:
            return
        advice = "" if self.plan.linear else ", or align them with --registration linear"
        for row in codes:
            self._fail(row, f"{what}{advice}.")

    def _check(self, row: int) -> None:
        """Fail a scan outside the template's brain, or with left and right swapped against the first scan."""
        image = self.images[row]
        coverage = self._coverage(image)
        if coverage < MIN_COVERAGE:
            advice = "" if self.plan.linear else " Align it with --registration linear."
            self._fail(row, f"only {coverage:.0%} of the template's brain is in its field of view.{advice}")
            return
        first = next(iter(self.images))
        if row == first:
            return
        direct = _correlation(self.images[first], image, self.template)
        mirrored = _correlation(self.images[first], _mirror(image, self.template), self.template)
        if mirrored > direct + MIRROR_MARGIN:
            self._fail(
                row,
                f"left and right are swapped relative to the subject's first scan (correlation {direct:.2f}, mirrored "
                f"{mirrored:.2f}). Correct the orientation in the header of one of them.",
            )

    def _coverage(self, image: Volume) -> float:
        return float((image[self.template.mask] != 0).mean())

    def _fail(self, row: int, reason: str) -> None:
        self.failed[row] = reason.removeprefix(f"{self.paths[row]}: ")
        self.images.pop(row, None)


def _mirror(image: Volume, template: Template) -> Volume:
    points = template.grid.points()
    points[0] *= -1
    return sample(image[None], template.grid, points, "zeros")[0]


def _correlation(one: Volume, other: Volume, template: Template) -> float:
    inside = template.mask & (one != 0)
    a, b = one[inside], other[inside]
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0
