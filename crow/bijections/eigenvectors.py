"""The largest eigenvalues of a symmetric matrix, without the others if it is large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SMALL = 600  # rows; below, all eigenvalues take less than a second


@dataclass(frozen=True)
class Largest:
    """Eigenvalues ``[K]``, ascending, their eigenvectors ``[n, K]``, and the sum of all n eigenvalues."""

    size: Tensor
    vectors: Tensor
    trace: float

    @classmethod
    def of(cls, matrix: Tensor, count: int) -> Largest:
        """The ``count`` largest ones of ``matrix [n, n]``."""
        if len(matrix) <= SMALL or count == 0:
            size, v = torch.linalg.eigh(matrix)
            return cls(size[len(size) - count :], v[:, len(size) - count :], float(matrix.trace()))
        from scipy.sparse.linalg import eigsh

        start = np.ones(len(matrix)) / len(matrix) ** 0.5  # so that the same matrix gives the same answer
        found, v = eigsh(matrix.cpu().double().numpy(), k=count, which="LA", v0=start)
        order = np.argsort(found)
        size, vectors = (torch.from_numpy(part.copy()).to(matrix) for part in (found[order], v[:, order]))
        return cls(size, vectors, float(matrix.trace()))

    def factors(self, count: int) -> tuple[Tensor, Tensor]:
        """Of ``count`` factors the vectors ``[n, count]``, and by how much each exceeds the mean of the others."""
        first = len(self.size) - count
        rest = (self.trace - self.size[first:].sum()) / max(len(self.vectors) - count, 1)
        return self.vectors[:, first:], self.size[first:] - rest
