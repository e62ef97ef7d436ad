"""Thin slices from thick ones: draws of the conditional flow over patches of scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from crow.data.examples import Examples
from crow.errors import ConfigError
from crow.flows.base import DiscreteFlow
from crow.flows.conditional_flow import ConditionalFlow, flow_of_greys, resized
from crow.memory import require_draws
from crow.models.base import FitOptions, Training
from crow.models.cross_sectional import CrossSectionalModel
from crow.representation.cross_sectional import GREYS, ScanInputs, Visits, cohort_of
from crow.representation.patches import corners, cut, side, store_of
from crow.representation.thick_slices import AXES, Slices, ThickScan
from crow.run.cross_sectional_config import EnhanceConfig, ImageSettings
from crow.scans.store import ScanStore
from crow.seeds import SeedStream, derived_seed

Volume = NDArray[np.float32]
MIN_SLICES = 2  # thick slices that a scan is cut into at least


class Enhancer(CrossSectionalModel):
    """p(thin slices | thick slices) of scans in 256 grey levels, by the conditional flow of what interpolation misses.

    The training scans are thin, and their means of ``factor`` slices are the thick ones. Training sees patches of
    `images.size` voxels along an axis. Nothing in the flow depends on the size, so that `sample` draws a whole volume:
    neighbouring slices of a draw belong together. Its networks are applied block by block.

    Attributes
    ----------
    inputs
        How grey levels represent a scan, and the box around the brain.
    factor, axis
        How many thin slices make a thick one, and along which axis.

    Examples
    --------
    >>> import crow
    >>> store = crow.ScanStore.open("t1w")
    >>> training = {"max_epochs": 1, "steps_per_epoch": 2}  # to be quick: the defaults train until nothing improves
    >>> model = crow.Enhancer(seed=1, training=training, images={"size": 4}).fit(store, factor=2, axis="z")
    >>> thick = store.array("intensity")[0][:, :, :4]
    >>> thick.shape, model.sample(thick, n=3, seed=1).shape
    ((8, 10, 4), (3, 8, 10, 8))
    """

    kind = command = "enhance"
    uses_scans = True
    config: EnhanceConfig
    inputs: ScanInputs

    def fit(
        self,
        data: ScanStore,
        factor: int = 2,
        axis: str = "z",
        out: str | Path | None = None,
        **options: Unpack[FitOptions],
    ) -> Enhancer:
        """Train on the thin scans of a store.

        Parameters
        ----------
        data
            Prepared scans.
        factor, axis
            How many thin slices make a thick one, and along which axis (x, y or z).
        out
            Where to write a run folder; nothing is written if it is None.
        **options
            `crow.models.base.FitOptions`.

        Raises
        ------
        ConfigError
            For a factor or a patch size that does not fit the scans.
        CohortError
            If there is nothing to learn from.
        OutputError
            If ``out`` exists already.
        """
        size = side(self.config)
        self.slices = slices_of(factor, axis)
        store = store_of(data)
        training = Training.at(out, **options)
        _, visits = self.training_visits(store)
        grid = store.info.grid.shape
        if min(grid) < size or grid[self.slices.axis] < MIN_SLICES * factor:
            what = f"patches of {size} and thick slices of {factor}"
            raise ConfigError(f"{store.path}: scans of {' x '.join(map(str, grid))} voxels are too small for {what}.")
        self.inputs = ScanInputs.fit(store, visits, ImageSettings(size=None), self.config.flow.levels)
        examples, subject = self._patches(store, visits, size)
        training.echo(
            f"training enhance on {len(examples):,} patches of {size} voxels from {len(visits)} {store.info.modality} "
            f"scans of {visits['subject'].nunique()} subjects: {factor} thin slices from a thick one along {axis}"
        )
        fit = self.train_flow(examples, subject, training)
        bits = fit.validation_loss / (size**3 * np.log(2))
        self.metrics = {"validation_loss": fit.validation_loss, "validation_bits_per_dim": bits, "epoch": fit.epoch,
                        "visits": len(visits)}  # fmt: skip
        return self.finish(training)

    @torch.no_grad()
    def sample(self, thick: Volume, n: int = 1, seed: int = 0) -> Volume:
        """``[n, X, Y, Z]`` thin slices given ``thick [X, Y, Z]`` (right, forward, up), in prepared intensities.

        The mean of each draw over a thick slice is that slice.
        """
        flow, multiple = self.fitted(), 2**self.config.flow.levels
        context, start = self._context(thick)
        x, y, z = start.shape
        require_draws(n, start.shape, "a scan")
        full = tuple(-(-size // multiple) * multiple for size in start.shape)
        missing = [(0, size - known) for size, known in zip(full, start.shape, strict=True)]
        given = _tensor(np.pad(context, [(0, 0), *missing], mode="edge"))[None]
        generator = torch.Generator().manual_seed(seed)
        draws, between = np.empty((n, x, y, z), np.float32), self.slices.interpolated(thick)
        whole = resized(flow, *full)
        for k in range(n):  # one by one: a volume may fill the memory
            above = whole.sample(given, 1, generator)[0, 0, 0, :x, :y, :z].numpy() - GREYS
            thin: Volume = (above * self.inputs.width + between).astype(np.float32)
            draws[k] = self.slices.consistent(thin[None], thick)[0]
        return draws

    def enhance(self, scan: str | Path, n: int = 16, seed: int = 0) -> tuple[ThickScan, Volume]:
        """A file of thick slices, and ``n`` draws of its thin ones (see `ThickScan.thin`).

        Raises ScanError for a scan of another modality or of voxels of other sizes than those learned.
        """
        thick = ThickScan.open(Path(scan), self.slices, self.inputs.facts)
        return thick, self.sample(thick.values, n, seed)

    @torch.no_grad()
    def log_prob(self, data: ScanStore) -> pd.DataFrame:
        """Log-density of each scan's grey levels in the box around the brain, given its own means over thick slices.

        ``subject, session, time, log_prob`` (nats, a lower bound, dequantised with seed 0).
        """
        store = store_of(data)
        self.inputs.check(store)
        visits, box = cohort_of(store).visits, self.inputs.box
        corner = np.array(box.corner)
        corner[self.slices.axis] = corner[self.slices.axis] // self.slices.factor * self.slices.factor
        flow, nats = resized(self.fitted(), *box.mask.shape), []
        with torch.random.fork_rng():
            for row in visits.index:
                torch.manual_seed(0)
                x, context = _patch(*self._seen(store, int(row)), corner, box.mask.shape)
                nats.append(float(flow.log_prob(x[None], context[None])))
        return visits[["subject", "session", "time"]].assign(log_prob=nats)

    def fitted(self) -> DiscreteFlow:
        flow = super().fitted()
        assert isinstance(flow, DiscreteFlow)
        return flow

    def build(self) -> DiscreteFlow:
        settings, size = self.config.flow, side(self.config)
        flow = ConditionalFlow((1, size, size, size), 3, settings.levels, settings.depth, settings.hidden)
        return flow_of_greys(flow, 2 * GREYS, self.config.dequantisation == "variational")

    def describe_more(self) -> dict[str, Any]:
        return {"factor": self.slices.factor, "axis": AXES[self.slices.axis]}

    def restore_more(self, description: dict[str, Any]) -> None:
        self.slices = slices_of(description["factor"], description["axis"])

    def _patches(self, store: ScanStore, visits: Visits, size: int) -> tuple[Examples, pd.Series]:
        """Patches around the brain of every scan, at places that the seed decides, and whose they are."""
        step = [1, 1, 1]
        step[self.slices.axis] = self.slices.factor
        parts: list[tuple[Tensor, Tensor]] = []
        subjects: list[str] = []
        for row, subject in visits["subject"].items():
            x, context = self._seen(store, int(row))  # type: ignore[call-overload]
            rng = np.random.default_rng(derived_seed(self.config.seed, SeedStream.PATCHES, int(row)))  # type: ignore[call-overload]
            where = store.mask[: x.shape[1], : x.shape[2], : x.shape[3]]
            for corner in corners(where, size, len(visits), rng, tuple(step)):  # type: ignore[arg-type]
                parts.append(_patch(x, context, corner, (size, size, size)))
                subjects.append(subject)
        x_all, contexts = (torch.stack(each) for each in zip(*parts, strict=True))
        return Examples(x_all, contexts), pd.Series(subjects)

    def _seen(self, store: ScanStore, row: int) -> tuple[Volume, Volume]:
        """The target of the flow, ``[1, X, Y, Z]``, and its context, ``[3, X, Y, Z]``.

        The first is by how many grey levels a voxel is above interpolation, plus 256.
        """
        image: Volume = np.asarray(store.array("intensity")[row])
        context, start = self._context(self.slices.thick(image))
        x, y, z = start.shape
        above = self._grey(image[:x, :y, :z]) - start + GREYS
        return above[None], context

    def _context(self, thick: Volume) -> tuple[Volume, Volume]:
        """The input of the flow ``[3, X, Y, Z]``, and the grey levels of interpolation ``[X, Y, Z]``.

        The input is thin slices by interpolation and the thick ones, from -0.5 to 0.5 over the range of greys, and the
        place within a thick slice.
        """
        between, around = self.slices.interpolated(thick), self.slices.repeated(thick)
        levels = [np.clip((v - self.inputs.low) / (GREYS * self.inputs.width), 0, 1) - 0.5 for v in (between, around)]
        return np.stack([*levels, self.slices.places(around.shape)]).astype(np.float32), self._grey(between)

    def _grey(self, values: Volume) -> Volume:
        level = np.clip(np.floor((values - self.inputs.low) / self.inputs.width), 0, GREYS - 1)
        return level.astype(np.float32)


def slices_of(factor: int, axis: str) -> Slices:
    """Raises ConfigError for values that make no thick slices."""
    if axis not in AXES:
        raise ConfigError(f"--axis {axis}: choose x (left to right), y (back to front) or z (down to up).")
    if not 2 <= factor <= 8:
        raise ConfigError(f"--factor {factor}: out of range; a thick slice is made of 2 to 8 thin ones.")
    return Slices(AXES.index(axis), factor)


def _patch(x: Volume, context: Volume, corner: NDArray[np.int64], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Beyond the volume there is nothing that interpolation misses."""
    return _tensor(cut(x - GREYS, corner, shape) + GREYS), _tensor(cut(context, corner, shape))


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
