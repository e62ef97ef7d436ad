"""Masks of a structure: probabilities and many likely masks, from the conditional flow of binary images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Unpack

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from scipy import ndimage
from torch import Tensor

from crow.data.examples import Examples
from crow.data.mask_scores import calibration_error, dice
from crow.errors import CohortError, RunError, ScanError
from crow.extras import extra
from crow.flows.conditional_flow import flow_of_masks, resized
from crow.flows.mask_flow import MaskFlow
from crow.memory import require_draws
from crow.models.base import MIN_SUBJECTS, Echo, FitOptions, Training
from crow.models.cross_sectional import CrossSectionalModel
from crow.representation.cross_sectional import GREYS, ScanInputs, cohort_of
from crow.representation.masks import Mask, around_masks, find_masks, read_mask
from crow.representation.patches import corners, cut, paste, side, store_of
from crow.representation.scan_space import ScanSpace
from crow.run.cross_sectional_config import ImageSettings
from crow.scans.grid import MAX_SIZE
from crow.scans.store import ScanStore
from crow.seeds import SeedStream, derived_seed
from crow.training.calibrate import SHIFT_POWERS, SHIFT_SDS, MaskCase, calibrate_volumes

with extra("scans"):
    import nibabel as nib

Volume = NDArray[np.float32]
AT_ONCE = 2**19  # voxels of draws computed together
EARLIER_SHIFTS = 9  # of runs of earlier versions
SHIFT, POWER = "shift_sd", "shift_power"  # in the run: those of `MaskFlow`; runs of earlier versions lack one or both
MAX_REASONS, ALL_BAD = 3, 20  # reasons that are shown; unusable masks after which a training ends if none was usable
SCANS_SCORED, DRAWS_SCORED = 20, 16
"""How many validation scans, and draws of each, the metrics of a run are computed from."""
Corner = Annotated[int, Field(ge=-MAX_SIZE, le=MAX_SIZE)]
Side = Annotated[int, Field(ge=1, le=2 * MAX_SIZE)]


@dataclass(frozen=True)
class Segmentation:
    """A scan's mask in the scan's own space.

    Attributes
    ----------
    scan
        The scan itself.
    probability
        ``[X, Y, Z]``, from 0 to 1.
    masks
        Draws ``[n, X, Y, Z]``.
    volumes
        ``[n]``, mm3: of the draws before they are cut to whole voxels of the scan.
    """

    scan: nib.Nifti1Image
    probability: Volume
    masks: Mask
    volumes: NDArray[np.float64]


class _Box(BaseModel):
    """`Segmenter.describe_more`: a run of a stranger may have anything here."""

    label: int | None
    corner: tuple[Corner, Corner, Corner]
    shape: tuple[Side, Side, Side]


class Segmenter(CrossSectionalModel):
    """p(mask | scan) of one structure, by the conditional flow, whose draws are whole masks.

    Training sees patches of `images.size` voxels along an axis. The context is the grey levels, and how often the
    training masks of other subjects hold a voxel. The model covers the box around all training masks and some
    voxels more, at the store's resolution. The box is drawn as a whole: voxels of a draw belong together, so that the
    spread of the draws' volumes is the uncertainty of the volume. The validation subjects calibrate this spread
    (`crow.training.calibrate.calibrate_volumes`).

    Attributes
    ----------
    inputs
        How grey levels represent a scan, and the box that the model covers.

    Examples
    --------
    >>> import crow
    >>> store = crow.ScanStore.open("store")
    >>> training = {"max_epochs": 1, "steps_per_epoch": 2}  # to be quick: the defaults train until nothing improves
    >>> model = crow.Segmenter(seed=1, training=training, images={"size": 4}).fit(store, "masks")
    >>> result = model.segment(store, row=0, n=5)
    >>> result.masks.shape[0], result.volumes.shape
    (5, (5,))
    """

    kind = command = "segment"
    uses_scans = True
    inputs: ScanInputs

    def fit(
        self,
        data: ScanStore,
        masks: str | Path,
        label: int | None = None,
        out: str | Path | None = None,
        **options: Unpack[FitOptions],
    ) -> Segmenter:
        """Train on the scans of a store that have a mask.

        Parameters
        ----------
        data
            Prepared scans.
        masks
            A folder of masks or label images, each in the space of its scan's file.
        label
            The value of the structure in label images; every value above 0 if it is None.
        out
            Where to write a run folder; nothing is written if it is None.
        **options
            `crow.models.base.FitOptions`.

        Raises
        ------
        CohortError
            If there is nothing to learn from, with the reasons if masks cannot be used.
        OutputError
            If ``out`` exists already.
        """
        size = side(self.config)
        store = store_of(data)
        training = Training.at(out, **options)
        _, visits = self.training_visits(store)
        files = find_masks(store, visits, Path(masks))
        truth, bad = _read_masks(store, files, label)
        warn_of_left_out(bad, training.echo)
        visits, missing = visits.loc[list(truth)], len(visits) - len(truth) - len(bad)
        if (count := visits["subject"].nunique()) < MIN_SUBJECTS:
            reasons = "".join(f"\n  {reason}" for reason in bad[:MAX_REASONS])
            raise CohortError(
                f"{masks}: masks of {count} subjects; at least {MIN_SUBJECTS} are needed to learn from.{reasons}"
            )
        self.inputs = ScanInputs.fit(store, visits, ImageSettings(size=None), self.config.flow.levels)
        self.label = label
        self._look(store, truth, size)
        examples, subject = self._patches(store, visits["subject"], truth, size)
        training.echo(
            f"training segment on {len(examples):,} patches of {size} voxels from {len(visits)} {store.info.modality} "
            f"scans of {count} subjects ({missing} scans have no mask), in a box of {' x '.join(map(str, self.shape))}"
        )
        fit = self.train_flow(examples, subject, training)
        self.metrics = {"validation_loss": fit.validation_loss, "epoch": fit.epoch, "visits": len(visits)}
        self.metrics |= {"subjects": count}
        self._calibrate_volumes(store, visits["subject"], truth, training.echo)
        self.metrics |= self._validation_scores(store, visits["subject"], truth)
        return self.finish(training)

    @torch.no_grad()
    def sample(self, data: ScanStore, row: int, n: int = 1, seed: int = 0) -> Mask:
        """``n`` masks of the scan in a row of the store, on the store's grid ``[n, X, Y, Z]``."""
        store, _ = store_of(data), self.fitted()
        self.inputs.check(store)
        return self._draw(store, row, self.extra["prior"].numpy(), n, seed) & self.extra["region"].numpy()

    def _draw(self, store: ScanStore, row: int, prior: Volume, n: int, seed: int) -> Mask:
        require_draws(n, store.info.grid.shape, "a mask")
        context = self._context(store, row, prior)[None]
        flow = resized(self.fitted(), *self.shape)
        generator = torch.Generator().manual_seed(derived_seed(seed, SeedStream.SEGMENTATION_DRAWS, row))
        step = max(1, AT_ONCE // int(np.prod(self.shape)))
        parts = [flow.sample(context, min(step, n - k), generator)[:, 0, 0] for k in range(0, n, step)]
        drawn: Mask = torch.cat(parts).numpy() > 0.5
        return paste(drawn, self.corner, store.info.grid.shape)

    def segment(self, data: ScanStore, row: int, n: int = 32, seed: int = 0) -> Segmentation:
        """`sample`, in the own space of the scan in a row of the store."""
        store = store_of(data)
        own = ScanSpace(store, row)
        require_draws(n, own.grid.shape, "a mask")
        drawn, outside = self.sample(store, row, n, seed), np.zeros((1, *own.grid.shape), np.float32)
        masks, volumes = np.empty((n, *own.grid.shape), bool), np.empty(n)
        for k in range(n):  # one by one: a scan in float32 may be as large as all masks
            placed = own.place(drawn[k : k + 1].astype(np.float32), outside.copy())[0]
            masks[k], volumes[k] = placed > 0.5, placed.sum(dtype=np.float64) * own.grid.voxel_volume
        probability = own.place(drawn.mean(0, dtype=np.float32)[None], outside)[0]
        return Segmentation(own.like, probability, masks, volumes)

    @torch.no_grad()
    def log_prob(self, data: ScanStore, masks: str | Path) -> pd.DataFrame:
        """Log-probability of each mask in a folder given its scan: ``subject, session, time, log_prob``.

        In nats, a lower bound by one draw of the noise, with seed 0. The calibrated spread is part of it. Voxels
        outside the box of training masks are left out.
        """
        store = store_of(data)
        self.inputs.check(store)
        visits = cohort_of(store).visits
        files = find_masks(store, visits, Path(masks))
        visits, nats, flow = visits.loc[files.index], [], resized(self.fitted(), *self.shape)
        with torch.random.fork_rng():
            for row, file in files.items():
                torch.manual_seed(0)
                mask = cut(read_mask(store, int(row), file, self.label), self.corner, self.shape)  # type: ignore[call-overload]
                context = self._context(store, int(row), self.extra["prior"].numpy())  # type: ignore[call-overload]
                nats.append(float(flow.log_prob(torch.from_numpy(mask).float()[None, None], context[None])))
        return visits[["subject", "session", "time"]].assign(log_prob=nats)

    def fitted(self) -> MaskFlow:
        flow = super().fitted()
        assert isinstance(flow, MaskFlow)
        return flow

    def build(self) -> MaskFlow:
        settings, size = self.config.flow, side(self.config)
        flow = flow_of_masks((1, size, size, size), 2, settings.levels, settings.depth, settings.hidden)
        flow.shift_sd, flow.shift_power = float(self.extra.get(SHIFT, 0.0)), float(self.extra.get(POWER, 1.0))
        if SHIFT in self.extra and POWER not in self.extra:
            flow.shift_count = EARLIER_SHIFTS
        return flow

    def describe_more(self) -> dict[str, Any]:
        return {"label": self.label, "corner": self.corner.tolist(), "shape": list(self.shape)}

    def restore_more(self, description: dict[str, Any]) -> None:
        box = _Box.model_validate(description)
        self.label, self.corner = box.label, np.array(box.corner)
        self.shape: tuple[int, ...] = box.shape
        grid = self.inputs.facts["grid"]["shape"]
        if any(tuple(self.extra[name].shape) != tuple(grid) for name in ("prior", "region")):
            raise RunError("The prior of the run is not on its grid. Restore the run or train again.")
        shift, power = self.extra.get(SHIFT, torch.zeros(())), self.extra.get(POWER, torch.ones(()))
        fits = shift.numel() == power.numel() == 1 and 0 <= float(shift) <= SHIFT_SDS[-1]
        if not fits or not SHIFT_POWERS[0] <= float(power) <= SHIFT_POWERS[-1]:
            raise RunError("The spread of the run's masks is out of range. Restore the run or train again.")

    def _look(self, store: ScanStore, truth: dict[int, NDArray[np.uint8]], size: int) -> None:
        """Where masks are: how often, and the box around them."""
        grid, multiple = store.info.grid.shape, 2**self.config.flow.levels
        total = sum((_unpacked(bits, grid).astype(np.float32) for bits in truth.values()), np.zeros(grid, np.float32))
        region = around_masks(total > 0)
        places = np.argwhere(region)
        low, extent = places.min(0), np.ptp(places, axis=0) + 1
        shape = np.maximum(-(-extent // multiple) * multiple, size)
        self.corner, self.shape = low - (shape - extent) // 2, tuple(int(n) for n in shape)
        self.extra = {"prior": _smooth(total / len(truth)), "region": torch.from_numpy(region)}

    def _patches(
        self, store: ScanStore, subjects: pd.Series, truth: dict[int, NDArray[np.uint8]], size: int
    ) -> tuple[Examples, pd.Series]:
        """Patches around the region of every scan, at places that the seed decides, and whose they are."""
        grid = store.info.grid.shape
        where = cut(self.extra["region"].numpy(), self.corner, self.shape)
        total = sum((_unpacked(bits, grid).astype(np.float32) for bits in truth.values()), np.zeros(grid, np.float32))
        parts: list[tuple[Tensor, Tensor]] = []
        whose: list[str] = []
        for subject, rows in subjects.groupby(subjects, sort=False):
            masks = {row: _unpacked(truth[row], grid) for row in rows.index}
            own = sum(mask.astype(np.float32) for mask in masks.values())
            others = _smooth((total - own) / (len(truth) - len(masks))).numpy()
            for row, mask in masks.items():
                context = self._context(store, row, others).numpy()
                inside = cut(mask, self.corner, self.shape)
                rng = np.random.default_rng(derived_seed(self.config.seed, SeedStream.PATCHES, row))
                for corner in corners(where, size, len(truth), rng):
                    y, given = (cut(each, corner, (size, size, size)) for each in (inside, context))
                    parts.append((torch.from_numpy(y[None].astype(np.float32)), torch.from_numpy(given)))
                    whose.append(str(subject))
        y_all, contexts = (torch.stack(each) for each in zip(*parts, strict=True))
        return Examples(y_all, contexts), pd.Series(whose)

    def _context(self, store: ScanStore, row: int, prior: Volume) -> Tensor:
        """``[2, *shape]`` in the box: grey levels from -0.5 to 0.5, and the log-odds of the prior from -0.5 to 0.5."""
        image: Volume = np.asarray(store.array("intensity")[row])
        level = np.clip((image - self.inputs.low) / (GREYS * self.inputs.width), 0, 1) - 0.5
        odds = np.log((prior + 0.01) / (1.01 - prior)) / (2 * np.log(101))
        return torch.from_numpy(cut(np.stack([level, odds]).astype(np.float32), self.corner, self.shape))

    def _calibrate_volumes(
        self, store: ScanStore, subjects: pd.Series, truth: dict[int, NDArray[np.uint8]], echo: Echo
    ) -> None:
        """Widen the draws until intervals of volumes contain those of validation subjects, one scan of each."""
        grid, (rows, prior, region) = store.info.grid.shape, self._validation_scans(store, subjects, truth)
        flow, inside = resized(self.fitted(), *self.shape), torch.from_numpy(cut(region, self.corner, self.shape))
        cases = (
            MaskCase(self._context(store, row, prior), inside, float((_unpacked(truth[row], grid) & region).sum()))
            for row in subjects.loc[rows].drop_duplicates().index
        )
        enough = calibrate_volumes(flow, cases, derived_seed(self.config.seed, SeedStream.SEGMENTATION_DRAWS))
        if missed := sum(not math.isfinite(sd) for sd in enough):
            echo(f"warning: no interval contains {missed} of {len(enough)} validation volumes; they are left out.")
        own = self.fitted()
        own.shift_as(flow)
        self.extra |= {SHIFT: torch.tensor(flow.shift_sd), POWER: torch.tensor(flow.shift_power)}

    def _validation_scans(
        self, store: ScanStore, subjects: pd.Series, truth: dict[int, NDArray[np.uint8]]
    ) -> tuple[list[int], Volume, Mask]:
        """Rows of the validation subjects, and what the masks of the others are like: how often, and around which."""
        grid, apart = store.info.grid.shape, self.validation(subjects)
        others = sum((_unpacked(truth[row], grid).astype(np.float32) for row in subjects.index[~apart]), np.zeros(grid))
        rows = [int(row) for row in subjects.index[apart][:SCANS_SCORED]]
        return rows, _smooth(others / (~apart).sum()).numpy(), around_masks(others > 0)

    def _validation_scores(
        self, store: ScanStore, subjects: pd.Series, truth: dict[int, NDArray[np.uint8]]
    ) -> dict[str, float]:
        """Overlap and calibration (around the masks) of the mean of draws, on scans of the validation subjects."""
        grid, (rows, prior, region) = store.info.grid.shape, self._validation_scans(store, subjects, truth)
        overlaps, p, y = [], [], []
        for row in rows:
            mask = _unpacked(truth[row], grid)
            mean = (self._draw(store, row, prior, DRAWS_SCORED, 0) & region).mean(0)
            overlaps.append(dice(mean > 0.5, mask))
            p.append(mean[region])
            y.append(mask[region])
        error = calibration_error(np.concatenate(p), np.concatenate(y))
        return {"validation_dice": float(np.mean(overlaps)), "validation_calibration_error": error}


def warn_of_left_out(bad: list[str], echo: Echo) -> None:
    """The first reasons why scans cannot be used, and how many there are."""
    for reason in bad[:MAX_REASONS]:
        echo(f"warning: {reason} This scan is left out.")
    if len(bad) > MAX_REASONS:
        echo(f"warning: {len(bad)} scans are left out; these are the first {MAX_REASONS}.")


def _read_masks(
    store: ScanStore, files: pd.Series, label: int | None
) -> tuple[dict[int, NDArray[np.uint8]], list[str]]:
    """The masks that can be used, packed, by row; and why others cannot. One that fails of many is left out."""
    truth: dict[int, NDArray[np.uint8]] = {}
    bad: list[str] = []
    for row, file in files.items():
        try:
            truth[int(row)] = np.packbits(read_mask(store, int(row), file, label))  # type: ignore[call-overload]
        except ScanError as error:
            bad.append(str(error))
            if len(bad) >= ALL_BAD and not truth:
                break
    return truth, bad


def _unpacked(bits: NDArray[np.uint8], grid: tuple[int, ...]) -> Mask:
    mask: Mask = np.unpackbits(bits, count=int(np.prod(grid))).reshape(grid).astype(bool)
    return mask


def _smooth(prior: NDArray[Any]) -> Tensor:
    """How often masks hold a voxel or its neighbours."""
    return torch.from_numpy(ndimage.gaussian_filter(prior.astype(np.float32), 1.0))
