"""Scans as the voxels of the brain, at their own or a lower resolution, read batch by batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from crow.data.sequences import Sequences, digest
from crow.errors import CohortError, RunError
from crow.representation.regions import RegionTable
from crow.scans.compatibility import require_same_mask
from crow.scans.store import ScanStore

Volume = NDArray[np.float32]
MIN_RELATIVE_SD = 0.1  # lower limit of a voxel's sd, relative to the median sd


class Voxels:
    """A two-way map between scans of a store and standardised volumes ``[1, x, y, z]`` over a box around the brain.

    A voxel of the box is the mean of the brain in ``factor^3`` voxels of the store, standardised by its mean and sd
    over training scans. It is in ``mask [x, y, z]`` if at least half of these voxels are brain, and 0 otherwise.
    ``corner`` is the store's voxel at the start of the box (negative if outside the grid). Per scan, over the voxels of
    ``mask`` and in the store's intensities, ``log p(values) = log p(x) + log_jacobian``.
    """

    kind = "voxels"

    def __init__(self, brain: NDArray[np.bool_], corner: tuple[int, ...], factor: int, mask: NDArray[np.bool_],
                 mean: Volume, sd: Volume) -> None:  # fmt: skip
        self.brain, self.corner, self.factor = brain, corner, factor
        self.mask, self.mean, self.sd = mask, mean, sd
        self._weight = self._block_means(brain.astype(np.float32))

    @classmethod
    def fit(cls, store: ScanStore, rows: NDArray[np.int64], size: int | None = 32, levels: int = 2) -> Voxels:
        """Means and sds of the training scans, read one at a time, on a box of at most ``size`` voxels along an axis.

        Voxels are averaged by a whole factor; without ``size`` they keep their resolution. The box's sizes are
        divisible by ``2^levels``. Raises CohortError if the mask is empty or the scans do not differ.
        """
        where = np.argwhere(store.mask)
        if not len(where) or len(rows) < 2:
            raise CohortError(
                f"{store.path}: {len(where)} voxels in the mask and {len(rows)} scans; at least 2 scans and a mask "
                "are needed."
            )
        low, extent = where.min(0), np.ptp(where, axis=0) + 1
        multiple = 2**levels
        factor = 1 if size is None else int(np.ceil(extent.max() / max(multiple, size // multiple * multiple)))
        shape = np.ceil(extent / (factor * multiple)).astype(int) * multiple
        corner = tuple(int(c) for c in low - (shape * factor - extent) // 2)
        flat = np.zeros(shape, np.float32)
        voxels = cls(store.mask, corner, factor, flat > 0, flat, flat + 1)
        voxels.mask = voxels._weight >= 0.5
        mean, square = np.zeros(shape), np.zeros(shape)
        for n, row in enumerate(rows, 1):
            x = voxels.read(store, row)
            step = x - mean
            mean += step / n
            square += step * (x - mean)
        sd = np.sqrt(square / (len(rows) - 1))
        typical = float(np.median(sd[voxels.mask])) if voxels.mask.any() else 0.0
        voxels.mask &= sd > 1e-4 * typical
        if not voxels.mask.any():
            raise CohortError(
                f"{store.path}: its {len(rows)} training scans are identical in the mask. Check the scans."
            )
        voxels.mean = np.where(voxels.mask, mean, 0).astype(np.float32)
        voxels.sd = np.where(voxels.mask, np.maximum(sd, MIN_RELATIVE_SD * typical), 1).astype(np.float32)
        return voxels

    @property
    def log_jacobian(self) -> float:
        """Add it to a log-density of x to have that of the store's intensities."""
        return -float(np.log(self.sd[self.mask], dtype=np.float64).sum())

    def encode(self, store: ScanStore, rows: NDArray[np.int64]) -> Volume:
        """Standardised volumes ``[n, 1, x, y, z]``, 0 outside the mask; raises CohortError for another mask."""
        require_same_mask(store, self.brain)
        out = np.zeros((len(rows), 1, *self.mask.shape), np.float32)
        for k, row in enumerate(rows):
            out[k, 0] = (self.read(store, row) - self.mean) / self.sd * self.mask
        return out

    def decode(self, x: Tensor) -> Volume:
        """Intensities ``[*batch, X, Y, Z]`` on the store's grid of ``x [*batch, 1, x, y, z]``; 0 outside the brain."""
        return self.spread(x * torch.from_numpy(self.sd) + torch.from_numpy(self.mean))

    def decode_change(self, change: Tensor) -> Volume:
        """Like `decode`, for the difference of two x: the difference of the scans' intensities."""
        return self.spread(change * torch.from_numpy(self.sd))

    def spread(self, values: Tensor) -> Volume:
        """Interpolate ``[*batch, 1, x, y, z]`` to the store's grid, ``[*batch, X, Y, Z]``; 0 outside the brain.

        Linear between the centres of the box's voxels in the mask.
        """
        *batch, _, _, _, _ = values.shape
        mask = torch.from_numpy(self.mask).float()
        finer = self._finer(values.float().reshape(-1, 1, *self.mask.shape) * mask)
        finer = finer / self._finer(mask[None, None]).clamp_min(1e-6)
        out = np.zeros((len(finer), *self.brain.shape), np.float32)
        inner, outer = self._overlap()
        out[:, *inner] = finer[:, 0].numpy()[:, *outer]
        return (out * self.brain).reshape(*batch, *self.brain.shape)

    def sequences(self, store: ScanStore, visits: pd.DataFrame, context: RegionTable) -> StoredSequences:
        """The visits of a store's cohort (index: row in its arrays) as sequences whose scans are read on demand.

        ``context`` encodes age and covariates and has no regions.
        """
        encoded = context.encode(visits, str(store.path))
        rows = torch.full(encoded.mask.shape, -1)
        rows[encoded.mask] = torch.from_numpy(visits.index.to_numpy(np.int64, copy=True))
        return StoredSequences(self, store, rows, encoded.context, encoded.time, encoded.mask)

    def tensors(self) -> dict[str, Tensor]:
        """Tensors for model.safetensors."""
        arrays = {"brain": self.brain, "mask": self.mask, "mean": self.mean, "sd": self.sd}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def describe(self) -> dict[str, Any]:
        """JSON values for model.json."""
        return {"kind": self.kind, "corner": list(self.corner), "factor": self.factor, "voxels": int(self.mask.sum())}

    @classmethod
    def from_saved(cls, tensors: dict[str, Tensor], description: dict[str, Any]) -> Voxels:
        """The inverse of `tensors` and `describe`; raises RunError if they do not fit each other."""
        try:
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            corner, factor = tuple(int(c) for c in description["corner"]), int(description["factor"])
            found = cls(arrays["brain"], corner, factor, arrays["mask"], arrays["mean"], arrays["sd"])
        except (KeyError, ValueError, TypeError, AttributeError):
            raise RunError("The run's voxels are damaged. Restore the folder.") from None
        if found.mean.shape != found.mask.shape or found.sd.shape != found.mask.shape:
            raise RunError("The run's voxel tensors do not fit each other. Restore the folder.")
        return found

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.mask.shape))
        voxels = f"{int(self.mask.sum()):,} voxels in a box of {shape}"
        return f"{voxels}, each the mean of {self.factor}^3 voxels of the store"

    def read(self, store: ScanStore, row: int) -> Volume:
        """Mean of the brain in every block of a scan, ``[x, y, z]``; 0 in blocks without brain."""
        image: Volume = np.asarray(store.array("intensity")[int(row)])
        means: Volume = (self._block_means(image * self.brain) / np.maximum(self._weight, 1e-6)).astype(np.float32)
        return means

    def _block_means(self, image: Volume) -> Volume:
        shape, f = self.mask.shape, self.factor
        box = np.zeros(tuple(f * size for size in shape), np.float32)
        inner, outer = self._overlap()
        box[outer] = image[inner]
        x, y, z = shape
        blocks: Volume = box.reshape(x, f, y, f, z, f).mean((1, 3, 5))
        return blocks

    def _overlap(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The overlap of box and grid: an index of the store's grid, and one of the box before averaging."""
        sizes = [self.factor * size for size in self.mask.shape]
        places = list(zip(self.corner, sizes, self.brain.shape, strict=True))
        inner = tuple(slice(max(c, 0), min(c + size, full)) for c, size, full in places)
        outer = tuple(slice(part.start - c, part.stop - c) for part, c in zip(inner, self.corner, strict=True))
        return inner, outer

    def _finer(self, x: Tensor) -> Tensor:
        if self.factor == 1:
            return x
        return functional.interpolate(x, scale_factor=float(self.factor), mode="trilinear", align_corners=False)


@dataclass(frozen=True)
class StoredSequences:
    """Sequences of a store's subjects; indexing reads the scans of a batch into `Sequences`.

    ``places [batch, time]``: rows of the store's arrays, -1 for padding; ``context``, ``time`` and ``mask`` as in
    `Sequences`.
    """

    voxels: Voxels
    store: ScanStore
    places: Tensor
    context: Tensor
    time: Tensor
    mask: Tensor

    in_memory = False

    def __len__(self) -> int:
        return len(self.places)

    @property
    def count(self) -> int:
        """Number of visits."""
        return int(self.mask.sum())

    def __getitem__(self, rows: Tensor | slice) -> Sequences:
        """The subjects at positions ``rows``, cut to their longest sequence."""
        chosen = self.rows(rows)
        length = max(1, int(chosen.mask.sum(1).max()))
        places, context, time, mask = (v[:, :length] for v in (chosen.places, chosen.context, chosen.time, chosen.mask))
        x = torch.zeros(*mask.shape, 1, *self.voxels.mask.shape)
        x[mask] = torch.from_numpy(self.voxels.encode(self.store, places[mask].numpy()))
        return Sequences(x, context, time, mask)

    def rows(self, rows: Tensor | slice) -> StoredSequences:
        """The subjects at positions ``rows``, with all columns; no scan is read."""
        parts = {name: getattr(self, name)[rows] for name in ("places", "context", "time", "mask")}
        return replace(self, **parts)

    def digest(self) -> str:
        """A digest of rows, times and the voxels' means and sds, which depend on every training scan."""
        voxels = self.voxels.tensors()
        return digest(self.places, self.context, self.time, self.mask, voxels["mean"], voxels["sd"])
