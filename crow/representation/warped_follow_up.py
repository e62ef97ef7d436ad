"""Forecast of a scan from forecast deformation coefficients: the warped scan, its uncertainty, structure volumes."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.data.forecast import quantiles_of
from crow.representation.follow_up import FollowUp, Volume
from crow.representation.scan_deviation import deviation
from crow.representation.scan_space import ScanSpace
from crow.representation.structure_volumes import log_volumes, registration_error, true_changes
from crow.representation.warped_scan import ScanWarper
from crow.scans.deform import Array, compose, exponential, invert, jacobian, sample, transport
from crow.scans.grid import Grid
from crow.scans.store import ScanStore
from crow.scans.template import STRUCTURES


class DeformationModes(Protocol):
    """Fields ``modes [K, 3, x, y, z]`` mm on ``nodes``, those of structures' log volumes last, and the ``noise [X, Y,
    Z]`` of intensities (sd) on ``grid``."""

    grid: Grid
    nodes: Grid
    modes: NDArray[np.float32]
    noise: NDArray[np.float32]


def warped_follow_up(
    basis: DeformationModes, store: ScanStore, last: int, c_last: Array, draws: Array,
    space: Literal["native", "template"], samples: int,
) -> FollowUp:  # fmt: skip
    """Warp the scan of row ``last``, whose coefficients are ``c_last [K]``, to ``draws [S, K]`` of future ones."""
    target = ScanSpace(store, last, space)
    subject = SubjectWarp(basis, store, last, c_last)
    to_scan = np.asarray(store.array("to_scan")[last]) if target.native else np.eye(4)
    values = target.values()
    aligned = np.asarray(store.array("intensity")[last], np.float32)
    scan = ScanWarper(values, target.grid, to_scan)
    centre = np.median(draws, 0)
    displacement = subject.displacement(centre)
    median = scan.warp(displacement, basis.nodes)
    smoothed = noise_variance(values / target.gain) - noise_variance(aligned) if target.native else 0.0
    noise = np.sqrt(subject.noise(scan) ** 2 + 2 * max(smoothed, 0.0)) * abs(target.gain)
    sd = np.sqrt(scan.variance_of_change(subject.factors(draws), basis.nodes, median) + noise**2)
    warped = [scan.warp(subject.displacement(draw), basis.nodes) for draw in draws[:samples]]
    folded = int((jacobian(displacement, basis.nodes) <= 0).sum())
    volumes, true, measured = subject.volumes(centre, draws)
    return FollowUp(target.like, median, median - values, sd, warped, volumes, folded, true, measured)


def noise_variance(image: Volume) -> float:
    """Variance of white noise, from second differences along each axis, most of which are free of anatomy.

    The median of |d| is 0.6745 sqrt(6^3) sd (compare Immerkaer 1996 in two dimensions). Alignment smooths noise; the
    difference of two such variances measures by how much.
    """
    inside = image > 0.3 * np.quantile(image, 0.98, method="linear")
    for axis in range(3):
        image = np.diff(image, 2, axis)
        inside = inside[tuple(slice(1, -1) if k == axis else slice(None) for k in range(3))]
    values = np.abs(image[inside]) if inside.any() else np.zeros(1)
    return float(np.median(values) ** 2 / (0.6745**2 * 6**3))


def z_map(
    basis: DeformationModes, store: ScanStore, row: int, last: int, c_last: Array, mean: Array, sd: Array
) -> NDArray[np.float32]:
    """`deviation` of the scan of ``row`` from the warped scan of ``last``, on the store's grid; 0 outside the mask."""
    subject = SubjectWarp(basis, store, last, c_last)
    scan = ScanWarper(np.asarray(store.array("intensity")[last], np.float32), basis.grid, np.eye(4))
    expected = scan.warp(subject.displacement(mean), basis.nodes)
    factors = subject.native_modes * sd.astype(np.float32)[:, None, None, None, None]
    deformation = scan.variance_of_change(factors, basis.nodes, expected)
    observed = np.asarray(store.array("intensity")[row], np.float32)
    return deviation(observed, expected, deformation, subject.noise(scan) ** 2, basis.grid, store.mask)


def unexplained(basis: DeformationModes, store: ScanStore, last: int, row: int, c_last: Array, c: Array) -> Volume:
    """The scan of ``row`` minus the scan of ``last`` warped to it, on the store's grid."""
    scan = ScanWarper(np.asarray(store.array("intensity")[last], np.float32), basis.grid, np.eye(4))
    warped = scan.warp(SubjectWarp(basis, store, last, c_last).displacement(c), basis.nodes)
    return np.asarray(store.array("intensity")[row], np.float32) - warped


class SubjectWarp:
    """The modes in the space of a subject's aligned scans, and the warps of its scan of row ``last``."""

    def __init__(self, basis: DeformationModes, store: ScanStore, last: int, c_last: Array) -> None:
        self.basis, self.c_last = basis, c_last
        self.psi = np.asarray(store.array("anatomy")[store.subject_index(last)], np.float32)
        self.velocity = np.asarray(store.array("velocity")[last], np.float32)
        self.back = invert(self.psi, basis.nodes)
        self.resolution = float(min(store.info.grid.spacing))
        self.size = abs(float(np.linalg.det(np.asarray(store.array("to_scan")[last])[:3, :3])))

    @cached_property
    def native_modes(self) -> Array:
        """The modes in the space of the subject's scans."""
        return transport(self.basis.modes, self.back, self.basis.nodes)

    def displacement(self, c: Array) -> Array:
        """Displacement of phi = exp(-v_last) o exp(v), with J(x) = J_last(phi(x)).

        Interpolation makes the product of a warp and its inverse differ from the identity. This error of v_last is
        subtracted, so that the displacement without change is 0.
        """
        return self._composed(c) - self._error

    def _composed(self, c: Array) -> Array:
        nodes = self.basis.nodes
        return compose(self._to_first, exponential(self._velocity(c), nodes), nodes)

    @cached_property
    def _error(self) -> Array:
        """The displacement that composition gives to a scan without change."""
        return self._composed(self.c_last)

    @cached_property
    def _to_first(self) -> Array:
        """Displacement of exp(-v_last)."""
        return exponential(self._velocity(-self.c_last), self.basis.nodes)

    def factors(self, draws: Array) -> Array:
        """Fields ``[K, 3, x, y, z]`` that, multiplied by white noise, have the covariance of the draws."""
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(draws.T, ddof=0)))
        root = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
        return np.tensordot(root.T, self.native_modes, 1)

    def noise(self, scan: ScanWarper) -> Volume:
        """sd of a scan around a scan warped to it, in the store's intensities, at the scan's voxels."""
        template_points = self.basis.grid.points()
        template_points += sample(self.back, self.basis.nodes, template_points)
        aligned = sample(self.basis.noise[None], self.basis.grid, template_points)
        return scan.at_voxels(aligned, self.basis.grid, "border")[0]

    def volumes(self, centre: Array, draws: Array) -> tuple[pd.DataFrame, Array, Array]:
        """Structure volumes: a table with one row per structure, and the volumes of every draw ``[n, structures]``.

        The table has the volume (mm3) of the last scan and of the median, and the change and its quantiles relative to
        the last volume. Its measured change is the one that registration is expected to find. The first draws are those
        of the table, which are corrected for the mean of the error of registration that all scans share, and have its
        spread; the second ones are those that registration measures.
        """
        count = len(STRUCTURES)
        since_first = self.c_last[-count:].astype(np.float64)
        last = self.size * np.exp(log_volumes(self.psi, self.velocity, self.basis.nodes))
        change, changes = centre[-count:] - since_first, draws[:, -count:] - since_first
        median = last * np.exp(change + registration_error(change, self.resolution)[0])
        measured, drawn = last * np.exp(changes), last * np.exp(true_changes(changes, self.resolution))
        low, high = quantiles_of(drawn, [0.05, 0.95], axis=0)
        table = pd.DataFrame(
            {
                "structure": list(STRUCTURES.values()),
                "last": last,
                "median": median,
                "change": median / last - 1,
                "measured_change": np.expm1(change),
                "q05": low / last - 1,
                "q95": high / last - 1,
            }
        )
        return table, drawn, measured

    def _velocity(self, c: Array) -> Array:
        return transport(np.tensordot(c.astype(np.float32), self.basis.modes, 1), self.back, self.basis.nodes)
