"""Batches of subjects or examples for Lightning."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from crow.data.examples import ExampleSource
from crow.data.sequences import SequenceSource
from crow.training.batches import Shuffles

Source = SequenceSource | ExampleSource
MAX_VALUES = 2**19  # of a batch of validation examples


class BatchData(pl.LightningDataModule):
    """Training and held-out subjects (or examples), a batch being some of their rows."""

    def __init__(self, train: Source, validation: Source, batch_size: int, steps_per_epoch: int, seed: int) -> None:
        super().__init__()
        self.train, self.validation, self.batch_size = train, validation, batch_size
        self.shuffles = Shuffles(len(train), batch_size, steps_per_epoch, seed)

    def train_dataloader(self) -> DataLoader[Any]:
        return _loader(self.train, self.shuffles if self._processes == 1 else _Share(self))

    @property
    def _processes(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of the two halves in turn: each is evaluated at the epoch that the other would choose."""
        most = self.batch_size
        if self.validation.in_memory:
            values = max(1, self.validation[torch.arange(1)].x.numel())
            most = max(most, min(256, MAX_VALUES // values))
        rows = torch.arange(len(self.validation))
        halves = zip_longest(rows[::2].split(most), rows[1::2].split(most))
        return _loader(
            self.validation, [chunk for pair in halves for chunk in pair if chunk is not None and len(chunk)]
        )


class _Share(Sampler[Tensor]):
    """This process's rows of every batch, at least one."""

    def __init__(self, data: BatchData) -> None:
        assert data.trainer is not None
        self.shuffles, self.rank, self.count = data.shuffles, data.trainer.global_rank, data.trainer.world_size

    def set_epoch(self, epoch: int) -> None:
        self.shuffles.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.shuffles)

    def __iter__(self) -> Iterator[Tensor]:
        for rows in self.shuffles:
            yield rows[self.rank :: self.count] if self.rank < len(rows) else rows[:1]


def _loader(source: Source, rows: Iterable[Tensor]) -> DataLoader[Any]:
    # A generator of its own, or every new iterator would draw from the global one that dropout draws from.
    return DataLoader(source, sampler=rows, batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]
