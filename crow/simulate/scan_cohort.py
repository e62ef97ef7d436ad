"""A cohort of invented scans, drawn one at a time from what is known of every brain at every visit."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from crow.errors import ConfigError
from crow.scans.deform import exponential, jacobian, sample, slabs
from crow.scans.grid import Grid
from crow.scans.template import SPACE, STRUCTURES, load_template
from crow.simulate import atrophy, uptake
from crow.simulate.acquisition import WHITE, Acquisition, scan_grid, t1w
from crow.simulate.anatomy import Anatomy, HeadPosition
from crow.simulate.atrophy import Course, change_fields
from crow.simulate.brain_parts import labels_at
from crow.simulate.progression import FIRST_DAY, YEARS_OF_ENTRY, draw_scores
from crow.simulate.schedule import draw_yearly
from crow.simulate.subjects import diagnosis, draw_people
from crow.simulate.uptake import Amyloid

Volume = NDArray[np.floating]
SCANS = ("T1w", "pet")
PLACED, PLACED_AGAIN = 3.0, 2.0
GAIN_SPREAD = {"T1w": 0.05, "pet": 0.02}
RIM_MM = 3.0
AXES = ("x", "y", "z")


def simulate_scans(
    subjects: int = 80,
    visits: int = 4,
    resolution: float = 2.0,
    modality: str = "T1w",
    seed: int = 0,
    scanner_change: int | None = None,
) -> ScanSimulation:
    """Invented people and how their brains change, scan by scan; nothing is drawn before it is asked for.

    ``modality`` is ``T1w`` (brain only, white matter about 800) or ``pet`` (amyloid, ratio to the cerebellum).
    ``scanner_change``: from this visit on (2 is the second) half of the people are scanned on another scanner.
    Raises ConfigError where a value is out of range.
    """
    if modality not in SCANS:
        raise ConfigError(f"modality: {modality!r} is not simulated; choose from {', '.join(SCANS)}.")
    if not 1 <= resolution <= 8:
        raise ConfigError(f"resolution: {resolution:g} mm is out of range; choose 1 to 8.")
    if scanner_change is not None and not 2 <= scanner_change <= visits:
        raise ConfigError(f"scanner change: visit {scanner_change} of {visits}; choose 2 to {visits}.")
    rng = np.random.default_rng([seed, 0])
    people = draw_people(rng, subjects).set_axis([f"sub-{k:04d}" for k in range(1, subjects + 1)])
    rows = _visits(rng, people, visits, scanner_change, GAIN_SPREAD[modality])
    return ScanSimulation(people, rows, modality, resolution, seed, scanner_change)


@dataclass(frozen=True)
class SimulatedSubject:
    """What stays the same of a subject."""

    anatomy: Anatomy
    course: Course
    amyloid: Amyloid


@dataclass(frozen=True)
class ScanSimulation:
    """Invented people, their visits, and their scans.

    ``people``: a row a subject, by its label (``sub-0001``). ``visits``: a row a visit: subject, session
    (``ses-M012``), years since the first, age, acq_time, diagnosis, CDRSB, disease_time, rate, and how it was scanned.
    """

    people: pd.DataFrame
    visits: pd.DataFrame
    modality: str
    resolution: float
    seed: int
    scanner_change: int | None
    _known: dict[str, SimulatedSubject] = field(default_factory=dict, repr=False)  # the last one asked for
    _moved: dict[tuple[str, str, str], list[tuple[slice, Volume]]] = field(default_factory=dict, repr=False)  # too

    @property
    def grid(self) -> Grid:
        """That of every scan; heads lie differently in it."""
        return scan_grid(self.resolution)

    def render(self, subject: str, session: str, like: str | None = None, noise: bool = False) -> Volume:
        """The scan of a visit, ``[X, Y, Z]``, with the head where it lies at the session ``like`` (default: its own).

        Without ``noise``: as the first scanner would see it with no noise, bias field or gain. T1w takes one linear
        interpolation from the 1 mm template.
        """
        visit, grid = self.visit(subject, session), self.grid
        image = np.empty(grid.shape, np.float32)
        person = self.person(subject)
        for slab, points in self._template_points(subject, session, like or session):
            if self.modality == "pet":
                image[slab] = person.amyloid.at(points, visit["disease_time"])
            else:
                whole, source = _source(self.resolution)
                image[slab] = sample(source[None], whole, points, outside="zeros")[0]
        if self.modality == "pet":
            image = uptake.blurred(image, grid)
        return self.measured(subject, session, image) if noise else image

    def aligned(self, subject: str, session: str) -> Volume:
        """The PET scan of a visit, with noise, as one that lies in the template's space: on the template's grid, of the
        template's shape. Raises ConfigError for T1w, of which nothing would be left."""
        if self.modality != "pet":
            raise ConfigError(f"modality: {self.modality} scans are aligned by crow prepare; only pet is drawn so.")
        grid = load_template(self.resolution).grid
        sharp = self.person(subject).amyloid.at(grid.points(), self.visit(subject, session)["disease_time"])
        return self.measured(subject, session, uptake.blurred(sharp, grid), grid)

    def measured(self, subject: str, session: str, image: Volume, grid: Grid | None = None) -> Volume:
        """A noise-free image (on ``grid``, by default that of every scan) as the scanner of that visit gives it."""
        visit, rng = (
            self.visit(subject, session),
            np.random.default_rng([self.seed, 2, *self._numbers(subject, session)]),
        )
        scanner = Acquisition(float(visit["gain"]), bool(visit["scanner"] == 2))
        return (uptake.measured if self.modality == "pet" else t1w)(rng, image, grid or self.grid, scanner)

    def labels(self, subject: str, session: str, like: str | None = None) -> NDArray[np.uint8]:
        """`STRUCTURES` at a visit, ``[X, Y, Z]``, with the head where it lies at the session ``like``."""
        template = load_template(1.0)
        labels = np.empty(self.grid.shape, np.uint8)
        for slab, points in self._template_points(subject, session, like or session):
            labels[slab] = labels_at(points, template.structures, template.grid)
        return labels

    def volumes(self, subject: str, session: str) -> dict[str, float]:
        """mm3 of each of `STRUCTURES`: the integral of the Jacobian determinant over the template's structure."""
        change = change_fields()
        moved = exponential(self.velocity(subject, session), change.grid)
        volume = jacobian(moved, change.grid) * self.person(subject).anatomy.volume(change.grid.points() + moved)
        each = change.grid.voxel_volume * np.tensordot(change.fractions, volume, 3)
        return {name: float(each[label - 1]) for label, name in STRUCTURES.items()}

    def velocity(self, subject: str, session: str) -> Volume:
        """Change since the young template: template points move by its exponential, ``[3, x, y, z]`` mm on the grid of
        `change_fields`."""
        return change_fields().velocity(self._log_volumes(subject, session))

    def position(self, subject: str, session: str) -> HeadPosition:
        visit = self.visit(subject, session)
        degrees = tuple(float(visit[f"turned_{axis}"]) for axis in AXES)
        return HeadPosition(degrees, tuple(float(visit[f"moved_{axis}"]) for axis in AXES))  # type: ignore[arg-type]

    def truth(self, subject: str) -> pd.DataFrame:
        """The rows of ``visits`` of a subject with the log volumes of its parts and the volumes of its structures."""
        rows = self.visits[self.visits["subject"] == subject].reset_index(drop=True)
        logs = atrophy.course_table([self._log_volumes(subject, session) for session in rows["session"]])
        volumes = pd.DataFrame([self.volumes(subject, session) for session in rows["session"]]).round(2)
        parts = [rows.drop(columns=["diagnosis", "CDRSB"]), logs.round(5), volumes.add_suffix("_mm3")]
        if self.modality == "pet":
            regions = [self.person(subject).amyloid.regions(time) for time in rows["disease_time"]]
            parts.append(pd.DataFrame(np.round(regions, 4), columns=[f"{name}_ratio" for name in uptake.UPTAKE]))
        return pd.concat(parts, axis=1)

    def person(self, subject: str) -> SimulatedSubject:
        if subject not in self._known:
            rng = np.random.default_rng([self.seed, 1, self._numbers(subject)[0]])
            anatomy = Anatomy.draw(rng, float(self.people.loc[subject, "icv"]))  # type: ignore[arg-type]
            self._known.clear()
            self._known[subject] = SimulatedSubject(anatomy, Course.draw(rng), Amyloid.draw(rng))
        return self._known[subject]

    def visit(self, subject: str, session: str) -> pd.Series:
        """Its row; raises ConfigError where there is none."""
        found = self.visits[(self.visits["subject"] == subject) & (self.visits["session"] == session)]
        if found.empty:
            raise ConfigError(f"{subject} {session}: no such visit. Choose from `ScanSimulation.visits`.")
        return found.iloc[0]

    def parameters(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "modality": self.modality,
            "resolution": self.resolution,
            "seed": self.seed,
            "subjects": len(self.people),
            "scanner_change": self.scanner_change,
            "space": SPACE,
            "geometry": "scan(y) = template(exp(-change)(anatomy(head(y)))): head turns y by turned_* (degrees, about"
            " x, then y, then z, through (0, -18, 5)) and moves it by moved_* (mm); anatomy divides by size about that "
            "point, then adds the displacement of exp(velocity)",
            "change": atrophy.parameters(),
            **({"uptake": uptake.parameters()} if self.modality == "pet" else {}),
        }

    def _template_points(self, subject: str, session: str, like: str) -> list[tuple[slice, Volume]]:
        """Where the voxels of a scan come from, slab by slab: template(exp(-change)(anatomy(head(y))))."""
        asked = (subject, session, like)
        if asked not in self._moved:
            anatomy, position = self.person(subject).anatomy, self.position(subject, like)
            change = change_fields().grid
            back = exponential(-self.velocity(subject, session), change)
            self._moved.clear()
            parts = ((slab, anatomy.to_template(position.points(points))) for slab, points in slabs(self.grid))
            self._moved[asked] = [(slab, points + sample(back, change, points)) for slab, points in parts]
        return self._moved[asked]

    def _log_volumes(self, subject: str, session: str) -> NDArray[np.floating]:
        visit = self.visit(subject, session)
        return self.person(subject).course.log_volumes(visit["disease_time"], visit["age"])

    def _numbers(self, subject: str, session: str = "ses-M0") -> tuple[int, int]:
        return self.people.index.get_loc(subject), int(session.removeprefix("ses-M"))  # type: ignore[return-value]


def _visits(
    rng: np.random.Generator, people: pd.DataFrame, visits: int, scanner_change: int | None, gain: float
) -> pd.DataFrame:
    rows = draw_yearly(rng, len(people), visits)
    who = people.iloc[rows["subject"]].reset_index(names="subject")
    years = rows["days"] / 365.25
    course = who["disease_time"] + who["rate"] * years
    entry = FIRST_DAY + pd.to_timedelta(rng.integers(0, 365 * YEARS_OF_ENTRY, size=len(people)), unit="D")
    date = pd.Series(entry[rows["subject"]]) + pd.to_timedelta(rows["days"], unit="D")
    scores = draw_scores(rng, course.to_numpy())
    moves = rng.random(len(people))[rows["subject"]] < 0.5
    second = moves & (rows["month"] >= 12 * ((scanner_change or visits + 1) - 1))
    usual = PLACED * rng.normal(size=(len(people), 6))
    placed = usual[rows["subject"]] + PLACED_AGAIN * rng.normal(size=(len(rows), 6))
    names = [f"{what}_{axis}" for what in ("turned", "moved") for axis in AXES]
    return pd.DataFrame(
        {
            "subject": who["subject"],
            "session": [f"ses-M{month:03d}" for month in rows["month"]],
            "years": years.round(4),
            "age": (who["age"] + years).round(4),
            "acq_time": date.dt.strftime("%Y-%m-%dT12:00:00"),
            "diagnosis": diagnosis(course),
            "CDRSB": scores["CDRSB"],
            "disease_time": course,
            "rate": who["rate"],
            "scanner": np.where(second, 2, 1),
            "gain": np.exp(gain * rng.normal(size=len(rows))).round(4),
        }
    ).join(pd.DataFrame(placed.round(3), columns=names))


@lru_cache(maxsize=2)
def _source(resolution: float) -> tuple[Grid, Volume]:
    """The 1 mm template as a scanner would see a head of it, with fluid around it, as sharp as ``resolution`` allows.

    Neither skull nor skin: scans look like brain-extracted ones.
    """
    template = load_template(1.0)
    image = WHITE / np.median(template.t1[template.wm > 0.95]) * template.t1
    fluid = np.median(image[template.structure("ventricles")])
    around = ndimage.gaussian_filter(template.mask.astype(np.float32), RIM_MM)
    image = np.where(template.mask, image, fluid * np.clip((around - 0.05) / 0.15, 0, 1))
    image = ndimage.gaussian_filter(image, 0.4 * np.sqrt(max(resolution**2 - 1, 0.0)))
    return template.grid, image.astype(np.float32)
