"""Scans as means of structures and learned modes, with an exact density over all voxels; for PET and other maps.

With y = (x - mean) / scale per voxel and B [V, S + K] orthonormal, a visit is c = B^T y and r = y - B c. The first S
columns of B give the mean intensities of the template's structures, ``centre + unit c_s`` (`StructureMeans`); the
others are modes. A flow models the means m and the c of modes, and `ResidualPrior` models r given the subject's earlier
residuals. Per visit, in the scan's units,

    log p(x) = log p(m, c) + sum log unit + log p(r | past) + log_scale - V log gain,   log_scale = - sum log scale

where scan = gain * intensity + offset, with gain and offset stored for each visit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crow.errors import RunError
from crow.representation.base import ScanRepresentation
from crow.representation.component_choice import choose
from crow.representation.follow_up import FollowUp
from crow.representation.modes import ScaledScans
from crow.representation.residual import MeanSquares, ResidualPrior, Values, blocks, project
from crow.representation.scale_bands import ScaleBands
from crow.representation.scan_space import ScanSpace
from crow.representation.spatial_noise import SpatialNoise
from crow.representation.structure_means import StructureMeans
from crow.scans.compatibility import require_same_mask
from crow.scans.store import ScanStore
from crow.seeds import SeedStream, derived_seed

FOLDS = 4  # of the cross-fitted modes


class VoxelForecast(NamedTuple):
    """Predictive mean and sd of every masked voxel ``[V]``, in the store's intensities."""

    mean: Values
    sd: Values


class Subspace(ScanRepresentation):
    """A two-way map between the scans of a store and S + K coefficients per visit: means of structures, and modes.

    Rows are those of the store's arrays, sorted by subject and time; ``mask [X, Y, Z]`` has V voxels. ``validation``:
    for each number of modes tried, the log-density per visit of validation subjects. ``spatial``: how draws of the
    residual are correlated between voxels; its density treats them as independent.
    """

    kind = "subspace"

    def __init__(
        self,
        mask: NDArray[np.bool_],
        mean: NDArray[np.float32],
        scale: NDArray[np.float32],
        prior: ResidualPrior,
        validation: dict[int, float],
        spatial: SpatialNoise | None = None,
        structures: StructureMeans | None = None,
    ) -> None:
        self.mask, self.mean, self.scale, self.prior, self.validation = mask, mean, scale, prior, validation
        self.spatial = SpatialNoise.white(mask) if spatial is None else spatial
        self.structures = StructureMeans.none(len(mean)) if structures is None else structures
        rest = prior.basis.shape[1] - len(self.structures.names)
        self.centre = np.r_[self.structures.centre, np.zeros(rest)]
        self.unit = np.r_[self.structures.unit, np.ones(rest)]

    @classmethod
    def suits(cls, store: ScanStore) -> bool:
        """For every store."""
        return True

    @classmethod
    def fit(cls, store: ScanStore, rows: NDArray[np.int64], components: int | None = None, seed: int = 0) -> Subspace:
        """Modes and residual prior of the training scans; by default their number is chosen on validation subjects.

        Raises CohortError if there are too few scans, ConfigError if they do not determine that many components.
        """
        scans = ScaledScans.measure(store, rows)
        gram = scans.gram()
        choice = choose(scans, gram, components, seed)
        basis = scans.modes(gram, np.arange(len(scans.rows)), choice.components)
        squares = MeanSquares(len(basis))
        for _, y in scans.by_subject():
            squares.add(y - project(basis, y).astype(np.float32) @ basis.T)
        variances = squares.components()
        prior = ResidualPrior(basis, choice.noise * variances.noise, choice.persistent * variances.persistent)
        found = cls(store.mask, scans.mean, scans.scale, prior, choice.validation, structures=scans.structures)
        bands = ScaleBands.fit(store.mask, (r for _, r in found._residuals(store, rows)))
        prior.bands = bands.scaled(choice.noise, choice.persistent)
        found.spatial = SpatialNoise.fit(store.mask, _cross_fitted_errors(scans, gram, prior, seed))
        return found

    @property
    def basis(self) -> NDArray[np.float32]:
        """Orthonormal directions ``[V, S + K]`` in scaled units: of structures, and modes, strongest first."""
        return self.prior.basis

    @property
    def voxels(self) -> int:
        """Number of voxels in the mask, V."""
        return len(self.mean)

    @property
    def log_scale(self) -> float:
        """Add it to a log-density of scaled values to have that of the store's intensities."""
        return -float(np.log(self.scale).sum(dtype=np.float64))

    @property
    def names(self) -> list[str]:
        """Column names of the coefficients."""
        return [*self.mean_names, *(f"mode_{k + 1:02d}" for k in range(self.modes))]

    @property
    def mean_names(self) -> list[str]:
        """Columns of the means of structures, the first S coefficients."""
        return self.structures.columns

    @property
    def modes(self) -> int:
        """Number of modes, K."""
        return self.basis.shape[1] - len(self.structures.names)

    def encode(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Coefficients ``[n, S + K]``."""
        out = np.empty((len(rows), self.basis.shape[1]), np.float32)
        scans = self._scans(store, rows)
        for part in store.chunks(np.arange(len(rows)), 8):
            out[part] = self.centre + self.unit * project(self.basis, scans.read(scans.rows[part]))
        return out

    def decode(self, coefficients: Values) -> NDArray[np.float32]:
        """Intensities ``[*batch, V]`` of coefficients ``[*batch, S + K]`` with residual 0."""
        c = ((coefficients - self.centre) / self.unit).astype(np.float32)
        return (c @ self.basis.T).astype(np.float32) * self.scale + self.mean

    def volume(self, voxels: Values) -> NDArray[np.float32]:
        """Masked voxels ``[V]`` as a volume ``[X, Y, Z]``; 0 outside the mask."""
        out = np.zeros(self.mask.shape, np.float32)
        out[self.mask] = voxels
        return out

    def residual_log_prob(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Log-density of the scaled residual of each visit given the subject's earlier visits in ``rows``, ``[n]``."""
        out = np.empty(len(rows))
        for where, r in self._residuals(store, rows):
            total = np.zeros_like(r[0])
            for n, k in enumerate(where):
                out[k] = self.prior.log_prob(r[n], total, n)
                total += r[n]
        return out

    def remainder_log_prob(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Log-density of each scan beyond its coefficients, ``[n]``: the formula above without log p(m, c)."""
        gain, units = np.asarray(store.array("scale"))[rows, 0], float(np.log(self.unit).sum())
        return self.residual_log_prob(store, rows) + units + self.log_scale - self.voxels * np.log(gain)

    def forecast(self, store: ScanStore, past: NDArray[np.int64], mean: Values, covariance: Values) -> VoxelForecast:
        """Predict the visit after a subject's ``past`` rows from the ``mean`` and ``covariance`` of its coefficients,
        ``[S + K]`` and ``[S + K, S + K]``."""
        total, n = self._past(store, past)
        covariance = covariance / np.outer(self.unit, self.unit)
        square = self.prior.marginal_variance(n)
        for part in blocks(self.voxels):
            b = self.basis[part]
            square[part] += ((b @ covariance.astype(np.float32)) * b).sum(1)
        return VoxelForecast(self.decode(mean) + self.scale * self.prior.mean(total, n), self.scale * np.sqrt(square))

    def samples(
        self, store: ScanStore, past: NDArray[np.int64], draws: Values, seed: int = 0
    ) -> Iterator[NDArray[np.float32]]:
        """Intensities ``[T, V]`` of the next T visits for each of the ``draws [n, T, S + K]`` of their coefficients."""
        start, count = self._past(store, past)
        generator = np.random.default_rng(seed)
        for draw in draws:
            maps, total = self.decode(draw), start.copy()
            for n in range(len(draw)):
                r = self.prior.sample(total, count + n, self.spatial.sample(generator))
                maps[n] += self.scale * r
                total += r
            yield maps

    def follow_up(
        self, store: ScanStore, past: NDArray[np.int64], draws: Values, space: Literal["native", "template"] = "native",
        samples: int = 0, seed: int = 0,
    ) -> FollowUp:  # fmt: skip
        """The visit after a subject's ``past`` rows as volumes, from ``draws [n, S + K]`` of its coefficients.

        The expected change is that of the coefficients, because residuals persist or are noise. Outside the mask the
        last scan is unchanged, with change and sd 0.
        """
        target = ScanSpace(store, int(past[-1]), space)
        expected = self.forecast(store, past, draws.mean(0), np.cov(draws.T, ddof=0).reshape(2 * draws.shape[1:]))
        change = self.decode(draws.mean(0)) - self.decode(self.encode(store, past[-1:])[0])
        last = target.values()
        parts = [target.gain * expected.mean + target.offset, target.gain * change, target.gain * expected.sd]
        outside = np.stack([last, np.zeros_like(last), np.zeros_like(last)])
        median, change, sd = target.place(np.stack([self.volume(part) for part in parts]), outside)
        drawn = [
            target.place(self.volume(target.gain * maps[0] + target.offset)[None], last[None])[0]
            for maps in self.samples(store, past, draws[:samples, None], seed)
        ]
        return FollowUp(target.like, median, change, sd, drawn)

    def z_map(
        self, store: ScanStore, row: int, past: NDArray[np.int64], mean: Values, sd: Values
    ) -> NDArray[np.float32]:
        """Deviation of each voxel of a visit from its prediction, in sd, ``[X, Y, Z]``; 0 outside the mask.

        ``mean`` and ``sd [S + K]`` are those of the visit's coefficients given the subject's ``past`` rows.
        """
        expected = self.forecast(store, past, mean, np.diag(np.square(sd)))
        return self.volume((store.masked(np.array([row]))[0] - expected.mean) / expected.sd)

    def tensors(self) -> dict[str, Tensor]:
        """Tensors for model.safetensors."""
        arrays = {
            "mean": self.mean,
            "scale": self.scale,
            "basis": self.basis,
            "noise": self.prior.noise,
            "persistent": self.prior.persistent,
            "mask": self.mask,
            "spatial": self.spatial.weights,
            "structure_labels": self.structures.labels,
        }
        if self.prior.bands is not None:
            arrays |= {"band_noise": self.prior.bands.noise, "band_persistent": self.prior.bands.persistent}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def describe(self) -> dict[str, Any]:
        """JSON values for model.json; ``persistence``: mean share of the residual variance between subjects."""
        share = self.prior.persistent / (self.prior.persistent + self.prior.noise)
        return {
            "kind": self.kind,
            "components": self.modes,
            "structures": self.structures.names,
            "voxels": len(self.mean),
            "persistence": float(share.mean()),
            "validation": {str(k): value for k, value in self.validation.items()},
        }

    @classmethod
    def from_saved(cls, tensors: dict[str, Tensor], description: dict[str, Any]) -> Subspace:
        """The inverse of `tensors` and `describe`; raises RunError if they do not fit each other."""
        try:
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            if "structure_sd" in arrays:
                raise RunError("The run is of an earlier version, which modelled structures differently. Train again.")
            prior = ResidualPrior(arrays["basis"], arrays["noise"], arrays["persistent"])
            validation = {int(k): float(value) for k, value in description["validation"].items()}
            names, labels = description.get("structures", []), arrays.get("structure_labels")
            structures = None
            if labels is not None:  # runs of earlier versions have modes only
                structures = StructureMeans.of(names, labels, arrays["mean"], arrays["scale"])
            found = cls(arrays["mask"], arrays["mean"], arrays["scale"], prior, validation, structures=structures)
            if "band_noise" in arrays:  # in runs of earlier versions, every voxel has its own persistence
                prior.bands = ScaleBands(found.mask, arrays["band_noise"], arrays["band_persistent"])
            if "spatial" in arrays:  # runs of earlier versions draw independent voxels
                found.spatial = SpatialNoise(found.mask, arrays["spatial"])
            shape = (int(description["voxels"]), len(names) + int(description["components"]))
        except (KeyError, ValueError, TypeError, AttributeError):
            raise RunError("The run's subspace is damaged. Restore the folder.") from None
        sizes = {len(found.mean), len(found.scale), len(prior.noise), len(prior.persistent), int(found.mask.sum())}
        sizes |= {len(found.structures.labels)}
        if prior.basis.shape != shape or sizes != {shape[0]}:
            raise RunError("The run's subspace tensors do not fit model.json. Restore the folder.")
        return found

    def __repr__(self) -> str:
        share = self.describe()["persistence"]
        means = f"means of {len(self.structures.names)} structures and " if self.structures.names else ""
        return f"{means}{self.modes} modes of {self.voxels:,} voxels, {share:.0%} of the residual variance persists"

    def _scans(self, store: ScanStore, rows: NDArray[np.int64]) -> ScaledScans:
        require_same_mask(store, self.mask)
        return ScaledScans(store, rows, self.mean, self.scale, self.structures)

    def _residuals(
        self, store: ScanStore, rows: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """For each subject, its positions in ``rows`` and its residuals ``[visit, V]``."""
        for where, y in self._scans(store, rows).by_subject():
            y -= project(self.basis, y).astype(np.float32) @ self.basis.T
            yield where, y

    def _past(self, store: ScanStore, past: NDArray[np.int64]) -> tuple[NDArray[np.float32], int]:
        """The sum and the number of a subject's residuals."""
        for _, r in self._residuals(store, past):
            return r.sum(0), len(r)
        return np.zeros_like(self.mean), 0


def _cross_fitted_errors(
    scans: ScaledScans, gram: NDArray[np.float64], prior: ResidualPrior, seed: int
) -> Iterator[Values]:
    """Standardised errors ``[V]`` of residuals given the subject's earlier ones, by modes of other subjects.

    Modes explain more of what the subjects that they are fitted to share, such as the change of a structure, than of
    that of new subjects.
    """
    twice = np.flatnonzero(np.bincount(scans.subject) > 1)
    order = np.random.default_rng(derived_seed(seed, SeedStream.COMPONENT_CHOICE, 1)).permutation(twice)
    for fold in (order[k::FOLDS] for k in range(min(FOLDS, len(order)))):
        others = np.flatnonzero(~np.isin(scans.subject, fold))
        modes = prior.basis.shape[1] - len(scans.structures.names)
        basis = scans.modes(gram, others, min(modes, len(others) - 1))
        own = ResidualPrior(basis, prior.noise, prior.persistent, prior.bands)
        for subject in fold:
            y = scans.read(scans.rows[scans.subject == subject])
            r = y - project(basis, y).astype(np.float32) @ basis.T
            for n in range(1, len(r)):
                yield own.standardised(r[n], r[:n].sum(0), n)
