"""Modes of scans: an exact orthonormal basis of differences between and within subjects, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from crow.errors import CohortError
from crow.representation.residual import MeanSquares, Values, blocks, project, shrunk, weighted_gram
from crow.representation.structure_means import StructureMeans
from crow.scans.store import ScanStore

CHUNK_BYTES = 2**28  # of scans per chunk in the Gram matrix
MIN_SUBJECTS = 3  # with two scans: fewer cannot separate change from noise


class ScaledScans:
    """Scans of a store inside its mask, y = (x - mean) / scale per voxel; rows sorted by subject and time.

    ``scale [V]`` is the sd within subjects, so that noise has variance 1 everywhere and modes are those of factor
    analysis with known noise: each voxel is weighted by its signal relative to noise. Means of ``structures`` come
    before the modes, which are those of what remains.
    """

    def __init__(
        self, store: ScanStore, rows: NDArray[np.int64], mean: Values, scale: Values,
        structures: StructureMeans | None = None,
    ) -> None:  # fmt: skip
        self.store, self.rows = store, np.asarray(rows)
        self.structures = StructureMeans.none(len(mean)) if structures is None else structures
        self.mean, self.scale = mean.astype(np.float32), scale.astype(np.float32)
        names = store.visits["subject"].to_numpy()[self.rows]
        self.subject = np.cumsum(np.r_[False, names[1:] != names[:-1]]) if len(names) else np.empty(0, int)

    @classmethod
    def measure(cls, store: ScanStore, rows: NDArray[np.int64]) -> ScaledScans:
        """Estimate mean and scale from ``rows``; raises CohortError if fewer than three subjects have two scans."""
        size = int(store.mask.sum())
        scans = cls(store, rows, np.zeros(size), np.ones(size))
        if (twice := int((np.bincount(scans.subject, minlength=1) > 1).sum())) < MIN_SUBJECTS:
            raise CohortError(
                f"{store.path}: {twice} training subjects have two or more scans; at least {MIN_SUBJECTS} are needed "
                "to learn change. Add scans, or lower split.test."
            )
        squares, total = MeanSquares(size), np.zeros(size)
        for _, y in scans.by_subject():
            squares.add(y)
            total += y.sum(0, dtype=np.float64)
        dof = squares.visits - squares.subjects
        if not (squares.within > 0).any():
            raise CohortError(
                f"{store.path}: no scan differs from the subject's first scan. Check that they are not copies of one "
                "file."
            )
        found = cls(store, rows, total / squares.visits, np.sqrt(shrunk(squares.within / dof, dof)))
        structures = StructureMeans.in_store(store, found.mean, found.scale)
        means = MeanSquares(len(structures.names))
        for _, y in found.by_subject():
            means.add(project(structures.basis, y))
        found.structures = structures.varying(means.within / dof, found.mean, found.scale)
        return found

    def by_subject(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """For each subject, its positions in ``rows`` and its scaled scans ``[visit, V]``."""
        for k in range(self.subject.max() + 1 if len(self.subject) else 0):
            where = np.flatnonzero(self.subject == k)
            yield where, self.read(self.rows[where])

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scaled scans ``[row, V]``."""
        y = self.store.masked(rows)
        y -= self.mean
        y /= self.scale
        return y

    def gram(self) -> NDArray[np.float64]:
        """Inner products of all pairs of scans without structures ``[n, n]``, with two chunks in memory at a time."""
        n = len(self.rows)
        out = np.empty((n, n))
        parts = list(self.store.chunks(np.arange(n), max(1, CHUNK_BYTES // (4 * len(self.mean)))))
        for k, first in enumerate(parts):
            a = self.structures.complement(self.read(self.rows[first]))
            for second in parts[k:]:
                b = a if second is first else self.structures.complement(self.read(self.rows[second]))
                sums = np.sum([(a[:, v] @ b[:, v].T).astype(np.float64) for v in blocks(a.shape[1])], axis=0)
                out[np.ix_(first, second)], out[np.ix_(second, first)] = sums, sums.T
        return out

    def modes(self, gram: NDArray[np.float64], chosen: NDArray[np.int64], count: int) -> NDArray[np.float32]:
        """Directions of the S structures, and the first ``count`` modes of the scans at positions ``chosen``.

        They are the orthonormal columns of ``[V, S + count]``, the strongest mode first.

        The scatter S = Y^T (C_b / t_b + C_w / t_w) Y gives equal weight to the subjects' means C_b Y and the change
        around them C_w Y, with t their traces: differences between subjects are larger, but the persistent residual
        (`ResidualPrior`) carries them, whereas only modes can forecast change. With W the bracket and U L U^T =
        W^1/2 Y Y^T W^1/2, computed from the Gram matrix, B = Y^T W^1/2 U L^-1/2: an exact principal component analysis.
        """
        g = gram[np.ix_(chosen, chosen)]
        same = self.subject[chosen][:, None] == self.subject[chosen]
        between = same / same.sum(1)
        within = np.eye(len(chosen)) - between
        traces = [np.einsum("ij,ij->", part, g) for part in (between, within)]
        root = between / np.sqrt(traces[0]) + within / np.sqrt(traces[1])
        values, vectors = np.linalg.eigh(root @ g @ root)
        strongest = np.argsort(-values)[:count]
        mix = root @ vectors[:, strongest] / np.sqrt(values[strongest])
        basis = np.zeros((len(self.mean), len(strongest)), np.float32)
        for part in self.store.chunks(np.arange(len(chosen)), 8):
            y = self.structures.complement(self.read(self.rows[chosen[part]]))
            for v in blocks(len(basis)):
                basis[v] += y[:, v].T @ mix[part].astype(np.float32)
        return _orthonormal(np.concatenate([self.structures.basis, basis], 1))


def _orthonormal(basis: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gram-Schmidt orthonormalisation against rounding errors, in the order of the columns."""
    upper = cholesky(weighted_gram(basis, np.ones(len(basis))))
    inverse = solve_triangular(upper, np.eye(len(upper))).astype(np.float32)
    for part in blocks(len(basis)):
        basis[part] = basis[part] @ inverse
    return basis
