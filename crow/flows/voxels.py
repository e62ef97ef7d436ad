"""The conditional recurrent flow over volumes: the exact density of a sequence of scans, and forecasts of scans."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from crow.bijections.chain import Chain
from crow.bijections.checkpointed import CheckpointedChain
from crow.bijections.normal import standard_normal_log_prob
from crow.bijections.recurrent import running_past
from crow.bijections.reversible import ReversibleChain
from crow.bijections.voxel_autoregression import AutoregressionSums, VoxelAutoregression, VoxelPast
from crow.data.sequences import Sequences, SequenceSource
from crow.flows.voxel_level import VoxelLevel

EVALUATED_PATCHES = 8
MAX_VOXELS = 2**21  # of the volumes that are read together for the linear forecast
TIME_CHANNELS = 4  # time since the first and the last visit, whether it is the first, 1 / (1 + previous visits)
CHAINS: dict[str, type[Chain]] = {"plain": Chain, "checkpoint": CheckpointedChain, "reversible": ReversibleChain}
Memory = Literal["plain", "checkpoint", "reversible"]


class VoxelState(NamedTuple):
    """What the next visit needs from a subject's past."""

    time: Tensor  # [batch, 1], time of the last visit
    last: Tensor  # [batch, voxels]
    total: Tensor  # [batch, voxels], sum over the visits
    visits: Tensor  # [batch, 1], number of visits


class VoxelFlow(nn.Module):
    """``p(x_1..x_T | c_1..c_T)`` of volumes ``x: [batch, time, 1, *space]`` over the voxels of a mask, visit by visit.

    The first map is a linear forecast of each voxel from its own past, which is fitted once and then fixed. Then
    ``levels`` times: a Haar wavelet, a gate that shifts and scales by the past, ``depth`` convolutional couplings, and
    a split prior of the details given the averages. The past is the last visit and the running mean, as coefficients of
    the level, so all visits of a batch are computed at once. Voxels outside the mask are ignored. At initialisation the
    flow is N(0, I); after `initialise` it is the linear forecast. Latent values have the shape of x, in the order in
    which they leave.

    Parameters
    ----------
    mask : Tensor
        ``[*space]``, True for voxels of the density; sizes divisible by ``2^levels``.
    context : int
        Number of channels of the context (covariates, age).
    levels : int
        Number of levels.
    depth : int
        Number of couplings per level.
    hidden : int
        Width of the subnets.
    memory : str
        What training stores: all activations (``plain``), the input of each coupling (``checkpoint``), or neither
        (``reversible``).
    patch : int, optional
        Side of the patches on which `loss` is computed; None is the whole volume.

    Raises
    ------
    ValueError
        If the sizes do not fit the levels.
    """

    time_scale: Tensor
    mask: Tensor
    inside: Tensor

    def __init__(
        self,
        mask: Tensor,
        context: int,
        levels: int = 2,
        depth: int = 4,
        hidden: int = 16,
        memory: Memory = "plain",
        patch: int | None = None,
    ) -> None:
        super().__init__()
        if any(size % 2**levels for size in mask.shape):
            raise ValueError(f"VoxelFlow of {levels} levels needs sizes divisible by {2**levels}, got {[*mask.shape]}")
        self.event, self.patch = (1, *mask.shape), patch
        self.register_buffer("time_scale", torch.ones(()))
        self.register_buffer("mask", mask.flatten().float(), persistent=False)
        self.autoregression = VoxelAutoregression(self.mask)
        self.autoregression.requires_grad_(False)
        self.levels = nn.ModuleList()
        for _ in range(levels):
            level = VoxelLevel(mask, TIME_CHANNELS + context, depth, hidden, CHAINS[memory])
            self.levels.append(level)
            mask = level.haar.inside[0]
        inside = self._latent([level.haar.inside[None] for level in self._levels()])
        self.register_buffer("inside", inside[0].float(), persistent=False)

    @torch.no_grad()
    def initialise(self, data: SequenceSource, batch: int = 8) -> None:
        """Fit the linear forecast to training subjects, read ``batch`` at a time."""
        times = data.time[data.mask & (data.time > 0)]
        if len(times):
            self.time_scale.copy_(times.square().mean().sqrt().clamp_min(0.1))
        inside = self.mask.cpu() > 0
        sums = AutoregressionSums(int(inside.sum()))
        for rows in torch.arange(len(data)).split(max(1, min(batch, MAX_VOXELS // len(self.mask)))):
            part = data[rows].to(self.mask.device, self.mask.dtype)
            x, past, _, _ = self._prepare(part, None)
            parts = [values.flatten(0, 1)[part.mask.flatten()].cpu() for values in (x, *past)]
            x, last, mean, gap, first = parts
            sums.add(x[:, inside], VoxelPast(last[:, inside], mean[:, inside], gap, first))
        fitted = sums.fit()
        self.autoregression.coefficients[:, inside] = fitted.coefficients.to(self.mask)
        self.autoregression.log_sd[:, inside] = fitted.log_sd.to(self.mask)

    def log_prob(self, data: Sequences) -> Tensor:
        """Log-density of every visit given the visits before it, ``[batch, time]``, in nats; 0 at pads."""
        x, past, context, _ = self._prepare(data, None)
        real = data.mask.flatten()
        x, context, *rest = (part.flatten(0, 1)[real] for part in (x, context, *past))
        z, log_det = self._forward(x, VoxelPast(*rest), context)
        log_prob = self._log_normal(z) + log_det
        return data.time.new_zeros(real.shape).masked_scatter(real, log_prob).view_as(data.time)

    def initial_log_prob(self, data: Sequences) -> Tensor:
        """`log_prob` under the linear forecast alone."""
        x, past, _, _ = self._prepare(data, None)
        z, log_det = self.autoregression(x.flatten(0, 1), past.rows())
        return torch.where(data.mask, (self._log_normal(z) + log_det).view_as(data.time), 0.0)

    def loss(self, data: Sequences) -> Tensor:
        """Mean negative log-likelihood per visit, of the whole volume or as patches estimate it.

        Training takes one random patch per batch, evaluation always the same few.
        """
        if self.patch is None:
            return -self.log_prob(data).sum() / data.mask.sum()
        generator = None if self.training else torch.Generator().manual_seed(0)
        losses = []
        for _ in range(1 if self.training else EVALUATED_PATCHES):
            corner = self._corner(self.patch, generator)
            part = self.cut(corner, (self.patch,) * (len(self.event) - 1))
            share = part.mask.sum() / self.mask.sum()
            losses.append(part.loss(replace(data, x=part.crop(data.x, corner))) / share)
        return torch.stack(losses).mean()

    def cut(self, corner: tuple[int, ...], sizes: tuple[int, ...]) -> VoxelFlow:
        """The flow of a box of voxels, which shares the weights of the levels; the linear forecast stays as fitted.

        Beyond its reach from the border of the box, it is the flow of the whole volume.
        """
        space = self.event[1:]
        box = tuple(slice(start, start + size) for start, size in zip(corner, sizes, strict=True))
        tensors = [*self.parameters(), *self.buffers()]
        memo = {id(tensor): tensor for tensor in tensors} | {id(self.levels): nn.ModuleList()}
        part = copy.deepcopy(self, memo)
        part.event, part.patch = (1, *sizes), None
        mask = self.mask.view(space)[box]
        part.mask = mask.flatten()
        part.autoregression = VoxelAutoregression(part.mask).requires_grad_(False)
        for name in ("coefficients", "log_sd"):
            whole = getattr(self.autoregression, name).detach().unflatten(1, space)
            getattr(part.autoregression, name).data = whole[(slice(None), *box)].flatten(1)
        at = mask > 0
        part.levels = nn.ModuleList()
        for level in self._levels():
            part.levels.append(level.cut(at, corner))
            at = part._levels()[-1].haar.inside[0]
            corner = tuple(start // 2 for start in corner)
        part.inside = part._latent([level.haar.inside[None] for level in part._levels()])[0].float()
        return part.train(self.training)

    def crop(self, x: Tensor, corner: tuple[int, ...]) -> Tensor:
        """The voxels of this box in a volume ``x [batch, time, 1, *space]``."""
        box: Any = tuple(slice(start, start + size) for start, size in zip(corner, self.event[1:], strict=True))
        return x[(..., *box)]

    def _corner(self, size: int, generator: torch.Generator | None) -> tuple[int, ...]:
        """The corner of a cube around a random voxel of the mask, at a multiple of 2^levels."""
        space, multiple = self.event[1:], 2 ** len(self.levels)
        places = self.mask.cpu().view(space).nonzero()
        middle = places[int(torch.randint(len(places), (), generator=generator))].tolist()
        low = [min(max(at - size // 2, 0), full - size) for at, full in zip(middle, space, strict=True)]
        return tuple(start // multiple * multiple for start in low)

    def transform(self, data: Sequences, state: VoxelState | None = None) -> tuple[Tensor, Tensor, VoxelState]:
        """Latent values ``[batch, time, *event]``, log-determinant ``[batch, time]``, and the state at the end."""
        x, past, context, after = self._prepare(data, state)
        z, log_det = self._forward(x.flatten(0, 1), past.rows(), context.flatten(0, 1))
        return z.view_as(data.x), log_det.view_as(data.time), after

    def inverse(self, z: Tensor, data: Sequences, state: VoxelState | None = None) -> tuple[Tensor, Tensor, VoxelState]:
        """The visits whose latent values are z, at the times and contexts of ``data`` (its x is not used)."""
        xs, log_dets = [], []
        for t in range(z.shape[1]):
            visit = replace(data.visit(t), x=z[:, t : t + 1])
            x, log_det = self._invert(visit, state)
            state = self._prepare(replace(visit, x=x), state)[3]
            xs.append(x)
            log_dets.append(log_det)
        assert state is not None
        return torch.cat(xs, 1), torch.cat(log_dets, 1), state

    def condition(self, history: Sequences) -> VoxelState:
        """The state after each subject's own last visit."""
        x = history.x.flatten(2) * self.mask
        visits = history.mask.sum(1, keepdim=True)
        rows, at = torch.arange(len(x), device=x.device), visits.squeeze(1) - 1
        total = x.masked_fill(~history.mask[..., None], 0.0).sum(1)
        return VoxelState(history.time[rows, at][:, None], x[rows, at], total, visits.to(x.dtype))

    def sample(self, data: Sequences, state: VoxelState | None, noise: Tensor) -> Tensor:
        """One visit at the time and context of ``data``, from ``noise [batch, 1, *event]`` ~ N(0, I)."""
        return self._invert(replace(data, x=noise), state)[0]

    def _prepare(self, data: Sequences, state: VoxelState | None) -> tuple[Tensor, VoxelPast, Tensor, VoxelState]:
        """Voxels ``[batch, time, voxels]``, their past, the context with time channels, and the state after them."""
        if tuple(data.x.shape[2:]) != self.event:
            wanted = ", ".join(map(str, self.event))
            raise ValueError(f"VoxelFlow expects [batch, time, {wanted}], got {list(data.x.shape)}")
        x = data.x.flatten(2) * self.mask
        if state is None:
            zero = x.new_zeros(len(x), x.shape[2])
            state = VoxelState(data.time[:, :1], zero, zero, zero[:, :1])
        last, mean, sums = running_past(x, *state[1:])
        gap = (data.time - torch.cat([state.time, data.time[:, :-1]], 1)).unsqueeze(-1) / self.time_scale
        before = state.visits.unsqueeze(1) + torch.arange(x.shape[1], device=x.device, dtype=x.dtype).view(1, -1, 1)
        since = data.time.unsqueeze(-1) / self.time_scale
        first = before == 0
        context = torch.cat([since, gap, first.to(x), 1 / (1 + before), data.context], -1)
        return x, VoxelPast(last, mean, gap, first), context, VoxelState(data.time[:, -1:], *sums)

    def _forward(self, x: Tensor, past: VoxelPast, context: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = self.autoregression(x, past)
        x, parts = x.unflatten(1, self.event), []
        for level, level_past in zip(self._levels(), self._pyramid(past), strict=True):
            x, details, part_log_det = level(x, level_past, context)
            parts.append(torch.cat([x, details], 1))
            log_det = log_det + part_log_det
        return self._latent(parts), log_det

    def _invert(self, visit: Sequences, state: VoxelState | None) -> tuple[Tensor, Tensor]:
        """Invert one visit per subject: ``[batch, 1, *event]`` and the log-determinant ``[batch, 1]``."""
        _, past, context, _ = self._prepare(replace(visit, x=torch.zeros_like(visit.x)), state)
        past, context = past.rows(), context.flatten(0, 1)
        x, parts = self._parts(visit.x.flatten(0, 1).flatten(1) * self.inside)
        log_det = x.new_zeros(len(x))
        for level, level_past, details in reversed([*zip(self._levels(), self._pyramid(past), parts, strict=True)]):
            x, part_log_det = level.inverse(x, details, level_past, context)
            log_det = log_det + part_log_det
        x, autoregression_log_det = self.autoregression.inverse(x.flatten(1), past)
        return x.view_as(visit.x), (log_det + autoregression_log_det).view_as(visit.time)

    def _log_normal(self, z: Tensor) -> Tensor:
        return standard_normal_log_prob(z, 1, values=self.mask.sum())

    def _levels(self) -> list[VoxelLevel]:
        return cast(list[VoxelLevel], list(self.levels))

    def _pyramid(self, past: VoxelPast) -> list[Tensor]:
        """Coefficients of the last visit and of the mean of the past per level, ``[rows, 2 * 2^n, *space]``."""
        x = torch.stack([past.last, past.mean], 1).unflatten(2, self.event)
        levels = []
        for level in self._levels():
            coefficients = level.haar(x)[0]
            levels.append(coefficients.flatten(1, 2))
            x = coefficients[:, :, :1]
        return levels

    def _latent(self, parts: list[Tensor]) -> Tensor:
        """The details of each level and the averages of the last level, ``[rows, values]``."""
        return torch.cat([part[:, 1:].flatten(1) for part in parts] + [parts[-1][:, :1].flatten(1)], 1)

    def _parts(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The averages of the last level and the details of each level; the inverse of `_latent`."""
        shapes = [level.haar.inside.shape for level in self._levels()]
        sizes = [(shape[0] - 1) * shape[1:].numel() for shape in shapes]
        *details, average = z.split([*sizes, shapes[-1][1:].numel()], 1)
        parts = [part.unflatten(1, (-1, *shape[1:])) for part, shape in zip(details, shapes, strict=True)]
        return average.unflatten(1, (1, *shapes[-1][1:])), parts
