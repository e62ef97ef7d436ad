"""Pairs of scans of the same visit from two stores, one to be predicted from the other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from crow.data.examples import Examples
from crow.data.sequences import digest
from crow.errors import CohortError
from crow.representation.cross_sectional import IN_MEMORY, ScanExamples, ScanInputs, Visits
from crow.scans.store import ScanStore

KEY = ["subject", "session"]


def pair(target: ScanStore, source: ScanStore) -> pd.Series:
    """The row in ``source`` for each row of ``target`` whose subject and session it has too.

    Raises CohortError where the two are not on one grid, have no visit in common, or a visit is there twice.
    """
    one, other = target.info.grid, source.info.grid
    if one != other or not np.array_equal(target.mask, source.mask):
        raise CohortError(
            f"{target.path} and {source.path}: scans on different grids or with different masks. The {_what(target)}, "
            f"the {_what(source)}. Prepare both with the same --resolution and --mask."
        )
    wanted, given = target.cohort().visits, source.cohort().visits
    for store, visits in ((target, wanted), (source, given)):
        if len(twice := visits[visits.duplicated(KEY)]):
            subject, session = twice.iloc[0][KEY]
            raise CohortError(
                f"{store.path}: subject {subject} has session {session!r} more than once, so pairs cannot be told. "
                "Prepare the scans with a column of sessions: --session."
            )
    rows = pd.Series(given.index, index=pd.MultiIndex.from_frame(given[KEY]))
    found = rows.reindex(pd.MultiIndex.from_frame(wanted[KEY])).set_axis(wanted.index).dropna().astype(int)
    if not len(found):
        raise CohortError(
            f"{target.path} and {source.path}: no visit has scans in both. The first has {_first(wanted)}, the second "
            f"{_first(given)}. Subjects and sessions must have the same names."
        )
    return found


def standardised(visits: ScanInputs, store: ScanStore, rows: NDArray[np.int64]) -> Tensor:
    """``[n, 1, *space]``: scans by each voxel's mean and sd in training, 0 outside the brain."""
    images = visits.box.encode(store, rows)
    return torch.from_numpy(images if visits.cut is None else np.take(images, visits.cut[1], visits.cut[0] + 2))


@dataclass(frozen=True)
class ScanPairs(ScanExamples):
    """Scans of a store as `ScanExamples`, and as their context the standardised scans of another store's rows."""

    given: ScanInputs | None = None
    source: ScanStore | None = None
    source_rows: Tensor | None = None
    kept_source: dict[int, Tensor] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, visits: ScanInputs, target: ScanStore, some: Visits, given: ScanInputs, source: ScanStore, rows: pd.Series
    ) -> ScanPairs:
        """The visits ``some`` of ``target`` with the ``rows`` of the source (see `pair`)."""
        plain = visits.examples(target, some)
        given.check(source)
        places = torch.from_numpy(rows.loc[some.index].to_numpy(np.int64, copy=True))
        return cls(visits, target, plain.rows, given=given, source=source, source_rows=places)

    def __getitem__(self, rows: Tensor | slice) -> Examples:
        assert self.source_rows is not None
        context = torch.cat([self._context(row) for row in self.source_rows[rows].tolist()])
        return replace(super().__getitem__(rows), context=context)

    def some(self, rows: Tensor) -> ScanPairs:
        assert self.source_rows is not None
        return replace(self, rows=self.rows[rows], source_rows=self.source_rows[rows])

    def digest(self) -> str:
        assert self.given is not None and self.source_rows is not None
        box = self.given.box.tensors()
        return digest(self.rows, self.source_rows, *self.visits.box.tensors().values(), box["mean"], box["sd"])

    def _context(self, row: int) -> Tensor:
        """``[1, 1, *space]``, kept as the scans are."""
        assert self.given is not None and self.source is not None
        if row in self.kept_source:
            return self.kept_source[row]
        image = standardised(self.given, self.source, np.array([row]))
        if len(self.kept_source) * image.nbytes < IN_MEMORY:
            self.kept_source[row] = image
        return image


def _what(store: ScanStore) -> str:
    shape, size = (
        " x ".join(f"{n:g}" for n in numbers) for numbers in (store.info.grid.shape, store.info.grid.spacing)
    )
    return f"{store.info.modality} scans have {shape} voxels of {size} mm, {int(store.mask.sum()):,} in the mask"


def _first(visits: Visits) -> str:
    return ", ".join(f"{subject} {session}".strip() for subject, session in visits[KEY].head(3).to_numpy())
