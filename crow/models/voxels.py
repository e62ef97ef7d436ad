"""CRow for voxels: a convolutional recurrent flow of whole volumes, for a GPU or small volumes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, Unpack

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import Future, check_future, future_visits, without_carried
from crow.cohort.split import validation_folds
from crow.data.forecast import Forecast
from crow.data.sequences import Sequences
from crow.errors import ConfigError
from crow.flows.crow import map_state
from crow.flows.voxels import VoxelFlow, VoxelState
from crow.memory import require_draws
from crow.models.base import FitOptions, Training
from crow.models.follow_up import FollowUpModel
from crow.representation.follow_up import FollowUp, Volume
from crow.representation.regions import RegionTable
from crow.representation.residual_patches import check_patch
from crow.representation.scan_space import ScanSpace
from crow.representation.voxels import StoredSequences, Voxels
from crow.scans.cohort import store_cohort
from crow.scans.store import ScanStore
from crow.training.build import resolve
from crow.training.fit import train
from crow.training.members import seeded

SUBJECTS, DRAWS, VOXELS = 4, 16, 2**19  # computed at once: so many subjects or draws, and so many of their voxels
MOMENT = 1e-3  # years


class VoxelModel(FollowUpModel):
    """The conditional recurrent flow of a cohort's scans, voxel by voxel, over a box of their brain voxels.

    Attributes
    ----------
    voxels
        The two-way map between scans and volumes.
    table
        Encodes age and covariates.

    Examples
    --------
    >>> import crow
    >>> store = crow.ScanStore.open("store")
    >>> training = {"max_epochs": 1, "steps_per_epoch": 2}  # to be quick: the defaults train until nothing improves
    >>> scans = {"representation": "voxels", "voxels": {"size": None, "levels": 1, "depth": 2, "hidden": 4}}
    >>> model = crow.VoxelModel(seed=1, training=training, scans=scans).fit(store)
    >>> list(model.log_prob(store))
    ['subject', 'session', 'time', 'log_prob']
    """

    kind = "voxels"
    representation = "voxels"
    voxels: Voxels
    table: RegionTable

    def fit(self, store: ScanStore, out: str | Path | None = None, **options: Unpack[FitOptions]) -> Self:
        """Train on the scans of a store, read a batch at a time.

        Parameters
        ----------
        store
            Prepared scans.
        out
            Where to write a run folder; nothing is written if it is None.
        **options
            `crow.models.base.FitOptions`.

        Raises
        ------
        CohortError
            If the store cannot be learned from.
        OutputError
            If ``out`` exists already.
        """
        training = Training.at(out, **options)
        cohort = _without_regions(store_cohort(store, None))
        cohort.require_usable()
        learned, _ = self.split(cohort)
        visits = learned.visits
        settings, rows = self.config.scans.voxels, visits.index.to_numpy()
        self.voxels = Voxels.fit(store, rows, settings.size, settings.levels)
        self.table = RegionTable.fit(learned)
        self.store_info = store.info.model_dump(mode="json", exclude={"cohort_path"})
        if settings.patch is not None:
            check_patch(settings.patch, settings.levels, self.voxels.mask.shape, "scans.voxels.patch")
            if self.config.training.strategy == "fsdp":
                raise ConfigError("scans.voxels.patch: not with training.strategy fsdp. Use ddp.")
        data = self.voxels.sequences(store, visits, self.table)
        self.config = resolve(self._requested, data)
        training.begin(self.config)
        training.echo(f"voxels of {len(rows)} {store.info.modality} scans: {self.voxels}")
        fraction = self.config.training.validation_fraction
        assert fraction is not None
        names = learned.split_names(learned.subjects)
        validation = torch.from_numpy(validation_folds(names, fraction, self.config.seed)[0])
        kept = data.rows(torch.arange(len(data))[~torch.isin(torch.arange(len(data)), validation)])
        with seeded(self.config.seed, 0):
            self.flow = self.build()
        self.flow.initialise(kept)
        optimisation = self.config.training.model_copy(update={"batch_size": settings.batch_size})
        fit = train(
            self.flow, kept, data.rows(validation), optimisation, self.config.seed, training.folder, training.resume,
            training.progress, "voxels",
        )  # fmt: skip
        self.log, self.interrupted = fit.history.assign(member=1), fit.interrupted
        scale = -self.voxels.log_jacobian
        loss, first = fit.validation_loss, float(self.log["validation"].iloc[0]) if len(self.log) else np.nan
        if settings.patch is not None:  # training saw estimates by patches
            loss, first = self._whole_losses(data.rows(validation))
        self.metrics = {
            "validation_nll_per_visit": loss + scale,
            "linear_forecast_nll_per_visit": first + scale,
            "epoch": fit.epoch,
            "voxels": int(self.voxels.mask.sum()),
        }
        return self.finish(training)

    def cohort(self, store: ScanStore) -> Cohort:
        return _without_regions(super().cohort(store))

    @torch.no_grad()
    def log_prob(self, store: ScanStore) -> pd.DataFrame:
        """Exact log-density in nats of each scan's voxels (of the box, in the scan's own units) given earlier scans.

        One row per visit: ``subject, session, time, log_prob``. A voxel of the box is a mean of the store's voxels.
        """
        flow, visits = self.fitted(), self.cohort(store).visits
        data = self.voxels.sequences(store, visits, self.table)
        parts = (data[rows] for rows in torch.arange(len(data)).split(self._together(SUBJECTS)))
        nats = torch.cat([flow.log_prob(part)[part.mask] for part in parts]).double().numpy()
        gain = np.asarray(store.array("scale"))[visits.index.to_numpy(), 0]
        nats += self.voxels.log_jacobian - int(self.voxels.mask.sum()) * np.log(gain)
        return visits[["subject", "session", "time"]].assign(log_prob=nats)

    def score(self, store: ScanStore, draws: int = 200, seed: int = 0) -> pd.DataFrame:
        """`log_prob`; `z_maps` show which voxels of a scan are outliers."""
        return self.log_prob(store)

    def forecast(
        self, store: ScanStore, visits: pd.DataFrame, future: Future = "carry", draws: int = 32, seed: int = 0
    ) -> Forecast:
        """The future visits with their covariates; `follow_up` draws the scans, ``draws`` per visit."""
        cohort = self.cohort(store)
        check_future(cohort, visits)
        return Forecast(without_carried(future_visits(cohort, visits, future)), [], np.empty((len(visits), draws, 0)))

    def follow_up(
        self, store: ScanStore, forecast: Forecast, visit: int, space: Literal["native", "template"] = "native",
        keep: int = 0, seed: int = 0,
    ) -> FollowUp:  # fmt: skip
        """The scan of row ``visit`` of a forecast: the last scan and the change of the box's voxels, interpolated.

        The change is the forecast less that of the very moment of the last scan, by the same noise: the last scan's own
        noise would cover it. sd is that of the box's voxels, which are means of the store's.
        """
        ahead = forecast.visits.iloc[[visit]]
        own = self.cohort(store).visits
        past = own[own["subject"] == ahead["subject"].iloc[0]]
        draws = self._draw(store, past, ahead, forecast.values.shape[1], seed)
        again = past.iloc[[-1]].drop(columns="scan").assign(time=past["time"].iloc[-1] + MOMENT)
        now = _median(self._draw(store, past, again, len(draws), seed))
        native = ScanSpace(store, int(past.index[-1]), space)
        before = native.values()
        median, sd = _median(draws), draws.std(0)
        changes = [x - now for x in (median, *draws[:keep])]
        maps = np.stack([*(self.voxels.decode_change(x) for x in changes), self.voxels.decode_change(sd)])
        placed = native.place((native.gain * maps).astype(np.float32), np.zeros((len(maps), *before.shape), np.float32))
        change, *kept, spread = placed
        return FollowUp(native.like, before + change, change, spread, [before + part for part in kept])

    def z_maps(
        self, store: ScanStore, rows: Iterable[int], draws: int = 32, seed: int = 0
    ) -> Iterator[tuple[int, Volume]]:
        """Yield ``(row, z [X, Y, Z])`` on the store's grid: how far each voxel lies from what the past predicts."""
        own = self.cohort(store).visits
        for row in rows:
            visit = own.loc[[row]]
            past = own[(own["subject"] == visit["subject"].iloc[0]) & (own["time"] < visit["time"].iloc[0])]
            drawn = self._draw(store, past, visit, draws, seed)
            x = torch.from_numpy(self.voxels.encode(store, np.array([row])))[0]
            z = (x - drawn.mean(0)) / drawn.std(0).clamp_min(1e-6)
            yield row, self.voxels.spread(z)

    @torch.no_grad()
    def _draw(self, store: ScanStore, past: pd.DataFrame, ahead: pd.DataFrame, n: int, seed: int) -> Tensor:
        """``n`` draws ``[n, 1, *box]`` of one visit given the scans of ``past``."""
        flow, generator = self.fitted(), torch.Generator().manual_seed(seed)
        require_draws(n, flow.event, "a scan")
        state: VoxelState | None = None
        if len(past):
            state = flow.condition(self.voxels.sequences(store, past, self.table)[:])
        coming = self.table.encode(ahead, "the visit to forecast")
        draws = []
        step = self._together(DRAWS)
        for size in [step] * (n // step) + [n % step] * (n % step > 0):
            noise = torch.randn(size, 1, *flow.event, generator=generator)
            visit = Sequences(
                noise, *(v.repeat_interleave(size, 0) for v in (coming.context, coming.time, coming.mask))
            )
            repeated = state and map_state(partial(torch.repeat_interleave, repeats=size, dim=0), state)
            draws.append(flow.sample(visit, repeated, noise)[:, 0])
        return torch.cat(draws)

    @torch.no_grad()
    def _whole_losses(self, data: StoredSequences) -> tuple[float, float]:
        """Mean negative log-density per visit, of all voxels: of the flow, and of the linear forecast alone."""
        flow, total = self.fitted(), torch.zeros(2)
        for rows in torch.arange(len(data)).split(self._together(SUBJECTS)):
            part = data[rows]
            total -= torch.stack([each[part.mask].sum() for each in (flow.log_prob(part), flow.initial_log_prob(part))])
        loss, first = (total / data.count).tolist()
        return loss, first

    def _together(self, most: int) -> int:
        """How many subjects or draws are computed at once, at most ``most``."""
        return max(1, min(most, VOXELS // self.voxels.mask.size))

    def build(self) -> VoxelFlow:
        settings = self.config.scans.voxels
        return VoxelFlow(
            torch.from_numpy(self.voxels.mask), self.table.channels, settings.levels, settings.depth, settings.hidden,
            settings.memory, settings.patch,
        )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        return self.voxels.tensors()

    def describe(self) -> dict[str, Any]:
        scans = {"representation": self.representation, "basis": self.voxels.describe(), "store": self.store_info}
        return {"representation": self.table.model_dump(), "scans": scans}

    def restore(self, description: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.store_info = description["scans"]["store"]
        self.voxels = Voxels.from_saved(tensors, description["scans"]["basis"])
        self.table = RegionTable.model_validate(description["representation"])

    def summary(self) -> str:
        return f"{self.voxels}; validation NLL {self.metrics['validation_nll_per_visit']:.1f} nats per visit"


def _median(draws: Tensor) -> Tensor:
    """The median of ``draws [n, 1, x, y, z]``, computed slice by slice."""
    return torch.stack([slices.median(0).values for slices in draws.unbind(2)], 1)


def _without_regions(cohort: Cohort) -> Cohort:
    schema = cohort.schema.model_copy(update={"regions": []})
    return replace(cohort, visits=cohort.visits.drop(columns=cohort.regions), schema=schema)
