"""Pairs of scans of the same visit from two stores: one is predicted from the other."""

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
from crow.representation.cross_sectional import CACHE_BYTES, ScanExamples, ScanInputs, Visits
from crow.scans.store import ScanStore

KEY = ["subject", "session"]


def pair(target: ScanStore, source: ScanStore) -> pd.Series:
    """The row in ``source`` of each row of ``target`` with the same subject and session.

    Raises CohortError if the grids or masks differ, no visit is in both, or a visit is duplicated.
    """
    one, other = target.info.grid, source.info.grid
    if one != other or not np.array_equal(target.mask, source.mask):
        raise CohortError(
            f"{target.path} and {source.path}: different grids or masks. The {_what(target)}; "
            f"the {_what(source)}. Prepare both with the same --resolution and --mask."
        )
    wanted, given = target.cohort().visits, source.cohort().visits
    for store, visits in ((target, wanted), (source, given)):
        if len(twice := visits[visits.duplicated(KEY)]):
            subject, session = twice.iloc[0][KEY]
            raise CohortError(
                f"{store.path}: subject {subject} has session {session!r} more than once, so its scans cannot be "
                "paired. Prepare the scans with a column of sessions: --session."
            )
    rows = pd.Series(given.index, index=pd.MultiIndex.from_frame(given[KEY]))
    found = rows.reindex(pd.MultiIndex.from_frame(wanted[KEY])).set_axis(wanted.index).dropna().astype(int)
    if not len(found):
        raise CohortError(
            f"{target.path} and {source.path}: no visit has scans in both stores. The first has {_first(wanted)}, the "
            f"second {_first(given)}. Use the same names of subjects and sessions in both."
        )
    return found


def standardised(visits: ScanInputs, store: ScanStore, rows: NDArray[np.int64]) -> Tensor:
    """Scans standardised by each voxel's training mean and sd, ``[n, 1, *space]``; 0 outside the brain."""
    images = visits.box.encode(store, rows)
    return torch.from_numpy(images if visits.cut is None else np.take(images, visits.cut[1], visits.cut[0] + 2))


@dataclass(frozen=True)
class ScanPairs(ScanExamples):
    """`ScanExamples` whose context is the standardised scans in the rows of another store."""

    given: ScanInputs | None = None
    source: ScanStore | None = None
    source_rows: Tensor | None = None
    source_cache: dict[int, Tensor] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, visits: ScanInputs, target: ScanStore, chosen: Visits, given: ScanInputs, source: ScanStore,
        rows: pd.Series,
    ) -> ScanPairs:  # fmt: skip
        """The ``chosen`` visits of ``target`` with their ``rows`` of the source (see `pair`)."""
        plain = visits.examples(target, chosen)
        given.check(source)
        places = torch.from_numpy(rows.loc[chosen.index].to_numpy(np.int64, copy=True))
        return cls(visits, target, plain.rows, given=given, source=source, source_rows=places)

    def __getitem__(self, rows: Tensor | slice) -> Examples:
        assert self.source_rows is not None
        context = torch.cat([self._context(row) for row in self.source_rows[rows].tolist()])
        return replace(super().__getitem__(rows), context=context)

    def subset(self, rows: Tensor) -> ScanPairs:
        assert self.source_rows is not None
        return replace(self, rows=self.rows[rows], source_rows=self.source_rows[rows])

    def forget(self) -> None:
        super().forget()
        self.source_cache.clear()

    def digest(self) -> str:
        assert self.given is not None and self.source_rows is not None
        box = self.given.box.tensors()
        return digest(self.rows, self.source_rows, *self.visits.box.tensors().values(), box["mean"], box["sd"])

    def _context(self, row: int) -> Tensor:
        """The source scan of a row, ``[1, 1, *space]``, cached like the scans."""
        assert self.given is not None and self.source is not None
        if row in self.source_cache:
            return self.source_cache[row]
        image = standardised(self.given, self.source, np.array([row]))
        if len(self.source_cache) * image.nbytes < CACHE_BYTES:
            self.source_cache[row] = image
        return image


def _what(store: ScanStore) -> str:
    shape, size = (
        " x ".join(f"{n:g}" for n in numbers) for numbers in (store.info.grid.shape, store.info.grid.spacing)
    )
    return f"{store.info.modality} scans have {shape} voxels of {size} mm, {int(store.mask.sum()):,} in the mask"


def _first(visits: Visits) -> str:
    return ", ".join(f"{subject} {session}".strip() for subject, session in visits[KEY].head(3).to_numpy())
