"""Scans as K coefficients of learned ways to change, relative to the subject's first scan: where tissue moves.

In template space visit t is the first scan moved, J_t(psi(x)) ~ J_0(psi(exp(sum_k c_k B_k)(x))), with psi the subject's
anatomy and B the modes (`VelocityModes`). The coefficients c [K] are found from the two scans themselves; they are 0
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
from crow.representation.follow_up import FollowUp
from crow.representation.moved_follow_up import moved_follow_up, unexplained, z_map
from crow.representation.moving_tissue import Movement, SubjectScans
from crow.representation.velocity_modes import VelocityModes
from crow.scans.grid import Grid
from crow.scans.store import DONE, ScanStore

DEFAULT_COMPONENTS = 4  # more is mostly the noise of first scans, which all velocities of a subject share
Z90 = 1.6449


class Deformation:
    """A two-way map between the scans of a store and K coefficients a visit.

    ``modes [K, 3, x, y, z]`` mm on ``nodes``; ``share [K]`` of the visible change of training visits that each
    explains; ``noise [X, Y, Z]``: sd of the intensities around a moved scan, on the store's ``grid``; ``folded`` counts
    nodes of training visits where the fitted deformation folds.
    """

    kind = "deformation"

    def __init__(
        self, grid: Grid, nodes: Grid, modes: NDArray[np.float32], share: NDArray[np.float64],
        noise: NDArray[np.float32], folded: int,
    ) -> None:  # fmt: skip
        self.grid, self.nodes, self.modes, self.share = grid, nodes, modes, share
        self.noise, self.folded = noise, folded

    @classmethod
    def fit(
        cls, store: ScanStore, rows: NDArray[np.int64], components: int | None = None, seed: int = 0
    ) -> Deformation:
        """Modes and noise of training scans; the strongest 4 modes where ``components`` is not given.

        Raises CohortError where no subject has two scans, or the store has no velocities.
        """
        if store.info.velocity_grid is None or "velocity" not in store.arrays:
            raise CohortError(f"{store.path}: prepared without velocities. Run crow prepare with --registration nonlinear.")
        first = _first_rows(store)
        later = np.array([row for row in rows if row != first[store.visits["subject"].iloc[row]]], np.int64)
        if len(later) < 2:
            raise CohortError(f"{store.path}: found {len(later)} follow-up scans to learn change from; give more.")
        nodes = store.info.velocity_grid
        found = VelocityModes.fit(store, later, nodes, components or DEFAULT_COMPONENTS)
        basis = cls(store.info.grid, nodes, found.fields, found.share, np.ones(store.info.grid.shape, np.float32), 0)
        basis._measure(store, rows)
        return basis

    @property
    def names(self) -> list[str]:
        """Of the coefficients, for the columns of a cohort."""
        return [f"mode_{k + 1:02d}" for k in range(len(self.modes))]

    def encode(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Coefficients ``[n, K]``; each from the subject's first scan and the visit's own alone."""
        self._check(store)
        out = np.zeros((len(rows), len(self.modes)), np.float32)
        for where, scans in self._by_subject(store, rows):
            for k in where:
                out[k] = scans.coefficients(int(rows[k]))
        return out

    def velocity(self, coefficients: NDArray[np.floating]) -> NDArray[np.float32]:
        """Velocity ``[3, x, y, z]`` mm on ``nodes``, in template space, of coefficients ``[K]``."""
        return np.tensordot(coefficients.astype(np.float32), self.modes, 1)

    def follow_up(
        self, store: ScanStore, past: NDArray[np.int64], draws: NDArray[np.floating],
        space: Literal["native", "template"] = "native", samples: int = 0, seed: int = 0,
    ) -> FollowUp:  # fmt: skip
        """The visit after a subject's ``past`` rows as volumes, from ``draws [S, K]`` of its coefficients.

        The subject's last scan, moved; sharp, with its own noise. ``space`` template: on the store's grid, where scans
        are aligned linearly.
        """
        last = int(past[-1])
        return moved_follow_up(self, store, last, self.encode(store, past[-1:])[0], draws, space, samples)

    def z_map(
        self, store: ScanStore, row: int, past: NDArray[np.int64], mean: NDArray[np.floating], sd: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """How far each voxel of a visit lies from what its past predicts, in sd, ``[X, Y, Z]``; 0 outside the mask.

        ``mean`` and ``sd [K]`` of the visit's coefficients given the subject's ``past`` rows, which must not be empty.
        """
        return z_map(self, store, row, int(past[-1]), self.encode(store, past[-1:])[0], mean, sd)

    def tensors(self) -> dict[str, Tensor]:
        """What a run keeps in model.safetensors."""
        arrays = {"modes": self.modes, "share": self.share, "noise": self.noise}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def describe(self) -> dict[str, Any]:
        """What a run keeps in model.json."""
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
        """The inverse of `tensors` and `describe`; raises RunError where they do not belong together."""
        try:
            grid = Grid.model_validate(description["grid"])
            nodes = Grid.model_validate(description["velocity_grid"])
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            found = cls(grid, nodes, arrays["modes"], arrays["share"], arrays["noise"], int(description["folded"]))
            shape = (int(description["components"]), 3, *nodes.shape)
        except (KeyError, ValueError, TypeError, AttributeError):
            raise RunError("The run's deformations are damaged. Restore the folder.") from None
        if found.modes.shape != shape or found.noise.shape != grid.shape or len(found.share) != shape[0]:
            raise RunError("The run's tensors of deformations do not fit model.json. Restore the folder.")
        return found

    def __repr__(self) -> str:
        return f"{len(self.modes)} modes of change, {self.share.sum():.0%} of what is seen of it"

    def _measure(self, store: ScanStore, rows: NDArray[np.int64]) -> None:
        """The noise of training visits around the scan before each, moved; so wide that 90 % lie within 1.64 sd."""
        total, thin = np.zeros(self.grid.shape), []
        rows = np.sort(rows)
        movement = Movement(self.grid, self.nodes, self.modes, store.mask)
        some = slice(None, None, max(1, movement.x.shape[1] // 2000))
        for where, scans in self._by_subject(store, rows):
            own = rows[where]
            c = [scans.coefficients(int(row)) for row in own]
            self.folded += sum(movement.folded(each) for each in c)
            for before, row, c_before, c_row in zip(own[:-1], own[1:], c[:-1], c[1:], strict=True):
                square = scans.in_template(unexplained(self, store, int(before), int(row), c_before, c_row) ** 2)
                total[movement.inside] += square
                thin.append(square[some])
        variance = ndimage.gaussian_filter(total / max(len(thin), 1), 1.0)
        variance = np.maximum(variance, 0.04 * float(np.median(variance[store.mask])))
        ratio = np.stack(thin) / variance[movement.inside][some]
        self.noise = np.sqrt(variance * np.quantile(ratio, 0.9) / Z90**2).astype(np.float32)

    def _by_subject(
        self, store: ScanStore, rows: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], SubjectScans]]:
        """A subject at a time: positions in ``rows`` and its scans."""
        movement = Movement(self.grid, self.nodes, self.modes, store.mask)
        subjects = store.visits["subject"].to_numpy()
        first = _first_rows(store)
        for subject in dict.fromkeys(subjects[rows]):
            yield np.flatnonzero(subjects[rows] == subject), SubjectScans(store, movement, subject, first[subject])

    def _check(self, store: ScanStore) -> None:
        if store.info.grid != self.grid or store.info.velocity_grid != self.nodes:
            raise CohortError(
                f"{store.path}: prepared on another grid than the scans that the model was trained on. Prepare the "
                "scans with the same resolution."
            )


def _first_rows(store: ScanStore) -> dict[str, int]:
    """The row of each subject's first prepared scan, to which the store's velocities refer."""
    done = np.flatnonzero(np.asarray(store.array("status")[:]) == DONE)
    subjects = store.visits["subject"].to_numpy()[done]
    return {subject: int(row) for subject, row in zip(subjects[::-1], done[::-1], strict=True)}
