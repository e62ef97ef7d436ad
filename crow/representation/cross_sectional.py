"""Inputs of cross-sectional flows: the regions of a visit, or the grey levels of its scan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, FiniteFloat, model_validator
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.data.examples import Examples
from crow.data.sequences import digest
from crow.errors import CohortError, RunError
from crow.representation.regions import RegionTable
from crow.representation.voxels import Voxels
from crow.run.cross_sectional_config import ImageSettings
from crow.scans.compatibility import require_same_mask, require_same_preparation
from crow.scans.grid import Grid
from crow.scans.store import ScanStore

GREYS = 256
CACHE_BYTES = 2**28  # of grey levels in memory; further scans are read again for each batch
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
Visits = pd.DataFrame
"""Rows of ``Cohort.visits``; for a store, the index is the row in its arrays."""


def cohort_of(data: Cohort | ScanStore) -> Cohort:
    """The cohort of a table or a store."""
    return data.cohort() if isinstance(data, ScanStore) else data


def as_separate_subjects(visits: Visits) -> Visits:
    """Every visit as a subject of its own, for encoders of sequences."""
    when = visits["time"].map("{:g}".format)
    return visits.assign(subject=visits["subject"] + " at " + when + " years", time=0.0)


class RegionInputs:
    """The standardised regions of single visits, ``x [batch, region]``, as the input of a cross-sectional flow.

    Parameters
    ----------
    table : RegionTable
        Means and standard deviations of the regions.

    Attributes
    ----------
    greys : None
        Values are continuous, not grey levels.
    log_scale : float
        Subtract it from a log-density of x to have that in original units.

    Examples
    --------
    >>> inputs = RegionInputs.fit(cohort, cohort.visits)  # doctest: +SKIP
    >>> x = inputs.examples(cohort, cohort.visits).x  # [visit, region]  # doctest: +SKIP
    >>> inputs.decode(x)  # a DataFrame in original units  # doctest: +SKIP
    """

    kind = "regions"
    greys: int | None = None

    def __init__(self, table: RegionTable) -> None:
        self.table = table

    @classmethod
    def fit(cls, cohort: Cohort, visits: Visits) -> RegionInputs:
        """Means and standard deviations of the training visits."""
        return cls(RegionTable.fit(without_covariates(replace(cohort, visits=visits), [])))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one visit."""
        return (len(self.table.regions),)

    @property
    def log_scale(self) -> float:
        """Sum of the log standard deviations."""
        return self.table.log_scale

    def examples(
        self, data: Cohort | ScanStore, visits: Visits, context: Tensor | None = None, label: Tensor | None = None
    ) -> Examples:
        """Encode the visits of a cohort; raises CohortError for a store and for a missing region."""
        if isinstance(data, ScanStore):
            raise CohortError(
                f"{data.path}: a store of scans; the run was trained on a table of regions. Use such a table."
            )
        where = data.path or "the cohort"
        self.table.require(visits, where)
        return Examples(self.table.encode(as_separate_subjects(visits), where).x[:, 0], context, label)

    def decode(self, x: Tensor) -> pd.DataFrame:
        """Original units of ``x [visit, region]``: one row per visit, one column per region."""
        return pd.DataFrame(self.table.draws(x), columns=self.table.regions)

    def tensors(self) -> dict[str, Tensor]:
        """Tensors for model.safetensors."""
        return {}

    def describe(self) -> dict[str, Any]:
        """JSON values for model.json."""
        return {"kind": self.kind, "table": self.table.model_dump()}

    def __repr__(self) -> str:
        return f"{len(self.table.regions)} regions"


class ScanInputs:
    """Scans of a store as images of 256 grey levels, ``x [batch, 1, *space]`` (integers from 0 to 255).

    The image is the box of `Voxels`, or one slice of it. Grey level k covers the intensities from ``low + k width`` to
    ``low + (k + 1) width``; values out of range get the first or last level, voxels outside the brain level 0.
    Probabilities refer to grey levels.

    Parameters
    ----------
    box : Voxels
        The voxels of the brain, at their own or a lower resolution.
    low, high : float
        Range of the grey levels, in the store's intensities.
    facts : dict
        `StoreInfo` of the training store as JSON values.
    cut : tuple of int, optional
        Axis and index of the slice in the box; None for volumes.

    Examples
    --------
    >>> inputs = ScanInputs.fit(store, store.cohort().visits, ImageSettings(size=32), levels=2)  # doctest: +SKIP
    >>> levels = inputs.encode(store, store.rows[:4])  # [4, 1, x, y, z]  # doctest: +SKIP
    >>> volumes = inputs.decode(torch.from_numpy(levels).float())  # intensities  # doctest: +SKIP
    """

    kind = "scans"
    greys: int | None = GREYS
    log_scale = 0.0

    def __init__(
        self, box: Voxels, low: float, high: float, facts: dict[str, Any], cut: tuple[int, int] | None
    ) -> None:
        self.box, self.low, self.high, self.facts, self.cut = box, low, high, facts, cut

    @classmethod
    def fit(cls, store: ScanStore, visits: Visits, settings: ImageSettings, levels: int) -> ScanInputs:
        """The box and the intensity range (0.1 to 99.9 % of each scan) of the training scans, read one at a time.

        Raises CohortError if the chosen slice has no brain, or the scans do not differ.
        """
        rows = visits.index.to_numpy()
        box = Voxels.fit(store, rows, settings.size, levels)
        ends = np.array([np.percentile(box.read(store, int(row))[box.mask], [0.1, 99.9]) for row in rows])
        facts = store.info.model_dump(mode="json", exclude={"cohort_path", "cohort_schema"})
        cut = None
        if settings.slice is not None:
            axis = AXES[settings.slice]
            spacing, origin = store.info.grid.matrix[axis, axis], store.info.grid.matrix[axis, 3]
            place = int(np.floor(((settings.position - origin) / spacing - box.corner[axis] + 0.5) / box.factor))
            if not 0 <= place < box.mask.shape[axis] or not np.take(box.mask, place, axis).any():
                raise CohortError(
                    f"images.position {settings.position:g}: no brain in that {settings.slice} slice. Choose another "
                    "position."
                )
            cut = (axis, place)
        return cls(box, float(ends[:, 0].min()), float(ends[:, 1].max()), facts, cut)

    @property
    def width(self) -> float:
        """Width of a grey level, in the store's intensities."""
        return (self.high - self.low) / GREYS

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Brain mask of the image, ``[*space]``."""
        return self._cut(self.box.mask)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one visit."""
        return (1, *self.mask.shape)

    @property
    def affine(self) -> NDArray[np.float64]:
        """Affine ``[4, 4]`` of the image (a slice has one voxel along its axis) to mm in the store's space."""
        start = np.array(self.box.corner, float) + (self.box.factor - 1) / 2
        if self.cut is not None:
            start[self.cut[0]] += self.box.factor * self.cut[1]
        box = np.diag([*[float(self.box.factor)] * 3, 1.0])
        box[:3, 3] = start
        grid = np.array(self.facts["grid"]["affine"])
        affine: NDArray[np.float64] = grid @ box
        return affine

    def examples(
        self, data: Cohort | ScanStore, visits: Visits, context: Tensor | None = None, label: Tensor | None = None
    ) -> ScanExamples:
        """The scans of a store, read on demand; raises CohortError if the store does not fit the training scans."""
        self.check(data)
        assert isinstance(data, ScanStore)
        rows = visits.index.to_numpy(np.int64, copy=True)
        return ScanExamples(self, data, torch.from_numpy(rows), context, label)

    def check(self, data: Cohort | ScanStore) -> None:
        """Raise CohortError unless ``data`` is a store that was prepared like the training scans."""
        if not isinstance(data, ScanStore):
            raise CohortError(
                f"{data.path or 'the cohort'}: the run was trained on {self.facts['modality']} scans. Use a store of "
                "such scans (crow prepare)."
            )
        require_same_preparation(data, self.facts)
        require_same_mask(data, self.box.brain)

    def encode(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Grey levels ``[n, 1, *space]``."""
        out = np.zeros((len(rows), *self.shape), np.uint8)
        for k, row in enumerate(rows):
            image = self._cut(self.box.read(store, int(row)))
            out[k, 0] = np.clip((image - self.low) / self.width, 0, GREYS - 1) * self.mask
        return out

    def decode(self, x: Tensor) -> NDArray[np.float32]:
        """Intensities ``[*batch, X, Y, Z]`` of grey levels, on the grid of ``affine``; 0 outside the brain."""
        values = ((self.low + (x.numpy() + 0.5) * self.width) * self.mask).astype(np.float32)
        values = values.squeeze(-1 - len(self.mask.shape))
        return values if self.cut is None else np.expand_dims(values, values.ndim - 2 + self.cut[0])

    def tensors(self) -> dict[str, Tensor]:
        """Tensors for model.safetensors."""
        return self.box.tensors()

    def describe(self) -> dict[str, Any]:
        """JSON values for model.json."""
        own = {"low": self.low, "high": self.high, "cut": self.cut, "facts": self.facts}
        return {"kind": self.kind, "box": self.box.describe(), **own}

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.mask.shape))
        what = "volumes" if self.cut is None else f"{list(AXES)[self.cut[0]]} slices"
        return f"{self.facts['modality']} {what} of {size}, {GREYS} grey levels"

    def _cut(self, volume: NDArray[Any]) -> NDArray[Any]:
        return volume if self.cut is None else np.take(volume, self.cut[1], self.cut[0])


def inputs_from_saved(tensors: dict[str, Tensor], facts: dict[str, Any]) -> RegionInputs | ScanInputs:
    """The inverse of ``tensors`` and ``describe``; raises RunError if they do not fit each other."""
    if facts["kind"] == RegionInputs.kind:
        return RegionInputs(RegionTable.model_validate(facts["table"]))
    if facts["kind"] != ScanInputs.kind:
        raise RunError(f"The run models {facts['kind']!r}, which this version of crow does not support. Update crow.")
    saved, box = _Saved.model_validate(facts), Voxels.from_saved(tensors, facts["box"])
    if saved.cut is not None and not (
        0 <= saved.cut[0] < box.mask.ndim and 0 <= saved.cut[1] < box.mask.shape[saved.cut[0]]
    ):
        raise RunError("The slice of the run lies outside its volume. Restore the run or train again.")
    return ScanInputs(box, saved.low, saved.high, facts["facts"], saved.cut)


class _Facts(BaseModel):
    """What a run keeps of the store of its training."""

    modality: str
    grid: Grid
    settings: dict[str, Any]


class _Saved(BaseModel):
    """`ScanInputs.describe`: a run of a stranger may have anything here."""

    low: FiniteFloat
    high: FiniteFloat
    cut: tuple[int, int] | None
    facts: _Facts

    @model_validator(mode="after")
    def _has_a_range(self) -> _Saved:
        if not self.low < self.high:
            raise ValueError("the lowest grey level has to be below the highest")
        return self


@dataclass(frozen=True)
class ScanExamples:
    """Scans of a store, read into `Examples` on demand and cached up to `CACHE_BYTES`."""

    visits: ScanInputs
    store: ScanStore
    rows: Tensor
    context: Tensor | None = None
    label: Tensor | None = None
    cache: dict[int, NDArray[np.uint8]] = field(default_factory=dict, compare=False)

    in_memory = False

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def count(self) -> int:
        """Number of visits."""
        return len(self.rows)

    def __getitem__(self, rows: Tensor | slice) -> Examples:
        def select(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[rows]

        x = torch.from_numpy(self._read(self.rows[rows].tolist())).float()
        return Examples(x, select(self.context), select(self.label))

    def subset(self, rows: Tensor) -> ScanExamples:
        """The examples at positions ``rows``; no scan is read."""
        context, label = (None if t is None else t[rows] for t in (self.context, self.label))
        return replace(self, rows=self.rows[rows], context=context, label=label)

    def forget(self) -> None:
        """Free the memory of the scans that were read."""
        self.cache.clear()

    def digest(self) -> str:
        """A digest of the rows and of the box's means and sds, which depend on every training scan."""
        box = self.visits.box.tensors()
        given = [torch.tensor([self.visits.low, self.visits.high, *(self.visits.cut or ())])]
        given += [t for t in (self.context, self.label) if t is not None]
        return digest(self.rows, box["mean"], box["sd"], *given)

    def _read(self, rows: list[int]) -> NDArray[np.uint8]:
        images = [self.cache[row] if row in self.cache else self._read_row(row) for row in rows]
        return np.stack(images)

    def _read_row(self, row: int) -> NDArray[np.uint8]:
        image = self.visits.encode(self.store, np.array([row]))[0]
        if len(self.cache) * image.nbytes < CACHE_BYTES:
            self.cache[row] = image
        return image


def without_covariates(cohort: Cohort, keep: list[str], regions: bool = True) -> Cohort:
    """A cohort with the covariates in ``keep`` only (``age`` counts as one), with or without its regions."""
    covariates = {name: kind for name, kind in cohort.schema.covariates.items() if name in keep}
    left = cohort.schema.regions if regions else []
    visits = cohort.visits if "age" in keep else cohort.visits.assign(age=np.nan)
    return replace(
        cohort, visits=visits, schema=cohort.schema.model_copy(update={"covariates": covariates, "regions": left})
    )
