"""What one visit is to a flow: its regions, or the grey levels of its scan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.data.examples import Examples
from crow.data.sequences import digest
from crow.errors import CohortError, RunError
from crow.representation.regions import RegionTable
from crow.representation.voxels import Voxels
from crow.run.cross_sectional_config import ImageSettings
from crow.scans.store import ScanStore

GREYS = 256
IN_MEMORY = 2**28  # bytes of grey levels that are kept; more are read again when a batch asks
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
Visits = pd.DataFrame
"""Rows of ``Cohort.visits``; those of a store have the row of its arrays as index."""


def cohort_of(data: Cohort | ScanStore) -> Cohort:
    """The visits behind a table or a store."""
    return data.cohort() if isinstance(data, ScanStore) else data


def alone(visits: Visits) -> Visits:
    """Every visit as a subject of its own, for what encodes sequences."""
    when = visits["time"].map("{:g}".format)
    return visits.assign(subject=visits["subject"] + " at " + when + " years", time=0.0)


class RegionInputs:
    """The regions of single visits, standardised: ``x [batch, region]``.

    Densities in original units are those of x less ``log_scale``. ``greys`` is None: values are continuous.
    """

    kind = "regions"
    greys: int | None = None

    def __init__(self, table: RegionTable) -> None:
        self.table = table

    @classmethod
    def fit(cls, cohort: Cohort, visits: Visits) -> RegionInputs:
        """Means and sds of training visits."""
        return cls(RegionTable.fit(without_covariates(replace(cohort, visits=visits), [])))

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.table.regions),)

    @property
    def log_scale(self) -> float:
        return self.table.log_scale

    def examples(
        self, data: Cohort | ScanStore, visits: Visits, context: Tensor | None = None, label: Tensor | None = None
    ) -> Examples:
        """Visits of a cohort; raises CohortError where a region is no column."""
        if isinstance(data, ScanStore):
            raise CohortError(f"{data.path}: scans; the run was trained on a table of regions. Give such a table.")
        where = data.path or "the cohort"
        self.table.require(visits, where)
        return Examples(self.table.encode(alone(visits), where).x[:, 0], context, label)

    def decode(self, x: Tensor) -> pd.DataFrame:
        """A row a visit of ``x: [visit, region]`` and a column a region, in original units."""
        return pd.DataFrame(self.table.decode(x), columns=self.table.regions)

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "table": self.table.model_dump()}

    def __repr__(self) -> str:
        return f"{len(self.table.regions)} regions"


class ScanInputs:
    """Scans of a store as images of 256 grey levels: ``x [batch, 1, *space]``, integers from 0 to 255.

    The image is the box of `Voxels`, or one slice of it (its place in the box along an axis). Grey level k stands for
    intensities from ``low + k width`` on; what lies outside the range gets the first or last level, what lies outside
    the brain level 0. Probabilities are those of grey levels.
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
        """The box and the range of training scans (between the .1 and 99.9 percent points of each), read one by one."""
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
                raise CohortError(f"images.position {settings.position:g}: no brain in that {settings.slice} slice.")
            cut = (axis, place)
        return cls(box, float(ends[:, 0].min()), float(ends[:, 1].max()), facts, cut)

    @property
    def width(self) -> float:
        """Of a grey level, in the store's intensities."""
        return (self.high - self.low) / GREYS

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which of the image's voxels are brain, ``[*space]``."""
        return self._cut(self.box.mask)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, *self.mask.shape)

    @property
    def affine(self) -> NDArray[np.float64]:
        """Of the image as three axes (that of a slice has one voxel across), voxels to mm of the store's space."""
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
        """Scans of a store; raises CohortError where its modality, grid or mask is another."""
        self.check(data)
        assert isinstance(data, ScanStore)
        rows = visits.index.to_numpy(np.int64, copy=True)
        return ScanExamples(self, data, torch.from_numpy(rows), context, label)

    def check(self, data: Cohort | ScanStore) -> None:
        """Raise CohortError unless ``data`` is a store like the one trained on."""
        if not isinstance(data, ScanStore):
            raise CohortError(
                f"{data.path or 'the cohort'}: the run was trained on {self.facts['modality']} scans. Give a store of "
                "such scans (crow prepare)."
            )
        if data.info.modality != self.facts["modality"]:
            raise CohortError(
                f"{data.path}: scans of modality {data.info.modality}; the run was trained on "
                f"{self.facts['modality']}. Give scans of that modality."
            )
        if data.info.grid.model_dump(mode="json") != self.facts["grid"]:
            raise CohortError(
                f"{data.path}: its grid {tuple(data.info.grid.shape)} is not the one trained on, "
                f"{tuple(self.facts['grid']['shape'])}, or lies elsewhere. Prepare the scans with the same resolution."
            )
        if not np.array_equal(data.mask, self.box.brain):
            raise CohortError(f"{data.path}: its brain mask is not the one trained on. Prepare the scans with that.")
        wanted, found = (settings.get("reference") for settings in (self.facts["settings"], data.info.settings))
        if wanted != found:
            raise CohortError(
                f"{data.path}: intensities are relative to {found or 'no region'}; those trained on to "
                f"{wanted or 'no region'}. Prepare the scans with the same --reference."
            )

    def encode(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Grey levels ``[n, 1, *space]``."""
        out = np.zeros((len(rows), *self.shape), np.uint8)
        for k, row in enumerate(rows):
            image = self._cut(self.box.read(store, int(row)))
            out[k, 0] = np.clip((image - self.low) / self.width, 0, GREYS - 1) * self.mask
        return out

    def decode(self, x: Tensor) -> NDArray[np.float32]:
        """Intensities of the store ``[*batch, X, Y, Z]`` on the grid of ``affine``, 0 outside the brain."""
        values = ((self.low + (x.numpy() + 0.5) * self.width) * self.mask).astype(np.float32)
        values = values.squeeze(-1 - len(self.mask.shape))
        return values if self.cut is None else np.expand_dims(values, values.ndim - 2 + self.cut[0])

    def tensors(self) -> dict[str, Tensor]:
        return self.box.tensors()

    def describe(self) -> dict[str, Any]:
        own = {"low": self.low, "high": self.high, "cut": self.cut, "facts": self.facts}
        return {"kind": self.kind, "box": self.box.describe(), **own}

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.mask.shape))
        what = "volumes" if self.cut is None else f"{list(AXES)[self.cut[0]]} slices"
        return f"{self.facts['modality']} {what} of {size}, {GREYS} grey levels"

    def _cut(self, volume: NDArray[Any]) -> NDArray[Any]:
        return volume if self.cut is None else np.take(volume, self.cut[1], self.cut[0])


def inputs_from_saved(tensors: dict[str, Tensor], facts: dict[str, Any]) -> RegionInputs | ScanInputs:
    """The inverse of ``tensors`` and ``describe``; raises RunError where they do not belong together."""
    if facts["kind"] == RegionInputs.kind:
        return RegionInputs(RegionTable.model_validate(facts["table"]))
    if facts["kind"] != ScanInputs.kind:
        raise RunError(f"The run models {facts['kind']!r}, which this crow does not know. Update.")
    cut = facts["cut"] and tuple(facts["cut"])
    return ScanInputs(Voxels.from_saved(tensors, facts["box"]), facts["low"], facts["high"], facts["facts"], cut)


@dataclass(frozen=True)
class ScanExamples:
    """Scans of a store, read into `Examples` when asked for; where all fit in little memory, once."""

    visits: ScanInputs
    store: ScanStore
    rows: Tensor
    context: Tensor | None = None
    label: Tensor | None = None
    kept: dict[int, NDArray[np.uint8]] = field(default_factory=dict, compare=False)

    in_memory = False

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def count(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Tensor | slice) -> Examples:
        def some(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[rows]

        x = torch.from_numpy(self._read(self.rows[rows].tolist())).float()
        return Examples(x, some(self.context), some(self.label))

    def subset(self, rows: Tensor) -> ScanExamples:
        """A part of them; nothing is read."""
        context, label = (None if t is None else t[rows] for t in (self.context, self.label))
        return replace(self, rows=self.rows[rows], context=context, label=label)

    def digest(self) -> str:
        """By which scans they are, and the box's means and sds, which hold something of every training scan."""
        box = self.visits.box.tensors()
        given = [torch.tensor([self.visits.low, self.visits.high, *(self.visits.cut or ())])]
        given += [t for t in (self.context, self.label) if t is not None]
        return digest(self.rows, box["mean"], box["sd"], *given)

    def _read(self, rows: list[int]) -> NDArray[np.uint8]:
        images = [self.kept[row] if row in self.kept else self._one(row) for row in rows]
        return np.stack(images)

    def _one(self, row: int) -> NDArray[np.uint8]:
        image = self.visits.encode(self.store, np.array([row]))[0]
        if len(self.kept) * image.nbytes < IN_MEMORY:
            self.kept[row] = image
        return image


def without_covariates(cohort: Cohort, keep: list[str], regions: bool = True) -> Cohort:
    """A cohort with some of its covariates (and the age, if ``keep`` has it), with or without its regions."""
    covariates = {name: kind for name, kind in cohort.schema.covariates.items() if name in keep}
    left = cohort.schema.regions if regions else []
    visits = cohort.visits if "age" in keep else cohort.visits.assign(age=np.nan)
    return replace(
        cohort, visits=visits, schema=cohort.schema.model_copy(update={"covariates": covariates, "regions": left})
    )
