"""A cohort of simulated scans, rendered one at a time from a model of each subject's brain."""

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
from crow.simulate.subjects import diagnosis, draw_subjects
from crow.simulate.uptake import Amyloid

Volume = NDArray[np.floating]
SCANS = ("T1w", "pet")
POSITION_SD, REPOSITION_SD = 3.0, 2.0  # degrees and mm: of a subject, and between its visits
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
    """Simulate subjects, their visits and the changes of their brains; scans are rendered on demand.

    Parameters
    ----------
    subjects, visits : int
        Number of subjects, and of yearly visits per subject.
    resolution : float
        Voxel size in mm, 1 to 8.
    modality : {"T1w", "pet"}
        Brain-extracted T1w (white matter about 800), or amyloid PET (ratio to the cerebellum).
    seed : int
        Seed of all draws.
    scanner_change : int, optional
        From this visit on (2 is the second), half of the subjects are scanned on another scanner.

    Returns
    -------
    ScanSimulation

    Raises
    ------
    ConfigError
        If a value is out of range.

    Examples
    --------
    >>> from crow.simulate import simulate_scans
    >>> simulation = simulate_scans(subjects=2, visits=2, resolution=8)
    >>> simulation.visits[["subject", "session"]].iloc[1].tolist()
    ['sub-0001', 'ses-M012']
    >>> simulation.render("sub-0001", "ses-M012", noise=True).shape
    (24, 29, 25)
    """
    if modality not in SCANS:
        raise ConfigError(f"modality: {modality!r} cannot be simulated. Choose {' or '.join(SCANS)}.")
    if not 1 <= resolution <= 8:
        raise ConfigError(f"resolution: {resolution:g} mm is out of range. Choose 1 to 8.")
    if scanner_change is not None and not 2 <= scanner_change <= visits:
        raise ConfigError(f"scanner_change: visit {scanner_change} of {visits}. Choose 2 to {visits}.")
    rng = np.random.default_rng([seed, 0])
    drawn = draw_subjects(rng, subjects).set_axis([f"sub-{k:04d}" for k in range(1, subjects + 1)])
    rows = _visits(rng, drawn, visits, scanner_change, GAIN_SPREAD[modality])
    return ScanSimulation(drawn, rows, modality, resolution, seed, scanner_change)


@dataclass(frozen=True)
class SimulatedSubject:
    """What is constant in a subject."""

    anatomy: Anatomy
    course: Course
    amyloid: Amyloid


@dataclass(frozen=True)
class ScanSimulation:
    """Simulated subjects, their visits, and their scans (see `simulate_scans`).

    Attributes
    ----------
    subjects : DataFrame
        One row per subject, indexed by its label (``sub-0001``).
    visits : DataFrame
        One row per visit: ``subject``, ``session`` (``ses-M012``), ``years`` since the first visit, ``age``,
        ``acq_time``, ``diagnosis``, ``CDRSB``, ``disease_time``, ``rate``, ``scanner``, ``gain``, and the head
        position:
        ``rotation_x`` to ``rotation_z`` (degrees), ``shift_x`` to ``shift_z`` (mm).
    modality : str
        ``T1w`` or ``pet``.
    resolution : float
        Voxel size in mm.
    seed : int
        Seed of all draws.
    scanner_change : int or None
        First visit on the second scanner, for half of the subjects.

    Examples
    --------
    >>> from crow.simulate import simulate_scans
    >>> simulation = simulate_scans(subjects=2, visits=2, resolution=8)
    >>> round(simulation.volumes("sub-0001", "ses-M000")["hippocampus_left"]) > 1000
    True
    """

    subjects: pd.DataFrame
    visits: pd.DataFrame
    modality: str
    resolution: float
    seed: int
    scanner_change: int | None
    _subject_cache: dict[str, SimulatedSubject] = field(default_factory=dict, repr=False)  # only the last subject
    _points_cache: dict[tuple[str, str, str], list[tuple[slice, Volume]]] = field(default_factory=dict, repr=False)
    _back_cache: dict[tuple[str, str], Volume] = field(default_factory=dict, repr=False)  # visits of the last subject

    @property
    def grid(self) -> Grid:
        """The grid of every scan; heads have different positions in it."""
        return scan_grid(self.resolution)

    def render(self, subject: str, session: str, like: str | None = None, noise: bool = False) -> Volume:
        """Render the scan of a visit.

        Parameters
        ----------
        subject, session : str
            The visit.
        like : str, optional
            Session whose head position is used, by default ``session``.
        noise : bool
            With noise, bias field and gain of the visit's scanner; otherwise as on the first scanner without them.

        Returns
        -------
        array [X, Y, Z], float32
            T1w scans take one linear interpolation from the 1 mm template.

        Raises
        ------
        ConfigError
            If there is no such visit.
        """
        visit, grid = self.visit(subject, session), self.grid
        image = np.empty(grid.shape, np.float32)
        simulated = self.subject(subject)
        for slab, points in self._template_points(subject, session, like or session):
            if self.modality == "pet":
                image[slab] = simulated.amyloid.at(points, visit["disease_time"])
            else:
                whole, source = _source(self.resolution)
                image[slab] = sample(source[None], whole, points, outside="zeros")[0]
        if self.modality == "pet":
            image = uptake.blurred(image, grid)
        return self.measured(subject, session, image) if noise else image

    def aligned(self, subject: str, session: str) -> Volume:
        """The PET scan of a visit, with noise, rendered in template space, ``[X, Y, Z]`` on the template's grid.

        Raises ConfigError for T1w, which in template space would only show the template.
        """
        if self.modality != "pet":
            raise ConfigError(
                f"modality: {self.modality} scans cannot be rendered in template space. Use crow prepare."
            )
        grid = load_template(self.resolution).grid
        sharp = self.subject(subject).amyloid.at(grid.points(), self.visit(subject, session)["disease_time"])
        return self.measured(subject, session, uptake.blurred(sharp, grid), grid)

    def measured(self, subject: str, session: str, image: Volume, grid: Grid | None = None) -> Volume:
        """Measure a noise-free image (on ``grid``, by default that of every scan) with the scanner of a visit."""
        visit = self.visit(subject, session)
        rng = np.random.default_rng([self.seed, 2, *self._numbers(subject, session)])
        scanner = Acquisition(float(visit["gain"]), bool(visit["scanner"] == 2))
        return (uptake.measured if self.modality == "pet" else t1w)(rng, image, grid or self.grid, scanner)

    def labels(self, subject: str, session: str, like: str | None = None) -> NDArray[np.uint8]:
        """Labels of `STRUCTURES` at a visit, ``[X, Y, Z]``, in the head position of the session ``like``."""
        template = load_template(1.0)
        labels = np.empty(self.grid.shape, np.uint8)
        for slab, points in self._template_points(subject, session, like or session):
            labels[slab] = labels_at(points, template.structures, template.grid)
        return labels

    def volumes(self, subject: str, session: str) -> dict[str, float]:
        """Volume (mm3) of each of `STRUCTURES`: the integral of the Jacobian determinant over the template."""
        change, anatomy = change_fields(), self.subject(subject).anatomy
        displacement = exponential(self.velocity(subject, session), change.grid)
        volume = jacobian(displacement, change.grid) * anatomy.volume(change.grid.points() + displacement)
        each = change.grid.voxel_volume * np.tensordot(change.fractions, volume, 3)
        return {name: float(each[label - 1]) for label, name in STRUCTURES.items()}

    def velocity(self, subject: str, session: str) -> Volume:
        """Velocity of the change since the young template, ``[3, x, y, z]`` mm on the grid of `change_fields`."""
        return change_fields().velocity(self._log_volumes(subject, session))

    def position(self, subject: str, session: str) -> HeadPosition:
        """The head position at a visit."""
        visit = self.visit(subject, session)
        degrees = tuple(float(visit[f"rotation_{axis}"]) for axis in AXES)
        return HeadPosition(degrees, tuple(float(visit[f"shift_{axis}"]) for axis in AXES))  # type: ignore[arg-type]

    def truth(self, subject: str) -> pd.DataFrame:
        """The visits of a subject with the log volumes of its parts and the volumes of its structures."""
        rows = self.visits[self.visits["subject"] == subject].reset_index(drop=True)
        logs = atrophy.course_table([self._log_volumes(subject, session) for session in rows["session"]])
        volumes = pd.DataFrame([self.volumes(subject, session) for session in rows["session"]]).round(2)
        parts = [rows.drop(columns=["diagnosis", "CDRSB"]), logs.round(5), volumes.add_suffix("_mm3")]
        if self.modality == "pet":
            regions = [self.subject(subject).amyloid.regions(time) for time in rows["disease_time"]]
            parts.append(pd.DataFrame(np.round(regions, 4), columns=[f"{name}_ratio" for name in uptake.UPTAKE]))
        return pd.concat(parts, axis=1)

    def subject(self, subject: str) -> SimulatedSubject:
        """Anatomy, course and amyloid of a subject."""
        if subject not in self._subject_cache:
            rng = np.random.default_rng([self.seed, 1, self._numbers(subject)[0]])
            anatomy = Anatomy.draw(rng, float(self.subjects.loc[subject, "icv"]))  # type: ignore[arg-type]
            self._subject_cache.clear()
            self._subject_cache[subject] = SimulatedSubject(anatomy, Course.draw(rng), Amyloid.draw(rng))
        return self._subject_cache[subject]

    def visit(self, subject: str, session: str) -> pd.Series:
        """The row of a visit; raises ConfigError if there is none."""
        found = self.visits[(self.visits["subject"] == subject) & (self.visits["session"] == session)]
        if found.empty:
            raise ConfigError(f"{subject} {session}: no such visit. Choose one from ScanSimulation.visits.")
        return found.iloc[0]

    def parameters(self) -> dict[str, Any]:
        """Parameters of the simulation, as JSON values."""
        return {
            "modality": self.modality,
            "resolution": self.resolution,
            "seed": self.seed,
            "subjects": len(self.subjects),
            "scanner_change": self.scanner_change,
            "space": SPACE,
            "geometry": "scan(y) = template(exp(-change)(anatomy(head(y)))): head rotates y by rotation_* (degrees,"
            " about x, then y, then z, through (0, -18, 5)) and shifts it by shift_* (mm); anatomy divides by size "
            "about that point, then adds the displacement of exp(velocity)",
            "change": atrophy.parameters(),
            **({"uptake": uptake.parameters()} if self.modality == "pet" else {}),
        }

    def _template_points(self, subject: str, session: str, like: str) -> list[tuple[slice, Volume]]:
        """Template points of the voxels of a scan, slab by slab: exp(-change)(anatomy(head(y)))."""
        key = (subject, session, like)
        if key not in self._points_cache:
            anatomy, position = self.subject(subject).anatomy, self.position(subject, like)
            change, back = change_fields().grid, self._back(subject, session)
            self._points_cache.clear()
            parts = ((slab, anatomy.to_template(position.points(points))) for slab, points in slabs(self.grid))
            self._points_cache[key] = [(slab, points + sample(back, change, points)) for slab, points in parts]
        return self._points_cache[key]

    def _back(self, subject: str, session: str) -> Volume:
        """Displacement of exp(-change) of a visit, ``[3, x, y, z]`` mm on the grid of `change_fields`."""
        key = (subject, session)
        if key not in self._back_cache:
            if any(known != subject for known, _ in self._back_cache):
                self._back_cache.clear()
            self._back_cache[key] = exponential(-self.velocity(subject, session), change_fields().grid)
        return self._back_cache[key]

    def _log_volumes(self, subject: str, session: str) -> NDArray[np.floating]:
        visit = self.visit(subject, session)
        return self.subject(subject).course.log_volumes(visit["disease_time"], visit["age"])

    def _numbers(self, subject: str, session: str = "ses-M0") -> tuple[int, int]:
        return self.subjects.index.get_loc(subject), int(session.removeprefix("ses-M"))  # type: ignore[return-value]


def _visits(
    rng: np.random.Generator, subjects: pd.DataFrame, visits: int, scanner_change: int | None, gain: float
) -> pd.DataFrame:
    rows = draw_yearly(rng, len(subjects), visits)
    who = subjects.iloc[rows["subject"]].reset_index(names="subject")
    years = rows["days"] / 365.25
    course = who["disease_time"] + who["rate"] * years
    entry = FIRST_DAY + pd.to_timedelta(rng.integers(0, 365 * YEARS_OF_ENTRY, size=len(subjects)), unit="D")
    date = pd.Series(entry[rows["subject"]]) + pd.to_timedelta(rows["days"], unit="D")
    scores = draw_scores(rng, course.to_numpy())
    changes = rng.random(len(subjects))[rows["subject"]] < 0.5
    second = changes & (rows["month"] >= 12 * ((scanner_change or visits + 1) - 1))
    usual = POSITION_SD * rng.normal(size=(len(subjects), 6))
    placed = usual[rows["subject"]] + REPOSITION_SD * rng.normal(size=(len(rows), 6))
    names = [f"{what}_{axis}" for what in ("rotation", "shift") for axis in AXES]
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
    """The 1 mm template as T1w image, surrounded by fluid and blurred to ``resolution``.

    It has neither skull nor skin, like a brain-extracted scan.
    """
    template = load_template(1.0)
    image = WHITE / np.median(template.t1[template.wm > 0.95]) * template.t1
    fluid = np.median(image[template.structure("ventricles")])
    around = ndimage.gaussian_filter(template.mask.astype(np.float32), RIM_MM)
    image = np.where(template.mask, image, fluid * np.clip((around - 0.05) / 0.15, 0, 1))
    image = ndimage.gaussian_filter(image, 0.4 * np.sqrt(max(resolution**2 - 1, 0.0)))
    return template.grid, image.astype(np.float32)
