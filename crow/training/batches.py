"""Which subjects are in a batch, and visits and values left out at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import Sampler

from crow.data.sequences import Sequences
from crow.seeds import derived_seed


class Shuffles(Sampler[Tensor]):
    """``steps`` batches of row numbers from repeated shuffles, decided by (seed, epoch) alone.

    A shuffle is cut into ceil(n / batch_size) batches of even size, so no subject comes twice in one.
    """

    def __init__(self, n: int, batch_size: int, steps: int, seed: int) -> None:
        self.n, self.steps, self.seed, self.epoch = n, steps, seed, 0
        self.batches = -(-n // batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch, also after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
        batches: list[Tensor] = []
        for _ in range(self.steps):
            batches = batches or list(torch.randperm(self.n, generator=generator).tensor_split(self.batches))
            yield batches.pop()


def drop_visits(batch: Sequences, most: float, generator: torch.Generator | None = None) -> Sequences:
    """Leave visits out, each subject's at a rate drawn from [0, ``most``], keeping at least one.

    What stays moves to the front in its order, and times that started at 0 do so again; times since something before
    the sequence stay. Draws from torch's global generator if ``generator`` is None.
    """
    draws = partial(torch.rand, generator=generator, device=batch.mask.device)
    rate = most * draws(len(batch), 1)
    draw = draws(batch.mask.shape).masked_fill(~batch.mask, -1.0)
    keep = batch.mask & ((draw >= rate) | (draw == draw.amax(1, keepdim=True)))
    order = keep.int().argsort(dim=1, descending=True, stable=True)[:, : int(keep.sum(1).max())]
    rows = torch.arange(len(batch), device=order.device)[:, None]
    mask, time = keep[rows, order], batch.time[rows, order]
    began = torch.where(batch.time[:, :1] == 0, time[:, :1], 0.0)
    time = (time - began).masked_fill(~mask, 0.0)
    event = mask.reshape(*mask.shape, *[1] * (batch.x.ndim - 2))
    x = batch.x[rows, order].masked_fill(~event, 0.0)
    context = batch.context[rows, order].masked_fill(~mask[..., None], 0.0)
    return Sequences(x, context, time, mask, None if batch.measured is None else batch.measured[rows, order])


def drop_values(batch: Sequences, share: float, generator: torch.Generator | None = None) -> Sequences:
    """Take values of regions away from a ``share`` of the subjects, each at a rate drawn from [0, 1].

    Half of them lose the same regions at all visits, the others any values. A visit keeps at least one of its values.
    Draws from torch's global generator if ``generator`` is None.
    """
    values, subjects = batch.values(), len(batch)
    draws = partial(torch.rand, generator=generator, device=batch.mask.device)
    rate = draws(subjects, 1, 1) * (draws(subjects, 1, 1) < share)
    whole = draws(subjects, 1, 1) < 0.5
    by_region = draws(subjects, 1, batch.x.shape[2]).expand_as(values)
    draw = torch.where(whole, by_region, draws(values.shape)).masked_fill(~values, -1.0)
    measured = values & ((draw >= rate) | (draw == draw.amax(-1, keepdim=True)))
    return batch if bool((measured == values).all()) else replace(batch, measured=measured)
