"""Structural scans as coefficients of deformation modes and structures' volumes, relative to the subject's first scan.

In template space, visit t is the first scan warped, J_t(psi(x)) ~ J_0(psi(exp(sum_k c_k B_k)(x))), with psi the
subject's anatomy and B fields of velocity. The first K coefficients are the projection of the velocity that crow
prepare measured on modes (`VelocityModes`), the other S the changes of structures' log volumes that it stands for
(`crow.representation.structure_volumes`). All are 0 for the first scan, which is given, not modelled.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from crow.errors import CohortError, RunError
from crow.representation.base import ScanRepresentation
from crow.representation.follow_up import FollowUp
from crow.representation.structure_volumes import NAMES, log_volume_changes, with_structures
from crow.representation.template_voxels import TemplateVoxels
from crow.representation.velocity_modes import VelocityModes
from crow.representation.warped_follow_up import unexplained, warped_follow_up, z_map
from crow.representation.warped_preview import WarpedPreview
from crow.scans.compatibility import require_same_grid
from crow.scans.deform import exponential, jacobian
from crow.scans.grid import Grid
from crow.scans.intensity import STRUCTURAL
from crow.scans.store import DONE, ScanStore

DEFAULT_COMPONENTS = 4  # further modes mostly fit the noise of first scans, shared by all velocities of a subject
Z90 = 1.6449
ARRAYS = ("modes", "duals", "share", "noise")


class Deformation(ScanRepresentation):
    """A two-way map between the scans of a store and K + S deformation coefficients per visit.

    ``modes [K + S, 3, x, y, z]``: fields of the coefficients, mm on ``nodes``; ``duals [K, 3, x, y, z]``: fields whose
    sums of products with a velocity are its first K coefficients; ``share [K]``: share of the visible change in
    training that each of these explains; ``noise [X, Y, Z]``: sd of the intensities around a warped scan, on the
    store's ``grid``; ``folded``: number of nodes of training visits at which the fitted deformation folds.
    """

    kind = "deformation"
    relative = True
    volume_names = NAMES

    def __init__(
        self, grid: Grid, nodes: Grid, modes: NDArray[np.float32], duals: NDArray[np.float32],
        share: NDArray[np.float64], noise: NDArray[np.float32], folded: int,
    ) -> None:  # fmt: skip
        self.grid, self.nodes, self.modes, self.duals, self.share = grid, nodes, modes, duals, share
        self.noise, self.folded = noise, folded

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
        time, subjects = store.visits["time"].to_numpy(float), store.visits["subject"].to_numpy()
        years = np.array([time[row] - time[first[subjects[row]]] for row in later])
        found = VelocityModes.fit(store, later, years, nodes, components or DEFAULT_COMPONENTS)
        fields, noise = with_structures(found.fields, nodes), np.ones(store.info.grid.shape, np.float32)
        basis = cls(store.info.grid, nodes, fields, found.duals, found.share, noise, 0)
        basis._measure_noise(store, rows)
        return basis

    @property
    def names(self) -> list[str]:
        """Column names of the coefficients."""
        return [*(f"mode_{k + 1:02d}" for k in range(len(self.duals))), *NAMES]

    def encode(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Coefficients ``[n, K + S]`` of each row's velocity."""
        self._check(store)
        velocities = (np.asarray(store.array("velocity")[int(row)], np.float32) for row in rows)
        found = [np.tensordot(self.duals, velocity, ((1, 2, 3, 4), (0, 1, 2, 3))) for velocity in velocities]
        projected = np.array(found, np.float32).reshape(len(rows), len(self.duals))
        return np.concatenate([projected, log_volume_changes(store, rows).astype(np.float32)], 1)

    def velocity(self, coefficients: NDArray[np.floating]) -> NDArray[np.float32]:
        """Velocity ``[3, x, y, z]`` of coefficients ``[K + S]``: mm on ``nodes``, in template space."""
        return np.tensordot(coefficients.astype(np.float32), self.modes, 1)

    def follow_up(
        self, store: ScanStore, past: NDArray[np.int64], draws: NDArray[np.floating],
        space: Literal["native", "template"] = "native", samples: int = 0, seed: int = 0,
    ) -> FollowUp:  # fmt: skip
        """The visit after a subject's ``past`` rows as volumes, from draws ``[n, K + S]`` of its coefficients.

        It is the subject's last scan, warped, with its own noise and sharpness. With ``space`` template it is on the
        store's grid, where scans are aligned linearly.
        """
        last = int(past[-1])
        return warped_follow_up(self, store, last, self.encode(store, past[-1:])[0], draws, space, samples)

    def preview(self, store: ScanStore, past: NDArray[np.int64], last: NDArray[np.floating]) -> WarpedPreview:
        """The subject's last scan, whose coefficients are ``last [K + S]``, warped, without its uncertainty."""
        return WarpedPreview(self, store, past, last)

    def z_map(
        self, store: ScanStore, row: int, past: NDArray[np.int64], mean: NDArray[np.floating], sd: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Deviation of each voxel of a visit from its prediction, in sd, ``[X, Y, Z]``; 0 outside the mask.

        ``mean`` and ``sd [K + S]`` are those of the visit's coefficients given the subject's ``past`` rows (not empty).
        """
        return z_map(self, store, row, int(past[-1]), self.encode(store, past[-1:])[0], mean, sd)

    def tensors(self) -> dict[str, Tensor]:
        """Tensors for model.safetensors."""
        return {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in ARRAYS}

    def describe(self) -> dict[str, Any]:
        """JSON values for model.json."""
        return {
            "kind": self.kind,
            "components": len(self.duals),
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
            if "modes" in arrays and ("duals" not in arrays or "structures" in arrays):
                raise RunError("The run is of an earlier version, which measured change differently. Train again.")
            found = cls(grid, nodes, folded=int(description["folded"]), **{name: arrays[name] for name in ARRAYS})
            components = int(description["components"])
        except (KeyError, ValueError, TypeError, AttributeError):
            raise RunError("The run's deformations are damaged. Restore the folder.") from None
        fits = found.duals.shape == (components, 3, *nodes.shape) and len(found.share) == components
        fits = fits and found.modes.shape == (components + len(NAMES), 3, *nodes.shape)
        if not fits or found.noise.shape != grid.shape:
            raise RunError("The run's deformation tensors do not fit model.json. Restore the folder.")
        return found

    def __repr__(self) -> str:
        return (
            f"{len(self.duals)} deformation modes, which explain {self.share.sum():.0%} of the visible change, and the "
            f"volumes of {len(NAMES)} structures"
        )

    def _measure_noise(self, store: ScanStore, rows: NDArray[np.int64]) -> None:
        """Estimate the noise of training visits around the previous scan, warped, such that 90 % lie within 1.64 sd."""
        total, thinned = np.zeros(self.grid.shape), []
        rows = np.sort(rows)
        subjects, encoded = store.visits["subject"].to_numpy()[rows], self.encode(store, rows)
        voxels = TemplateVoxels(self.grid, self.nodes, store.mask)
        every = slice(None, None, max(1, voxels.x.shape[1] // 2000))
        for subject in dict.fromkeys(subjects):
            visits, c = rows[subjects == subject], encoded[subjects == subject]
            psi = np.asarray(store.array("anatomy")[store.subjects.index(subject)], np.float32)
            self.folded += sum(self._folded(each) for each in c)
            for before, row, c_before, c_row in zip(visits[:-1], visits[1:], c[:-1], c[1:], strict=True):
                square = voxels.values(unexplained(self, store, int(before), int(row), c_before, c_row) ** 2, psi)
                total[voxels.inside] += square
                thinned.append(square[every])
        variance = ndimage.gaussian_filter(total / max(len(thinned), 1), 1.0)
        variance = np.maximum(variance, 0.04 * float(np.median(variance[store.mask])))
        ratio = np.stack(thinned) / variance[voxels.inside][every]
        self.noise = np.sqrt(variance * np.quantile(ratio, 0.9) / Z90**2).astype(np.float32)

    def _folded(self, coefficients: NDArray[np.floating]) -> int:
        """Number of nodes at which the deformation folds."""
        return int((jacobian(exponential(self.velocity(coefficients), self.nodes), self.nodes) <= 0).sum())

    def _check(self, store: ScanStore) -> None:
        require_same_grid(store, self.grid, self.nodes)


def _first_rows(store: ScanStore) -> dict[str, int]:
    """The row of each subject's first prepared scan, to which the store's velocities refer."""
    done = np.flatnonzero(np.asarray(store.array("status")[:]) == DONE)
    subjects = store.visits["subject"].to_numpy()[done]
    return {subject: int(row) for subject, row in zip(subjects[::-1], done[::-1], strict=True)}
