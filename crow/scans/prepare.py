"""The work on one subject: its scans read, aligned, normalised, registered, and written into the store with a picture.

Whatever is wrong with a scan becomes a fact about it in ``qc/``, beside those of the scans that went well.
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
from crow.scans.deform import sample
from crow.scans.intensity import scale_of
from crow.scans.linear import Image, align_subject, resample
from crow.scans.nifti import open_scan, read_scan
from crow.scans.picture import draw
from crow.scans.store import DONE, FAILED, ScanStore
from crow.scans.template import Template, load_template

Volume = NDArray[np.float32]
Matrix = NDArray[np.float64]

VELOCITY_MM = 4.0
COVERED = 0.5  # of the brain: a scan that shows less does not lie where the template is
ALIKE = 0.25  # below this fit to the template's tissues a scan looks misplaced
MIRRORED = 0.02  # by which a mirrored scan must resemble the subject's first more
STANDARD = (3, 4)  # NIfTI codes of Talairach and MNI space
SPACE = re.compile(r"_space-([A-Za-z0-9]+)")


@dataclass(frozen=True)
class Plan:
    """What is done with every subject: ``linear`` alignment, ``nonlinear`` anatomy, ``velocities`` between visits."""

    modality: str
    resolution: float
    reference: str | None
    linear: bool
    nonlinear: bool
    velocities: bool


@dataclass(frozen=True)
class Facts:
    """What is known of a scan after its preparation; ``failed`` and ``said`` are in words. ``fit``: see `fit`.
    ``file``: see `file_state`, as it was before the scan was read."""

    row: int
    fit: float | None = None
    covered: float | None = None
    seconds: float | None = None
    failed: str | None = None
    said: tuple[str, ...] = ()
    file: tuple[int, int] | None = None

    def outdated(self, scan: str) -> bool:
        """Whether the scan's file is another than the one prepared, or is there where it could not be read before."""
        now = file_state(scan)
        return now is not None and now != self.file and (self.file is not None or self.failed is not None)


def prepare_subject(path: Path, subject: int, rows: list[int], plan: Plan) -> list[Facts]:
    """Prepare the ``rows`` of a subject into the store at ``path``; the store then holds them, done or failed."""
    began = time.perf_counter()
    store = ScanStore.open(path, unfinished=True)
    work = _Subject(store, rows, plan)
    try:
        work.place()
        work.normalise()
        work.deform(subject)
    except Exception as error:  # of whatever kind: the other subjects' scans are prepared all the same
        work.fail_all(f"registration failed ({type(error).__name__}: {error}). Look at the subject's scans.")
    return work.write((time.perf_counter() - began) / len(rows))


def facts_path(store: Path, row: int) -> Path:
    return store / "qc" / f"scan-{row:05d}.json"


def read_facts(store: Path, row: int) -> Facts:
    content: dict[str, Any] = json.loads(facts_path(store, row).read_text(encoding="utf-8"))
    file = content.get("file")
    return Facts(**{**content, "said": tuple(content["said"]), "file": None if file is None else tuple(file)})


def file_state(path: str | Path) -> tuple[int, int] | None:
    """Size in bytes and time of the last change (ns) of a file, None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def fit(intensity: Volume, template: Template) -> float:
    """How well gray and white matter of the template tell a scan's intensities: multiple correlation in the mask."""
    inside = template.mask & (intensity != 0)
    tissue = np.stack([np.ones(int(inside.sum()), np.float32), template.gm[inside], template.wm[inside]], 1)
    y = intensity[inside].astype(np.float64)
    if len(y) < 50 or y.std() == 0:
        return 0.0
    y = np.clip(y, *np.percentile(y, [1, 99]))
    coefficients = np.linalg.lstsq(tissue, y, rcond=None)[0]
    return float(np.sqrt(max(0.0, 1 - ((y - tissue @ coefficients) ** 2).mean() / max(y.var(), 1e-12))))


class _Subject:
    """``images`` are the rows still good, on the grid; the others are in ``failed``, with the reason."""

    def __init__(self, store: ScanStore, rows: list[int], plan: Plan) -> None:
        self.store, self.plan, self.rows = store, plan, rows
        self.template = replace(load_template(plan.resolution), mask=store.mask)
        self.paths = {row: str(store.visits["scan"].iloc[row]) for row in rows}
        self.files = {row: file_state(path) for row, path in self.paths.items()}
        self.failed: dict[int, str] = {}
        self.said: dict[int, list[str]] = {row: [] for row in rows}
        self.to_scan: dict[int, Matrix] = {}
        self.images: dict[int, Volume] = {}
        self.gains: dict[int, float] = {}
        self.anatomy: Volume | None = None
        self.velocity: dict[int, Volume] = {}
        self.subject = 0

    def place(self) -> None:
        """Every scan on the grid, in one interpolation; voxels are read again, so that few are held at once."""
        coarse, codes = {}, {}
        for row in self.rows:
            try:
                scan = open_scan(self.paths[row])
                values, said = read_scan(scan)
                coarse[row] = Image.of(values, scan.affine) if self.plan.linear else None
            except ScanError as error:
                self._fail(row, str(error))
                continue
            codes[row] = int(scan.header["sform_code"]) or int(scan.header["qform_code"])
            self.said[row] += [said] if said else []
        self._one_space(codes)
        good = [row for row in self.rows if row not in self.failed]
        if not good:
            return
        images = [image for row in good if (image := coarse[row]) is not None]
        matrices = align_subject(images) if self.plan.linear else [np.eye(4)] * len(good)
        for row, matrix in zip(good, matrices, strict=True):
            self.to_scan[row] = matrix
            self._put(row)
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
        """Anatomy and velocities; without velocities, the scans go on into the template's space."""
        if not (self.plan.nonlinear and self.images):
            return
        from crow.scans.nonlinear import register_subject

        self.subject = subject
        nodes = self.store.info.velocity_grid
        assert nodes is not None
        stack = np.stack(list(self.images.values()))
        if self.plan.velocities:
            self.anatomy, fields = register_subject(stack, self.template, nodes, True)
            self.velocity = dict(zip(self.images, fields, strict=True))
            return
        self.anatomy, _ = register_subject(stack.mean(0, keepdims=True), self.template, nodes, False)
        moved = sample(self.anatomy, nodes, self.template.grid.points())
        for row in list(self.images):
            self._put(row, moved)
        self.normalise()

    def fail_all(self, reason: str) -> None:
        for row in self.rows:
            if row not in self.failed:
                self._fail(row, reason)
        self.anatomy = None

    def write(self, seconds: float) -> list[Facts]:
        for row, image in self.images.items():
            self.store.array("intensity")[row] = image
            self.store.array("scale")[row] = np.array([self.gains[row], 0.0])
            self.store.array("to_scan")[row] = self.to_scan[row]
            if row in self.velocity:
                self.store.array("velocity")[row] = self.velocity[row]
        if self.anatomy is not None:
            self.store.array("anatomy")[self.subject] = self.anatomy
        all_facts = []
        for row in self.rows:
            facts = self._facts(row, seconds)
            all_facts.append(facts)
            write_text(facts_path(self.store.path, row), json.dumps(asdict(facts)), overwrite=True)
            self.store.array("status")[row] = FAILED if row in self.failed else DONE
        return all_facts

    def _facts(self, row: int, seconds: float) -> Facts:
        if row in self.failed:
            return Facts(row, None, None, seconds, self.failed[row], tuple(self.said[row]), self.files[row])
        image = self.images[row]
        alike = fit(image, self.template)
        if alike < ALIKE:
            self.said[row].append(f"fits the template badly ({alike:.2f}); look at its picture in qc/index.html")
        draw(image, self.template, facts_path(self.store.path, row).with_suffix(".png"))
        return Facts(row, alike, self._covered(image), seconds, None, tuple(self.said[row]), self.files[row])

    def _put(self, row: int, moved: NDArray[np.floating] | None = None) -> None:
        """Read a scan onto the grid; fail one that can no longer be read."""
        try:
            scan = open_scan(self.paths[row])
            values, _ = read_scan(scan)
        except ScanError as error:
            self._fail(row, str(error))
            return
        self.images[row] = resample(values, scan.affine, self.template.grid, self.to_scan[row], moved)

    def _one_space(self, codes: dict[int, int]) -> None:
        """Fail all visits where the names, or the headers of scans that are not aligned, tell different spaces."""
        named = {(found[1] if (found := SPACE.search(Path(self.paths[row]).name)) else "native") for row in codes}
        coded = set() if self.plan.linear else {codes[row] in STANDARD for row in codes}
        if len(named) > 1:
            what = f"the subject's visits are in different spaces ({', '.join(sorted(named))}). Choose one with --space"
        elif len(coded) > 1:
            what = "of the subject's visits some headers say scanner space, some a standard space"
        else:
            return
        advice = "" if self.plan.linear else ", or align them with --registration linear"
        for row in codes:
            self.failed[row] = f"{what}{advice}."

    def _check(self, row: int) -> None:
        """Fail a scan that lies elsewhere, or that resembles the subject's first one more when mirrored."""
        image = self.images[row]
        covered = self._covered(image)
        if covered < COVERED:
            advice = "" if self.plan.linear else " Align it with --registration linear."
            self._fail(row, f"only {covered:.0%} of the template's brain lies in its field of view.{advice}")
            return
        first = next(iter(self.images))
        if row == first:
            return
        direct = _correlation(self.images[first], image, self.template)
        mirrored = _correlation(self.images[first], _mirror(image, self.template), self.template)
        if mirrored > direct + MIRRORED:
            self._fail(
                row,
                f"left and right are swapped against the subject's first scan (correlation {direct:.2f}, mirrored "
                f"{mirrored:.2f}). Mend the orientation in the header of one of them.",
            )

    def _covered(self, image: Volume) -> float:
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
