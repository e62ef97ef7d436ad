"""Batches of subjects, and visits left out at random."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from crow.data.examples import ExampleSource
from crow.data.sequences import Sequences, SequenceSource
from crow.seeds import derived_seed

Source = SequenceSource | ExampleSource


class BatchData(pl.LightningDataModule):
    """Training and held-out subjects (or examples), a batch being some of their rows."""

    def __init__(self, train: Source, validation: Source, batch_size: int, steps_per_epoch: int, seed: int) -> None:
        super().__init__()
        self.train, self.validation, self.batch_size = train, validation, batch_size
        self.shuffles = Shuffles(len(train), batch_size, steps_per_epoch, seed)

    def train_dataloader(self) -> DataLoader[Any]:
        return _loader(self.train, self.shuffles)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of the two halves in turn: each is evaluated at the epoch that the other would choose."""
        most = max(self.batch_size, 256) if self.validation.in_memory else self.batch_size
        rows = torch.arange(len(self.validation))
        halves = zip_longest(rows[::2].split(most), rows[1::2].split(most))
        return _loader(
            self.validation, [chunk for pair in halves for chunk in pair if chunk is not None and len(chunk)]
        )


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


def _loader(source: Source, rows: Iterable[Tensor]) -> DataLoader[Any]:
    # A generator of its own, or every new iterator would draw from the global one that dropout draws from.
    return DataLoader(source, sampler=rows, batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]


def drop_visits(batch: Sequences, most: float) -> Sequences:
    """Leave visits out, each subject's at a rate drawn from [0, ``most``], keeping at least one.

    What stays moves to the front in its order, and times that started at 0 do so again; times since something before
    the sequence stay. Draws from torch's global generator.
    """
    rate = most * torch.rand(len(batch), 1, device=batch.mask.device)
    draw = torch.rand(batch.mask.shape, device=batch.mask.device).masked_fill(~batch.mask, -1.0)
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


def drop_values(batch: Sequences, share: float) -> Sequences:
    """Take values of regions away from a ``share`` of the subjects, each at a rate drawn from [0, 1].

    Half of them lose the same regions at all visits, the others any values. A visit keeps at least one of its values.
    Draws from torch's global generator.
    """
    values, device = batch.values(), batch.mask.device
    subjects, regions = len(batch), batch.x.shape[2]
    rate = torch.rand(subjects, 1, 1, device=device) * (torch.rand(subjects, 1, 1, device=device) < share)
    whole = torch.rand(subjects, 1, 1, device=device) < 0.5
    by_region = torch.rand(subjects, 1, regions, device=device).expand_as(values)
    draw = torch.where(whole, by_region, torch.rand(values.shape, device=device)).masked_fill(~values, -1.0)
    measured = values & ((draw >= rate) | (draw == draw.amax(-1, keepdim=True)))
    return batch if bool((measured == values).all()) else replace(batch, measured=measured)
