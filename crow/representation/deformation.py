"""Structural scans as K coefficients of deformation modes, relative to the subject's first scan.

In template space, visit t is the first scan warped, J_t(psi(x)) ~ J_0(psi(exp(sum_k c_k B_k)(x))), with psi the
subject's anatomy and B the modes (`VelocityModes`). The coefficients c [K] are estimated from the two scans; they are 0
for the first scan, which is given, not modelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from crow.errors import CohortError, RunError
from crow.representation.base import ScanRepresentation
from crow.representation.follow_up import FollowUp
from crow.representation.mode_coefficients import SampledModes, SubjectScans
from crow.representation.velocity_modes import VelocityModes
from crow.representation.warped_follow_up import unexplained, warped_follow_up, z_map
from crow.scans.compatibility import require_same_grid
from crow.scans.grid import Grid
from crow.scans.intensity import STRUCTURAL
from crow.scans.region_values import label_volumes
from crow.scans.store import DONE, ScanStore
from crow.scans.template import STRUCTURES, load_template

DEFAULT_COMPONENTS = 4  # further modes mostly fit the noise of first scans, shared by all velocities of a subject
Z90 = 1.6449
VOLUMES_MM = 3.0  # voxels in which the volumes of structures are measured


class Deformation(ScanRepresentation):
    """A two-way map between the scans of a store and K deformation coefficients per visit.

    ``modes [K, 3, x, y, z]`` mm on ``nodes``; ``share [K]``: share of the visible change in training that each mode
    explains; ``noise [X, Y, Z]``: sd of the intensities around a warped scan, on the store's ``grid``; ``structures
    [S, S]``: root of the covariance of the log volumes of structures around those of the modes; ``folded``: number of
    nodes of training visits at which the fitted deformation folds.
    """

    kind = "deformation"
    relative = True

    def __init__(
        self, grid: Grid, nodes: Grid, modes: NDArray[np.float32], share: NDArray[np.float64],
        noise: NDArray[np.float32], structures: NDArray[np.float32], folded: int,
    ) -> None:  # fmt: skip
        self.grid, self.nodes, self.modes, self.share = grid, nodes, modes, share
        self.noise, self.structures, self.folded = noise, structures, folded

    @classmethod
    def suits(cls, store: ScanStore) -> bool:
        """For structural scans that were registered nonlinearly."""
        return store.info.modality in STRUCTURAL and cls._has_velocities(store)

    @classmethod
    def check(cls, store: ScanStore) -> None:
        """Raise CohortError if the store has no velocities."""
        if not cls._has_velocities(store):
            raise CohortError(
                f"{store.path}: prepared without deformations. Run crow prepare with --registration nonlinear, or "
                "choose scans.representation=subspace."
            )

    @staticmethod
    def _has_velocities(store: ScanStore) -> bool:
        return store.info.velocity_grid is not None and "velocity" in store.arrays

    @classmethod
    def fit(
        cls, store: ScanStore, rows: NDArray[np.int64], components: int | None = None, seed: int = 0
    ) -> Deformation:
        """Modes and noise of the training scans; by default the 4 strongest modes.

        Raises CohortError if the store has no velocities or fewer than two follow-up scans.
        """
        cls.check(store)
        first = _first_rows(store)
        later = np.array([row for row in rows if row != first[store.visits["subject"].iloc[row]]], np.int64)
        if len(later) < 2:
            raise CohortError(
                f"{store.path}: found {len(later)} follow-up scans; at least 2 are needed to learn change. Add "
                "follow-up scans."
            )
        nodes = store.info.velocity_grid
        assert nodes is not None
        found = VelocityModes.fit(store, later, nodes, components or DEFAULT_COMPONENTS)
        noise, structures = np.ones(store.info.grid.shape, np.float32), np.zeros(2 * (len(STRUCTURES),), np.float32)
        basis = cls(store.info.grid, nodes, found.fields, found.share, noise, structures, 0)
        basis._measure_noise(store, rows)
        return basis

    @property
    def names(self) -> list[str]:
        """Column names of the coefficients."""
        return [f"mode_{k + 1:02d}" for k in range(len(self.modes))]

    def encode(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Coefficients ``[n, K]``, each estimated from the subject's first scan and the scan of the visit only."""
        self._check(store)
        out = np.zeros((len(rows), len(self.modes)), np.float32)
        for where, scans in self._by_subject(store, rows):
            for k in where:
                out[k] = scans.coefficients(int(rows[k]))
        return out

    def velocity(self, coefficients: NDArray[np.floating]) -> NDArray[np.float32]:
        """Velocity ``[3, x, y, z]`` of coefficients ``[K]``: mm on ``nodes``, in template space."""
        return np.tensordot(coefficients.astype(np.float32), self.modes, 1)

    def follow_up(
        self, store: ScanStore, past: NDArray[np.int64], draws: NDArray[np.floating],
        space: Literal["native", "template"] = "native", samples: int = 0, seed: int = 0,
    ) -> FollowUp:  # fmt: skip
        """The visit after a subject's ``past`` rows as volumes, from ``draws [S, K]`` of its coefficients.

        It is the subject's last scan, warped, with its own noise and sharpness. With ``space`` template it is on the
        store's grid, where scans are aligned linearly.
        """
        last = int(past[-1])
        return warped_follow_up(self, store, last, self.encode(store, past[-1:])[0], draws, space, samples)

    def z_map(
        self, store: ScanStore, row: int, past: NDArray[np.int64], mean: NDArray[np.floating], sd: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Deviation of each voxel of a visit from its prediction, in sd, ``[X, Y, Z]``; 0 outside the mask.

        ``mean`` and ``sd [K]`` are those of the visit's coefficients given the subject's ``past`` rows (not empty).
        """
        return z_map(self, store, row, int(past[-1]), self.encode(store, past[-1:])[0], mean, sd)

    def tensors(self) -> dict[str, Tensor]:
        """Tensors for model.safetensors."""
        arrays = {"modes": self.modes, "share": self.share, "noise": self.noise, "structures": self.structures}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def describe(self) -> dict[str, Any]:
        """JSON values for model.json."""
        return {
            "kind": self.kind,
            "components": len(self.modes),
            "share": [round(float(value), 4) for value in self.share],
            "folded": self.folded,
            "grid": self.grid.model_dump(mode="json"),
            "velocity_grid": self.nodes.model_dump(mode="json"),
        }

    @classmethod
    def from_saved(cls, tensors: dict[str, Tensor], description: dict[str, Any]) -> Deformation:
        """The inverse of `tensors` and `describe`; raises RunError if they do not fit each other."""
        try:
            grid = Grid.model_validate(description["grid"])
            nodes = Grid.model_validate(description["velocity_grid"])
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            nothing = np.zeros(2 * (len(STRUCTURES),), np.float32)  # in runs of earlier versions
            found = cls(grid, nodes, arrays["modes"], arrays["share"], arrays["noise"],
                        arrays.get("structures", nothing), int(description["folded"]))  # fmt: skip
            shape = (int(description["components"]), 3, *nodes.shape)
        except (KeyError, ValueError, TypeError, AttributeError):
            raise RunError("The run's deformations are damaged. Restore the folder.") from None
        if found.modes.shape != shape or found.noise.shape != grid.shape or len(found.share) != shape[0]:
            raise RunError("The run's deformation tensors do not fit model.json. Restore the folder.")
        if found.structures.shape != 2 * (len(STRUCTURES),):
            raise RunError("The run's deformation tensors do not fit model.json. Restore the folder.")
        return found

    def __repr__(self) -> str:
        return f"{len(self.modes)} deformation modes, which explain {self.share.sum():.0%} of the visible change"

    def _measure_noise(self, store: ScanStore, rows: NDArray[np.int64]) -> None:
        """Estimate the noise of training visits around the previous scan, warped, such that 90 % lie within 1.64 sd,
        and the changes of structures that the modes leave out."""
        total, thinned, left_out = np.zeros(self.grid.shape), [], list[NDArray[np.float64]]()
        rows = np.sort(rows)
        sampled = SampledModes(self.grid, self.nodes, self.modes, store.mask)
        every = slice(None, None, max(1, sampled.x.shape[1] // 2000))
        for where, scans in self._by_subject(store, rows):
            visits = rows[where]
            c = [scans.coefficients(int(row)) for row in visits]
            self.folded += sum(sampled.folded(each) for each in c)
            left_out += list(np.diff([self._left_out(store, scans.psi, *each) for each in zip(visits, c, strict=True)],
                                     axis=0))  # fmt: skip
            for before, row, c_before, c_row in zip(visits[:-1], visits[1:], c[:-1], c[1:], strict=True):
                square = scans.in_template(unexplained(self, store, int(before), int(row), c_before, c_row) ** 2)
                total[sampled.inside] += square
                thinned.append(square[every])
        variance = ndimage.gaussian_filter(total / max(len(thinned), 1), 1.0)
        variance = np.maximum(variance, 0.04 * float(np.median(variance[store.mask])))
        ratio = np.stack(thinned) / variance[sampled.inside][every]
        self.noise = np.sqrt(variance * np.quantile(ratio, 0.9) / Z90**2).astype(np.float32)
        # The modes were fitted to the same visits, which are therefore too close to them.
        few = max(len(left_out) - len(self.modes), 1)
        values, vectors = np.linalg.eigh(np.stack(left_out).T @ np.stack(left_out) / few)
        self.structures = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)

    def _left_out(
        self, store: ScanStore, psi: NDArray[np.floating], row: int, coefficients: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Log volume of each structure at a visit, as registered, minus that of its coefficients, ``[S]``."""
        template = load_template(VOLUMES_MM)
        of = (np.asarray(store.array("velocity")[int(row)], np.float32), self.velocity(coefficients))
        registered, modelled = (
            label_volumes(psi, velocity, self.nodes, template.structures, template.grid, len(STRUCTURES))[1:]
            for velocity in of
        )
        return np.asarray(np.log(registered / modelled))

    def _by_subject(
        self, store: ScanStore, rows: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], SubjectScans]]:
        """For each subject, its positions in ``rows`` and its scans."""
        sampled = SampledModes(self.grid, self.nodes, self.modes, store.mask)
        subjects = store.visits["subject"].to_numpy()
        first = _first_rows(store)
        for subject in dict.fromkeys(subjects[rows]):
            yield np.flatnonzero(subjects[rows] == subject), SubjectScans(store, sampled, subject, first[subject])

    def _check(self, store: ScanStore) -> None:
        require_same_grid(store, self.grid, self.nodes)


def _first_rows(store: ScanStore) -> dict[str, int]:
    """The row of each subject's first prepared scan, to which the store's velocities refer."""
    done = np.flatnonzero(np.asarray(store.array("status")[:]) == DONE)
    subjects = store.visits["subject"].to_numpy()[done]
    return {subject: int(row) for subject, row in zip(subjects[::-1], done[::-1], strict=True)}
