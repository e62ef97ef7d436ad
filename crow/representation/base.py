"""What every representation of scans by coefficients has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crow.representation.follow_up import FollowUp
from crow.representation.preview import Preview
from crow.scans.store import ScanStore


class ScanRepresentation(ABC):
    """A two-way map between the scans of a store and K coefficients per visit, whose sequences a flow models.

    To add one, write a subclass in a file of its own and add a line to `crow.representation.registry`. Rows are those
    of the store's arrays, sorted by subject and time; V is the number of voxels in the mask.

    Attributes
    ----------
    kind : str
        Its name in settings and in run folders.
    relative : bool
        Whether coefficients are changes since a subject's first scan, whose own coefficients are 0 and not modelled.
    volume_names : list of str
        Coefficients that are log volumes of structures, in the order of ``FollowUp.volumes``.
    """

    kind: ClassVar[str]
    relative: ClassVar[bool] = False
    volume_names: ClassVar[list[str]] = []

    @classmethod
    def check(cls, store: ScanStore) -> None:
        """Raise CohortError if the store was not prepared as this representation needs (default: any)."""
        return

    @classmethod
    @abstractmethod
    def suits(cls, store: ScanStore) -> bool:
        """Whether ``scans.representation=auto`` may choose it for this store."""

    @classmethod
    @abstractmethod
    def fit(cls, store: ScanStore, rows: NDArray[np.int64], components: int | None = None, seed: int = 0) -> Self:
        """Learn the map from the training scans in ``rows``; ``components`` is K, chosen from the data if None."""

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """Column names of the K coefficients."""

    @property
    def mean_names(self) -> list[str]:
        """Coefficients that are mean intensities of structures."""
        return []

    @abstractmethod
    def encode(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Coefficients ``[n, K]``; raises CohortError if the store does not fit the training scans."""

    @abstractmethod
    def follow_up(
        self, store: ScanStore, past: NDArray[np.int64], draws: NDArray[np.floating],
        space: Literal["native", "template"] = "native", samples: int = 0, seed: int = 0,
    ) -> FollowUp:  # fmt: skip
        """The visit after a subject's ``past`` rows as volumes, from ``draws [S, K]`` of its coefficients."""

    def preview(self, store: ScanStore, past: NDArray[np.int64], last: NDArray[np.floating]) -> Preview:
        """The follow-ups of a subject without their uncertainty, for a page that asks for many of them.

        ``last [K]`` are the coefficients of the last of the rows ``past``.
        """
        return Preview(self, store, past)

    @abstractmethod
    def z_map(
        self, store: ScanStore, row: int, past: NDArray[np.int64], mean: NDArray[np.floating], sd: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Deviation of each voxel of a visit from its prediction, in sd, ``[X, Y, Z]``; 0 outside the mask.

        ``mean`` and ``sd [K]`` are those of the visit's coefficients given the subject's ``past`` rows.
        """

    def remainder_log_prob(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Log-density in nats of each scan beyond its coefficients, in its own units, given earlier scans, ``[n]``.

        Add it to the log-density of the coefficients to have that of the voxels; None if only coefficients have one.
        """
        return None

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Tensors for model.safetensors."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON values for model.json."""

    @classmethod
    @abstractmethod
    def from_saved(cls, tensors: dict[str, Tensor], description: dict[str, Any]) -> Self:
        """The inverse of `tensors` and `describe`; raises RunError if they do not fit each other."""
