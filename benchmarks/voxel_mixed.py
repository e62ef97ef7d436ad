"""The voxel-wise linear mixed model: random intercept and slope at every voxel, by EM over all voxels at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Values = np.ndarray
BLOCK = 20000
STEPS = 60


class Subject(NamedTuple):
    """Fixed effects ``[visit, effect]``, random effects ``[visit, 2]`` (1 and time) and scans ``[visit, V]``."""

    fixed: Values
    random: Values
    scans: Values


class VoxelMixed(NamedTuple):
    """y = F beta + Z b + e at each voxel, b ~ N(0, G), e ~ N(0, variance): ``[effect, V]``, ``[2, 2, V]``, ``[V]``."""

    beta: Values
    g: Values
    variance: Values

    @classmethod
    def fit(cls, subjects: list[Subject]) -> VoxelMixed:
        """Maximum likelihood by EM (Laird and Ware 1982) with closed-form steps, one block of voxels at a time."""
        size = subjects[0].scans.shape[1]
        parts = [slice(start, start + BLOCK) for start in range(0, size, BLOCK)]
        fits = [_fit([s._replace(scans=s.scans[:, part].astype(float)) for s in subjects]) for part in parts]
        return cls(*(np.concatenate(arrays, -1) for arrays in zip(*fits, strict=True)))

    def forecast(self, past: Subject, fixed: Values, random: Values) -> tuple[Values, Values]:
        """Mean and sd ``[V]`` of a visit with ``fixed [effect]`` and ``random [2]`` effects, given ``past`` visits."""
        b, covariance = _posterior(past, self)
        mean = fixed @ self.beta + random @ b
        return mean, np.sqrt(np.einsum("i,ijv,j->v", random, covariance, random) + self.variance)


def _fit(subjects: list[Subject]) -> tuple[Values, Values, Values]:
    fixed = np.concatenate([s.fixed for s in subjects])
    scans = np.concatenate([s.scans for s in subjects])
    solve = np.linalg.pinv(fixed)
    beta = solve @ scans
    rest = (scans - fixed @ beta).var(0) + 1e-12
    model = VoxelMixed(beta, np.stack([[rest / 2, 0 * rest], [0 * rest, rest / 50]]), rest / 2)
    for _ in range(STEPS):
        g, error, levels = np.zeros_like(model.g), np.zeros_like(rest), []
        for s in subjects:
            b, covariance = _posterior(s, model)
            levels.append(s.random @ b)
            g += b[:, None] * b[None] + covariance
            e = s.scans - s.fixed @ model.beta - levels[-1]
            error += (e**2).sum(0) + np.einsum("ij,jiv->v", s.random.T @ s.random, covariance)
        beta = solve @ (scans - np.concatenate(levels))
        model = VoxelMixed(beta, g / len(subjects), error / len(scans))
    return model


def _posterior(s: Subject, model: VoxelMixed) -> tuple[Values, Values]:
    """Mean ``[2, V]`` and covariance ``[2, 2, V]`` of a subject's b given its scans."""
    zz = (s.random.T @ s.random)[:, :, None] / model.variance
    covariance = _inverse(_inverse(model.g) + zz)
    right = s.random.T @ (s.scans - s.fixed @ model.beta) / model.variance
    return (covariance * right).sum(1), covariance


def _inverse(m: Values) -> Values:
    """Inverse of symmetric matrices ``[2, 2, V]``."""
    det = np.maximum(m[0, 0] * m[1, 1] - m[0, 1] ** 2, 1e-30)
    return np.stack([[m[1, 1], -m[0, 1]], [-m[0, 1], m[0, 0]]]) / det
