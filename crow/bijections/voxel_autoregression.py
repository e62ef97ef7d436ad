"""A linear forecast of each voxel from its own past: the initial map of flows over volumes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

PRIOR_VISITS = 20.0  # weight of the average voxel in the fit of each voxel, in visits
FIRST, LATER = 0, 1  # kinds of visits


class VoxelPast(NamedTuple):
    """Predictors of a visit's voxels: the previous visit, the mean of all previous visits, and the time since."""

    last: Tensor  # [rows, voxels], 0 at a first visit
    mean: Tensor  # [rows, voxels], 0 at a first visit
    gap: Tensor  # [rows, 1], scaled years since the previous visit, 0 at a first visit
    first: Tensor  # [rows, 1], bool

    def rows(self) -> VoxelPast:
        """Visits ``[batch, time]`` flattened to rows."""
        return VoxelPast(*(part.flatten(0, 1) for part in self))


class VoxelAutoregression(nn.Module):
    """``z = (x - a last - b mean - d gap) / sd`` per voxel, with one sd for first visits and one for later visits.

    ``x, z: [rows, voxels]``, ``log_det: [rows]``. The map is affine given the past, so it is a bijection of the visit.
    It is the identity at initialisation, and wherever ``mask [voxels]`` is 0.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        voxels = len(mask)
        self.register_buffer("mask", mask.float(), persistent=False)
        self.coefficients = nn.Parameter(torch.zeros(3, voxels))
        self.log_sd = nn.Parameter(torch.zeros(2, voxels))

    def forward(self, x: Tensor, past: VoxelPast) -> tuple[Tensor, Tensor]:
        mean, log_sd = self.moments(past)
        return (x - mean) * torch.exp(-log_sd), -log_sd.sum(-1)

    def inverse(self, z: Tensor, past: VoxelPast) -> tuple[Tensor, Tensor]:
        mean, log_sd = self.moments(past)
        return torch.addcmul(mean, z, log_sd.exp()), log_sd.sum(-1)

    def moments(self, past: VoxelPast) -> tuple[Tensor, Tensor]:
        """Mean and log-sd, each ``[rows, voxels]``."""
        a, b, d = self.coefficients
        mean = (past.last * a + past.mean * b + past.gap * d) * self.mask
        log_sd = self.log_sd * self.mask
        return mean, torch.where(past.first, log_sd[FIRST], log_sd[LATER])


class AutoregressionSums:
    """Sums over visits from which `VoxelAutoregression` is fitted, one batch at a time; memory is a few volumes.

    ``R = sum r r'``, ``q = sum r x`` and ``s = sum x^2`` over later visits with ``r = (last, mean, gap)``. With R0, q0
    the means over voxels per visit and k prior visits, ``w = (R + k R0)^-1 (q + k q0)``: a ridge regression towards the
    average voxel. Variances are shrunk towards their average in the same way.
    """

    def __init__(self, voxels: int) -> None:
        self.r = torch.zeros(voxels, 3, 3, dtype=torch.float64)
        self.q = torch.zeros(voxels, 3, dtype=torch.float64)
        self.s = torch.zeros(2, voxels, dtype=torch.float64)
        self.visits = torch.zeros(2, dtype=torch.float64)

    def add(self, x: Tensor, past: VoxelPast) -> None:
        """Add visits ``x: [rows, voxels]``; pads are left out by the caller."""
        first = past.first.squeeze(1)
        for row, is_first in enumerate(first):
            self.s[FIRST if is_first else LATER] += x[row].double().square()
            if not is_first:
                r = torch.stack([past.last[row], past.mean[row], past.gap[row].expand_as(x[row])], 1).double()
                self.r += r.unsqueeze(2) * r.unsqueeze(1)
                self.q += r * x[row].double().unsqueeze(1)
        self.visits += torch.stack([first.sum(), (~first).sum()])

    @torch.no_grad()
    def fit(self) -> VoxelAutoregression:
        """The fitted regression. If there are no visits of a kind, its parameters keep their initial values."""
        k, s = PRIOR_VISITS, self.s
        fitted = VoxelAutoregression(torch.ones(len(self.q)))
        for kind, n in enumerate(self.visits.tolist()):
            if not n:
                continue
            residual = s[kind]
            if kind == LATER:
                r0, q0 = self.r.mean(0) / n, self.q.mean(0) / n
                r0 = r0 + 1e-6 * (r0.diagonal().mean() + 1e-12) * torch.eye(3, dtype=r0.dtype)
                w = torch.linalg.solve(self.r + k * r0, self.q + k * q0)
                fitted.coefficients.copy_(w.T)
                explained = 2 * (w * self.q).sum(1) - torch.einsum("vi,vij,vj->v", w, self.r, w)
                residual = (residual - explained).clamp_min(0)
            variance = (residual + k * residual.mean() / n) / (n + k)
            fitted.log_sd[kind] = 0.5 * variance.clamp_min(1e-8).log().to(fitted.log_sd)
        return fitted
