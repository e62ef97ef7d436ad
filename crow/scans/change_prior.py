"""The prior of a subject's change: which velocity fields and which changes of the bias field are plausible.

A velocity is u = S z + sum_s V_s a_s with z and a white. V_s is the field of a volume change of structure s alone.
Log volumes of structures have sd `STRUCTURE`, so they are shrunk little. S z is the rest, whose divergence (the log
volume of each point) has sd `LOCAL`. Both are gradients of a potential, v = grad(inverse Laplacian(div v)): the
displacement of a homogeneous elastic medium in which parts expand or shrink (Goodier 1937). The logarithm of the gain
between two scans is a Gaussian process `BIAS_MM` mm wide. So wide a field cannot imitate a change of volume, whereas a
local offset or slope of the intensities can.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from crow.scans.deform import Array, sample
from crow.scans.grid import Grid

STRUCTURE, LOCAL = 0.3, 0.03  # sd of the log volume of structures, and of points around that
SMOOTH_MM, COMPENSATED_MM = 2.0, 12.0  # width of log volumes, and of the surroundings that compensate them
ROTATIONAL = 0.1  # power of fields that are not gradients, relative to gradients
BIAS, BIAS_MM = 0.1, 30.0  # sd and width of the log gain
MIN_VOXELS = 20  # of a structure with a field of its own


class Unknowns(NamedTuple):
    """White coefficients: ``z [4, *waves]`` of the velocity and the log gain, Fourier transformed (`fft.rfftn`,
    orthonormal), and ``a [structures]``; ``last`` is the length of the last axis before the transform."""

    z: NDArray[np.complex64]
    a: NDArray[np.float64]
    last: int

    def dot(self, other: Unknowns) -> float:
        products = (self.z.real * other.z.real + self.z.imag * other.z.imag).sum((0, 1, 2), dtype=np.float64)
        products[1 : (self.last + 1) // 2] *= 2  # waves that the half space of `fft.rfftn` has once instead of twice
        return float(products.sum() + self.a @ other.a)

    def plus(self, factor: float, other: Unknowns) -> Unknowns:
        """This plus ``factor`` times the other."""
        return Unknowns(self.z + np.float32(factor) * other.z, self.a + factor * other.a, self.last)


class ChangePrior:
    """The map from `Unknowns` to fields ``[4, x, y, z]`` (velocity in mm, log gain) on ``nodes``, and its transpose."""

    def __init__(self, nodes: Grid, structures: NDArray[np.uint8], grid: Grid) -> None:
        self.shape = nodes.shape
        waves, square = _waves(nodes.shape, nodes)
        self.direction = [(wave / np.sqrt(np.maximum(square, 1e-12))).astype(np.float32) for wave in waves]
        divergence = _with_variance(np.exp(-square * SMOOTH_MM**2), LOCAL**2, nodes.shape)
        self.gradient = np.sqrt(divergence / (square + COMPENSATED_MM**-2)).astype(np.float32)
        self.rotation = np.float32(np.sqrt(ROTATIONAL)) * self.gradient
        self.bias = np.sqrt(_with_variance(np.exp(-square * BIAS_MM**2), BIAS**2, nodes.shape)).astype(np.float32)
        fields = structure_fields(nodes, structures, grid)
        self.fields = (STRUCTURE * fields).reshape(len(fields), -1)

    def field(self, unknowns: Unknowns) -> Array:
        """``[4, x, y, z]``."""
        out = np.asarray(fft.irfftn(self._filter(unknowns.z), self.shape, axes=(1, 2, 3), norm="ortho"), np.float32)
        out[:3] += (unknowns.a.astype(np.float32) @ self.fields).reshape(3, *self.shape)
        return out

    def transposed(self, field: Array) -> Unknowns:
        waves = self._filter(fft.rfftn(field, axes=(1, 2, 3), norm="ortho"))
        return Unknowns(waves, (self.fields @ field[:3].ravel()).astype(np.float64), self.shape[2])

    def preconditioner(self, G: Array) -> Preconditioner:
        """The inverse of the posterior precision as if the information ``G [4, 4, x, y, z]`` were the same everywhere,
        and exactly for structures alone."""
        velocity = float(np.mean([G[i, i].mean() for i in range(3)]))
        z = [1 / (1 + velocity * self.gradient**2 * (1 + 2 * ROTATIONAL) / 3)] * 3
        z.append(1 / (1 + float(G[3, 3].mean()) * self.bias**2))
        fields = self.fields.reshape(len(self.fields), 3, *self.shape)
        weighted = np.einsum("ij...,sj...->si...", G[:3, :3], fields, optimize=True).reshape(len(fields), -1)
        within = self.fields.astype(np.float64) @ weighted.T + np.eye(len(fields))
        return Preconditioner(np.stack(z).astype(np.float32), np.linalg.inv(within))

    def _filter(self, waves: NDArray[np.complex64]) -> NDArray[np.complex64]:
        along = sum(d * w for d, w in zip(self.direction, waves[:3], strict=True)) * (self.gradient - self.rotation)
        out = np.empty_like(waves)
        for k, direction in enumerate(self.direction):
            out[k] = self.rotation * waves[k] + direction * along
        out[3] = self.bias * waves[3]
        return out


class Preconditioner(NamedTuple):
    """Factors ``z [4, *waves]`` and ``a [structures, structures]``."""

    z: Array
    a: NDArray[np.float64]

    def __call__(self, unknowns: Unknowns) -> Unknowns:
        return Unknowns(unknowns.z * self.z, self.a @ unknowns.a, unknowns.last)


def structure_fields(nodes: Grid, structures: NDArray[np.uint8], grid: Grid) -> NDArray[np.float32]:
    """A velocity for each structure, ``[structures, 3, x, y, z]`` mm: its log volume grows by 1, and the surroundings
    within `COMPENSATED_MM` give way."""
    labels = [label for label in np.unique(structures) if label and (structures == label).sum() >= MIN_VOXELS]
    padded = tuple(fft.next_fast_len(n + 8, real=True) for n in nodes.shape)
    waves, square = _waves(padded, nodes)
    out = np.empty((len(labels), 3, *nodes.shape), np.float32)
    for k, label in enumerate(labels):
        blurred = ndimage.gaussian_filter((structures == label).astype(np.float32), 0.35 * nodes.spacing / grid.spacing)
        part = sample(blurred[None], grid, nodes.points(), "zeros")[0]
        near = ndimage.gaussian_filter(part, COMPENSATED_MM / nodes.spacing) * (1 - part)
        divergence = part - near * (part.sum() / max(float(near.sum()), 1e-6))
        divergence = ndimage.gaussian_filter(divergence, SMOOTH_MM / nodes.spacing)
        potential = fft.rfftn(divergence, padded) / np.maximum(square, 1e-12)
        potential[0, 0, 0] = 0
        for i, wave in enumerate(waves):
            whole = fft.irfftn(-1j * wave * potential, padded)
            out[k, i] = whole[tuple(slice(n) for n in nodes.shape)]
    return out


def _waves(shape: tuple[int, ...], nodes: Grid) -> tuple[list[Array], Array]:
    """Angular wave numbers of world axes at each axis of `fft.rfftn`, and the square of their length.

    The axes of ``nodes`` are those of the world, in either direction.
    """
    steps = np.diag(nodes.matrix)[:3]
    each = [2 * np.pi * fft.fftfreq(n, mm) for n, mm in zip(shape[:2], steps[:2], strict=True)]
    each.append(2 * np.pi * fft.rfftfreq(shape[2], steps[2]))
    waves = list(np.meshgrid(*each, indexing="ij", sparse=True))
    return waves, waves[0] ** 2 + waves[1] ** 2 + waves[2] ** 2


def _with_variance(power: Array, variance: float, shape: tuple[int, ...]) -> Array:
    """A power spectrum (on the half space of `fft.rfftn`) scaled such that white noise gets this variance."""
    mirrored = power[..., 1 : (shape[2] + 1) // 2].sum()
    return power * (variance * np.prod(shape) / (power.sum() + mirrored))
