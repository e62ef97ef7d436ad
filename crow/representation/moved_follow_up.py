"""What a forecast of coefficients says of a subject's scan: the scan moved, how surely, and structures' volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.data.forecast import quantiles_of
from crow.representation.follow_up import FollowUp, Volume
from crow.representation.moved_scan import MovableScan
from crow.representation.own_space import OwnSpace
from crow.scans.deform import Array, compose, exponential, invert, jacobian, sample, transport
from crow.scans.store import ScanStore
from crow.scans.template import STRUCTURES, load_template

if TYPE_CHECKING:
    from crow.representation.deformation import Deformation


def moved_follow_up(
    basis: Deformation, store: ScanStore, last: int, c_last: Array, draws: Array, space: Literal["native", "template"],
    samples: int,
) -> FollowUp:  # fmt: skip
    """The scan of row ``last``, whose coefficients are ``c_last [K]``, moved to ``draws [S, K]`` of later ones."""
    own = OwnSpace(store, last, space)
    subject = OwnMotion(basis, store, last, c_last)
    to_scan = np.asarray(store.array("to_scan")[last]) if own.native else np.eye(4)
    values = own.values()
    aligned = np.asarray(store.array("intensity")[last], np.float32)
    scan = MovableScan(values, own.grid, to_scan)
    centre = np.median(draws, 0)
    displacement = subject.displacement(centre)
    median = scan.move(displacement, basis.nodes)
    smoothed = noise_variance(values / own.gain) - noise_variance(aligned) if own.native else 0.0
    noise = np.sqrt(subject.noise(scan) ** 2 + 2 * max(smoothed, 0.0)) * abs(own.gain)
    sd = np.sqrt(scan.variance_of_change(subject.factors(draws), basis.nodes, median) + noise**2)
    moved = [scan.move(subject.displacement(draw), basis.nodes) for draw in draws[:samples]]
    folded = int((jacobian(displacement, basis.nodes) <= 0).sum())
    volumes, drawn = subject.volumes(centre, draws)
    return FollowUp(own.like, median, median - values, sd, moved, volumes, folded, drawn)


def noise_variance(image: Volume) -> float:
    """Of white noise, from differences of second order along each axis, of which most lie where nothing else changes.

    The median of |d| is 0.6745 sqrt(6^3) sd (compare Immerkaer 1996 in two dimensions). Aligning scans smooths their
    noise: the difference tells by how much.
    """
    inside = image > 0.3 * np.quantile(image, 0.98)
    for axis in range(3):
        image = np.diff(image, 2, axis)
        inside = inside[tuple(slice(1, -1) if k == axis else slice(None) for k in range(3))]
    values = np.abs(image[inside]) if inside.any() else np.zeros(1)
    return float(np.median(values) ** 2 / (0.6745**2 * 6**3))


def z_map(
    basis: Deformation, store: ScanStore, row: int, last: int, c_last: Array, mean: Array, sd: Array
) -> NDArray[np.float32]:
    """(scan of ``row`` - scan of ``last``, moved) / sd, on the store's grid; 0 outside the mask."""
    subject = OwnMotion(basis, store, last, c_last)
    scan = MovableScan(np.asarray(store.array("intensity")[last], np.float32), basis.grid, np.eye(4))
    expected = scan.move(subject.displacement(mean), basis.nodes)
    factors = subject.own_modes * sd.astype(np.float32)[:, None, None, None, None]
    spread = np.sqrt(scan.variance_of_change(factors, basis.nodes, expected) + subject.noise(scan) ** 2)
    found = (np.asarray(store.array("intensity")[row], np.float32) - expected) / spread
    return np.where(store.mask, found, 0).astype(np.float32)


def unexplained(basis: Deformation, store: ScanStore, last: int, row: int, c_last: Array, c: Array) -> Volume:
    """The scan of ``row`` less that of ``last`` moved to it, on the store's grid."""
    scan = MovableScan(np.asarray(store.array("intensity")[last], np.float32), basis.grid, np.eye(4))
    moved = scan.move(OwnMotion(basis, store, last, c_last).displacement(c), basis.nodes)
    return np.asarray(store.array("intensity")[row], np.float32) - moved


class OwnMotion:
    """The modes in the space of a subject's aligned scans, and how they move its scan of row ``last``."""

    def __init__(self, basis: Deformation, store: ScanStore, last: int, c_last: Array) -> None:
        self.basis, self.c_last = basis, c_last
        number = store.subjects.index(store.visits["subject"].iloc[last])
        self.psi = np.asarray(store.array("anatomy")[number], np.float32)
        self.back = invert(self.psi, basis.nodes)
        self.own_modes = transport(basis.modes, self.back, basis.nodes)
        self.size = abs(float(np.linalg.det(np.asarray(store.array("to_scan")[last])[:3, :3])))

    def displacement(self, c: Array) -> Array:
        """Of phi = exp(-v_last) o exp(v): J(x) = J_last(phi(x))."""
        nodes = self.basis.nodes
        return compose(exponential(self._velocity(-self.c_last), nodes), exponential(self._velocity(c), nodes), nodes)

    def factors(self, draws: Array) -> Array:
        """Fields ``[K, 3, x, y, z]`` that times white noise spread like the draws."""
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(draws.T, ddof=0)))
        root = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
        return np.tensordot(root.T, self.own_modes, 1)

    def noise(self, scan: MovableScan) -> Volume:
        """sd of a scan around one moved to it, in the store's intensities, at the scan's voxels."""
        template_points = self.basis.grid.points()
        template_points += sample(self.back, self.basis.nodes, template_points)
        aligned = sample(self.basis.noise[None], self.basis.grid, template_points)
        return scan.at_voxels(aligned, self.basis.grid, "border")[0]

    def volumes(self, centre: Array, draws: Array) -> tuple[pd.DataFrame, Array]:
        """A row a structure: volume (mm3) of the last scan and of the median; change and its quantiles as shares of it.
        And the volumes of every draw, ``[S, structures]``.

        Structure S of the template fills psi(exp(-w)(S)) at a visit; for draws log volume is linear around ``centre``.
        """
        template = load_template(2.0)
        labels = template.structures[template.mask]
        x = template.grid.points()[:, template.mask]
        density = jacobian(self.psi, self.basis.nodes)[None].astype(np.float32)

        def integrals(c: Array) -> tuple[Array, Array, Array]:
            back = exponential(self.basis.velocity(-c), self.basis.nodes)
            local = jacobian(back, self.basis.nodes)[None].astype(np.float32)
            moved = x + sample(back, self.basis.nodes, x)
            local_at = sample(local, self.basis.nodes, x)[0]
            each = local_at * sample(density, self.basis.nodes, moved)[0]
            scale = self.size * template.grid.voxel_volume
            return scale * np.bincount(labels, each, len(STRUCTURES) + 1)[1:], moved, local_at

        (last, *_), (median, moved, local) = integrals(self.c_last), integrals(centre)
        slopes = np.empty((len(centre), len(STRUCTURES)))
        for k, mode in enumerate(self.basis.modes):
            flow = density * mode
            by_voxel = np.stack([np.stack(np.gradient(component)) for component in flow])
            spread = np.einsum("ia...,ai->...", by_voxel, np.linalg.inv(self.basis.nodes.matrix[:3, :3]))
            each = -local * sample(spread[None].astype(np.float32), self.basis.nodes, moved)[0]
            total = np.bincount(labels, each, len(STRUCTURES) + 1)[1:]
            slopes[k] = self.size * template.grid.voxel_volume * total / median
        drawn = median * np.exp((draws - centre) @ slopes)
        low, high = quantiles_of(drawn, [0.05, 0.95], axis=0)
        table = pd.DataFrame(
            {
                "structure": list(STRUCTURES.values()),
                "last": last,
                "median": median,
                "change": median / last - 1,
                "q05": low / last - 1,
                "q95": high / last - 1,
            }
        )
        return table, drawn

    def _velocity(self, c: Array) -> Array:
        return np.tensordot(c.astype(np.float32), self.own_modes, 1)
