"""CRow for voxels: a convolutional recurrent flow of whole volumes, for a GPU or small volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import Future, check_future, future_visits
from crow.cohort.schema import Schema
from crow.cohort.split import test_subjects, validation_folds
from crow.data.forecast import Forecast
from crow.data.sequences import Sequences
from crow.errors import CohortError, RunError
from crow.flows.crow import map_state
from crow.flows.voxels import VoxelFlow, VoxelState
from crow.models.crow import FEWEST, source
from crow.representation.follow_up import FollowUp, Volume
from crow.representation.own_space import OwnSpace
from crow.representation.regions import RegionTable
from crow.representation.voxels import Voxels
from crow.run.config import Config
from crow.run.folder import Run, anonymous, check_place, crow_config, save_run, start_run
from crow.scans.cohort import known_cohort
from crow.scans.store import ScanStore
from crow.training.build import resolve
from crow.training.ensemble import seeded
from crow.training.fit import train

SUBJECTS, DRAWS = 4, 16  # that are computed at once
MOMENT = 1e-3  # years


class VoxelModel:
    """The conditional recurrent flow of a cohort's scans, voxel by voxel, over a box of their brain voxels.

    Methods are those of `crow.models.scans.ScanModel`. ``voxels`` is the two-way map between scans and volumes, ``flow``
    their density, ``table`` encodes age and covariates.
    """

    kind = "voxels"

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        self.config = Config.model_validate(settings) if config is None else config
        self.flow: VoxelFlow | None = None
        self._schema: Schema | None = None
        self.metrics: dict[str, Any] = {}
        self.log = pd.DataFrame()

    def fit(
        self,
        store: ScanStore,
        out: str | Path | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = False,
        echo: Callable[[str], None] = lambda line: None,
    ) -> VoxelModel:
        """Train on the scans of a store, read a batch at a time; with ``out`` keep a run folder there.

        Raises CohortError where the store cannot be learned from, OutputError where ``out`` exists.
        """
        folder = None if out is None else Path(out)
        if folder is not None and not resume:
            check_place(folder, overwrite)
        cohort = _without_regions(known_cohort(store, None))
        cohort.require_usable()
        held_back = test_subjects(cohort, self.config.split.test, self.config.seed)
        visits = cohort.visits[~cohort.visits["subject"].isin(held_back)]
        if (left := visits["subject"].nunique()) < FEWEST:
            raise CohortError(f"{store.path}: {left} subjects are left to learn from; lower split.test.")
        settings, rows = self.config.scans.voxels, visits.index.to_numpy()
        self.voxels = Voxels.fit(store, rows, settings.size, settings.levels)
        self.table = RegionTable.fit(Cohort(visits, cohort.schema, cohort.start, cohort.findings, cohort.path))
        self._schema, self.source, self.findings = cohort.schema, source(cohort), anonymous(cohort.findings)
        self.store_facts = store.info.model_dump(mode="json", exclude={"cohort_path"})
        data = self.voxels.sequences(store, visits, self.table)
        self.config = resolve(self.config, data)
        if folder is not None and not resume:
            start_run(folder, self.config, overwrite)
        echo(f"voxels of {len(rows)} {store.info.modality} scans: {self.voxels}")
        fraction = self.config.training.validation_fraction
        assert fraction is not None
        names = list(visits["subject"].unique())
        validation = torch.from_numpy(validation_folds(cohort.split_names(names), fraction, self.config.seed)[0])
        kept = data.rows(torch.arange(len(data))[~torch.isin(torch.arange(len(data)), validation)])
        with seeded(self.config.seed, 0):
            self.flow = self._build()
        self.flow.initialise(kept)
        training = self.config.training.model_copy(update={"batch_size": settings.batch_size})
        fit = train(
            self.flow, kept, data.rows(validation), training, self.config.seed, folder, resume, progress, "voxels"
        )
        self.log = fit.history.assign(member=1)
        scale = -self.voxels.log_jacobian
        self.metrics = {
            "validation_nll_per_visit": fit.validation_loss + scale,
            "linear_forecast_nll_per_visit": float(self.log["validation"].iloc[0]) + scale if len(self.log) else np.nan,
            "epoch": fit.epoch,
            "voxels": int(self.voxels.mask.sum()),
        }
        if folder is not None:
            self._save(folder, not fit.interrupted)
        return self

    def cohort(self, store: ScanStore) -> Cohort:
        """The cohort of a store with the covariates that the model knows; one that the store lacks is unknown (NaN)."""
        return _without_regions(known_cohort(store, self._schema))

    @property
    def schema(self) -> Schema:
        """How the cohort was read."""
        self._flow()
        assert self._schema is not None
        return self._schema

    @torch.no_grad()
    def log_prob(self, store: ScanStore) -> pd.DataFrame:
        """Exact log-density in nats of each scan's voxels (of the box, in the scan's own units) given earlier scans.

        One row a visit: ``subject, session, time, log_prob``. A voxel of the box is a mean of the store's.
        """
        flow, visits = self._flow(), self.cohort(store).visits
        data = self.voxels.sequences(store, visits, self.table)
        parts = [data[rows] for rows in torch.arange(len(data)).split(SUBJECTS)]
        nats = torch.cat([flow.log_prob(part)[part.mask] for part in parts]).double().numpy()
        gain = np.asarray(store.array("scale"))[visits.index.to_numpy(), 0]
        nats += self.voxels.log_jacobian - int(self.voxels.mask.sum()) * np.log(gain)
        return visits[["subject", "session", "time"]].assign(log_prob=nats)

    def score(self, store: ScanStore, samples: int = 200, seed: int = 0) -> pd.DataFrame:
        """`log_prob`; where a scan is unusual, `z_maps` say."""
        return self.log_prob(store)

    def forecast(
        self, store: ScanStore, visits: pd.DataFrame, future: Future = "carry", samples: int = 32, seed: int = 0
    ) -> Forecast:
        """The visits to come with their covariates; `follow_up` draws the scans, ``samples`` a visit."""
        cohort = self.cohort(store)
        check_future(cohort, visits)
        return Forecast(future_visits(cohort, visits, future), [], np.empty((len(visits), samples, 0)))

    def follow_up(
        self, store: ScanStore, forecast: Forecast, visit: int, space: Literal["native", "template"] = "native",
        samples: int = 0, seed: int = 0,
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
        now = self._draw(store, past, again, len(draws), seed).median(0).values
        native = OwnSpace(store, int(past.index[-1]), space)
        before = native.values()
        median, sd = draws.median(0).values, draws.std(0)
        changes = [x - now for x in (median, *draws[:samples])]
        maps = np.stack([*(self.voxels.decode_change(x) for x in changes), self.voxels.decode_change(sd)])
        placed = native.place((native.gain * maps).astype(np.float32), np.zeros((len(maps), *before.shape), np.float32))
        change, *kept, spread = placed
        return FollowUp(native.like, before + change, change, spread, [before + part for part in kept])

    def z_maps(
        self, store: ScanStore, rows: Iterable[int], samples: int = 32, seed: int = 0
    ) -> Iterator[tuple[int, Volume]]:
        """Yield ``(row, z [X, Y, Z])`` on the store's grid: how far each voxel lies from what the past predicts."""
        own = self.cohort(store).visits
        for row in rows:
            visit = own.loc[[row]]
            past = own[(own["subject"] == visit["subject"].iloc[0]) & (own["time"] < visit["time"].iloc[0])]
            draws = self._draw(store, past, visit, samples, seed)
            x = torch.from_numpy(self.voxels.encode(store, np.array([row])))[0]
            z = (x - draws.mean(0)) / draws.std(0).clamp_min(1e-6)
            yield row, self.voxels.spread(z)

    @torch.no_grad()
    def _draw(self, store: ScanStore, past: pd.DataFrame, ahead: pd.DataFrame, n: int, seed: int) -> Tensor:
        """``n`` draws ``[n, 1, *box]`` of one visit given the scans of ``past``."""
        flow, generator = self._flow(), torch.Generator().manual_seed(seed)
        state: VoxelState | None = None
        if len(past):
            state = flow.condition(self.voxels.sequences(store, past, self.table)[:])
        coming = self.table.encode(ahead, "the visit to forecast")
        draws = []
        for size in [DRAWS] * (n // DRAWS) + [n % DRAWS] * (n % DRAWS > 0):
            noise = torch.randn(size, 1, *flow.event, generator=generator)
            visit = Sequences(
                noise, *(v.repeat_interleave(size, 0) for v in (coming.context, coming.time, coming.mask))
            )
            repeated = state and map_state(partial(torch.repeat_interleave, repeats=size, dim=0), state)
            draws.append(flow.sample(visit, repeated, noise)[:, 0])
        return torch.cat(draws)

    def _build(self) -> VoxelFlow:
        settings = self.config.scans.voxels
        return VoxelFlow(
            torch.from_numpy(self.voxels.mask), self.table.channels, settings.levels, settings.depth, settings.hidden,
            settings.memory, settings.precision,
        )  # fmt: skip

    def _save(self, folder: Path, finished: bool) -> None:
        tensors = {f"scans.{name}": tensor for name, tensor in self.voxels.tensors().items()}
        description = {
            "representation": self.table.model_dump(),
            "schema": self.schema.model_dump(),
            "cohort": self.source,
            "scans": {"kind": "voxels", "basis": self.voxels.describe(), "store": self.store_facts},
        }
        tensors |= self._flow().state_dict()
        save_run(folder, Run(self.config, tensors, description, self.metrics, self.log, self.findings, finished))

    @classmethod
    def of_run(cls, folder: str | Path, run: Run) -> VoxelModel:
        """The model that a run describes; raises KeyError, ValueError or RuntimeError where its parts do not fit."""
        model = cls(crow_config(folder, run.config))
        scans = {name.removeprefix("scans."): t for name, t in run.tensors.items() if name.startswith("scans.")}
        facts = run.description["scans"]
        model.voxels = Voxels.from_saved(scans, facts["basis"])
        model.table = RegionTable.model_validate(run.description["representation"])
        model._schema = Schema.model_validate(run.description["schema"])
        model.source, model.store_facts = run.description["cohort"], facts["store"]
        model.metrics, model.log, model.findings = run.metrics, run.log, run.findings
        flow = model._build().eval()
        flow.load_state_dict({name: t for name, t in run.tensors.items() if not name.startswith("scans.")})
        model.flow = flow
        return model

    def _flow(self) -> VoxelFlow:
        if self.flow is None:
            raise RunError("This VoxelModel is not fitted yet: call fit(store), or crow.load(run).")
        return self.flow

    def __repr__(self) -> str:
        if self.flow is None:
            return "VoxelModel, not fitted yet"
        return f"VoxelModel: {self.voxels}; held-out NLL {self.metrics['validation_nll_per_visit']:.1f} nats a visit"


def _without_regions(cohort: Cohort) -> Cohort:
    schema = cohort.schema.model_copy(update={"regions": []})
    return replace(cohort, visits=cohort.visits.drop(columns=cohort.regions), schema=schema)
