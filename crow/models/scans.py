"""CRow for scans: a representation turns each scan into a few coefficients, whose sequences the flow models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, Unpack

import numpy as np
import pandas as pd
from torch import Tensor, nn

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import Future, check_future
from crow.cohort.schema import Schema
from crow.data.forecast import Forecast
from crow.errors import RunError
from crow.models.base import FitOptions, Training
from crow.models.crow import CRow
from crow.models.follow_up import FollowUpModel
from crow.models.scan_state import ScanState
from crow.representation.base import ScanRepresentation
from crow.representation.follow_up import FollowUp, Volume
from crow.representation.registry import REPRESENTATIONS, representation_for
from crow.run.config import Config
from crow.scans.store import ScanStore


class ScanModel(FollowUpModel):
    """The conditional recurrent flow of a cohort's scans, together with its regions.

    With deformations all values are relative to a subject's first scan, which is given and not modelled.

    Attributes
    ----------
    basis
        The two-way map between scans and coefficients.
    crow
        The flow of the coefficients.

    Examples
    --------
    >>> import crow
    >>> store = crow.ScanStore.open("store")
    >>> quick = {"max_epochs": 1, "steps_per_epoch": 2}  # the defaults train until nothing improves
    >>> scans = {"representation": "subspace", "components": 2}
    >>> model = crow.ScanModel(seed=1, training=quick, model={"members": 1}, scans=scans).fit(store)
    >>> last = store.cohort().visits.groupby("subject").tail(1)
    >>> future = last.assign(time=last["time"] + 2, age=last["age"] + 2)
    >>> model.forecast(store, future, draws=20)
    Forecast of 10 visits of 10 subjects, 16 regions, 20 draws
    """

    kind = "scans"
    crow: CRow

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        super().__init__(config, **settings)
        self.crow = CRow(self.config)
        self.basis: ScanRepresentation | None = None
        self._encoded: tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any]] | None = None  # of the last question

    def fit(self, store: ScanStore, out: str | Path | None = None, **options: Unpack[FitOptions]) -> Self:
        """Learn the representation and the flow from the training subjects.

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
        self.crow = CRow(self._requested)
        cohort, settings = store.cohort(), self.config.scans
        cohort.require_usable()
        kind = representation_for(settings.representation, store)
        self.representation = kind.kind
        learned, _ = self.split(cohort)
        rows = learned.visits.index.to_numpy()
        self._encoded = None
        self.basis = kind.fit(store, rows, settings.components, seed=self.config.seed)
        training.echo(f"{self.representation} of {len(rows)} {store.info.modality} scans: {self.basis}")
        self.store_info = store.info.model_dump(mode="json", exclude={"cohort_path"})
        self.crow.train(self.coefficients(store), training, self.relative)
        self._take_from_crow()
        return self.finish(training)

    def _take_from_crow(self) -> None:
        for name in ("config", "flow", "metrics", "log", "interrupted", "schema", "source", "findings"):
            setattr(self, name, getattr(self.crow, name))

    def build(self) -> nn.Module:
        self.crow.flow = self.crow.build()
        return self.crow.flow

    def tensors(self) -> dict[str, Tensor]:
        return self._basis().tensors()

    def describe(self) -> dict[str, Any]:
        scans = {"representation": self.representation, "basis": self._basis().describe(), "store": self.store_info}
        return {**self.crow.describe(), "scans": scans}

    def restore(self, description: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        scans = description["scans"]
        self.representation, self.store_info = scans["representation"], scans["store"]
        self.basis = REPRESENTATIONS[self.representation].from_saved(tensors, scans["basis"])
        self.crow = CRow(self.config)
        for name in ("metrics", "log", "interrupted", "schema", "source", "findings"):
            setattr(self.crow, name, getattr(self, name))
        self.crow.restore(description, {})

    def coefficients(self, store: ScanStore) -> Cohort:
        """The cohort of a store with coefficients (and its regions) in place of scans; the index stays the store's row.

        Of deformations, values are changes since the subject's first scan, which has none itself.
        """
        basis, cohort = self._basis(), self.cohort(store)
        visits = cohort.visits.drop(columns="scan")
        visits[cohort.regions] = visits[cohort.regions].astype(float)
        rows = visits.index.to_numpy()
        encoded = self._encoded  # another thread may replace it
        if encoded is None or encoded[0] is not store.arrays or not np.array_equal(encoded[1], rows):
            encoded = self._encoded = (store.arrays, rows, basis.encode(store, rows).astype(float))
        visits[basis.names] = encoded[2]
        if self.relative:
            first = ~visits["subject"].duplicated()
            if cohort.regions:
                visits[cohort.regions] -= visits.groupby("subject", sort=False)[cohort.regions].transform("first")
            visits.loc[first, [*basis.names, *cohort.regions]] = np.nan
        return replace(cohort, visits=visits, schema=self.coefficient_schema(cohort.schema))

    def coefficient_schema(self, schema: Schema) -> Schema:
        """The columns of `coefficients`, from those of the cohort of the store.

        Coefficients and changes of regions are real numbers, whatever the regions are, and have no effects of sites.
        """
        regions = [*self._basis().names, *schema.regions]
        return schema.model_copy(update={"regions": regions, "scan": None, "sites": [], "values": {}})

    @property
    def fitted_basis(self) -> ScanRepresentation:
        """The two-way map; raises RunError before `fit`."""
        return self._basis()

    @property
    def relative(self) -> bool:
        """Whether coefficients are changes since a subject's first scan."""
        return self._basis().relative

    def log_prob(self, store: ScanStore) -> pd.DataFrame:
        """Exact log-density in nats of each scan given the subject's earlier ones: one row per visit.

        ``subject, session, time, log_prob``. For deformations it is the density of the coefficients (NaN for the first
        scan, which is given). For a subspace it is the density of all masked voxels in the scan's own units, and
        ``log_prob = coefficients + residual``.
        """
        return self._totals(store, self.crow.log_prob)

    def score(self, store: ScanStore, draws: int = 200, seed: int = 0) -> pd.DataFrame:
        """`log_prob`, and z of every coefficient and region given the subject's past."""
        return self._totals(store, lambda cohort: self.crow.score(cohort, draws, seed))

    def forecast(
        self, store: ScanStore, visits: pd.DataFrame, future: Future = "carry", draws: int = 200, seed: int = 0
    ) -> Forecast:
        """Draws of coefficients and regions at ``visits``, as `CRow.forecast`; `follow_up` turns them into scans."""
        every = self.cohort(store)
        check_future(every, visits)
        # Scans of the others are not read.
        theirs = store.subset(every.visits.index[every.visits["subject"].isin(visits["subject"])].to_numpy())
        asked = visits.drop(columns=str(every.schema.scan), errors="ignore")
        forecast = self.crow.forecast(self.coefficients(theirs), asked, future, draws, seed)
        regions = [name for name in store.info.cohort_schema.regions if name in forecast.regions]
        if self.relative and regions:
            first = every.visits.groupby("subject")[regions].first().astype(float)
            columns = [forecast.regions.index(name) for name in regions]
            forecast.values[:, :, columns] += first.loc[forecast.visits["subject"]].to_numpy()[:, None]
        return forecast

    def follow_up(
        self, store: ScanStore, forecast: Forecast, visit: int, space: Literal["native", "template"] = "native",
        keep: int = 0, seed: int = 0,
    ) -> FollowUp:  # fmt: skip
        """The scan of row ``visit`` of a forecast, on the grid of the subject's last scan or of the template."""
        basis = self._basis()
        own = self.cohort(store).visits
        past = own.index[own["subject"] == forecast.visits["subject"].iloc[visit]].to_numpy()
        draws = forecast.values[visit][:, : len(basis.names)]
        if not self.relative:
            return basis.follow_up(store, past, draws.astype(np.float32), space=space, samples=keep, seed=seed)
        state = ScanState(self, store, past, seed)
        draws = state.of_change(forecast.visits.iloc[[visit]], draws)
        found = basis.follow_up(store, past, draws.astype(np.float32), space=space, samples=keep, seed=seed)
        error = state.history.measurement_error()[[self.crow.table.regions.index(n) for n in basis.volume_names]]
        return replace(found, volume_error=error)

    def z_maps(
        self, store: ScanStore, rows: Iterable[int], draws: int = 200, seed: int = 0
    ) -> Iterator[tuple[int, Volume]]:
        """Yield ``(row, z [X, Y, Z])`` on the store's grid: how far each voxel lies from what the past predicts."""
        basis, cohort = self._basis(), self.coefficients(store)
        if _nothing_observed(cohort):
            return
        mean, sd = self.crow.predict(cohort, draws, seed)
        own = cohort.visits
        for row in rows:
            if row in mean.index:
                earlier = own.index[(own["subject"] == own.loc[row, "subject"]) & (own["time"] < own.loc[row, "time"])]
                expected = (frame.loc[row, basis.names].to_numpy(np.float32) for frame in (mean, sd))
                yield row, basis.z_map(store, row, earlier.to_numpy(), *expected)

    def _totals(self, store: ScanStore, ask: Callable[[Cohort], pd.DataFrame]) -> pd.DataFrame:
        """The answer of ``ask`` for the coefficients of all visits, plus the log-density of the residual voxels."""
        cohort = self.coefficients(store)
        keys = cohort.visits[["subject", "session", "time"]]
        if _nothing_observed(cohort):
            return keys.assign(log_prob=np.nan)
        scores = ask(cohort)
        scores = pd.concat([keys, scores.drop(columns=list(keys.columns)).reindex(keys.index)], axis=1)
        residual = self._basis().remainder_log_prob(store, keys.index.to_numpy())
        if residual is not None:
            scores.insert(4, "coefficients", scores["log_prob"])
            scores.insert(5, "residual", residual)
            scores["log_prob"] += residual
        return scores

    def _basis(self) -> ScanRepresentation:
        if self.basis is None:
            raise RunError("This ScanModel is not fitted yet: call fit(store), or crow.load(run).")
        return self.basis

    def summary(self) -> str:
        return f"{self.basis!r}; {self.crow.summary()}"

    def _repr_html_(self) -> str:
        return f"<p>{self.basis!r}</p>{self.crow._repr_html_()}"


def _nothing_observed(cohort: Cohort) -> bool:
    """Whether there are first scans only, which deformations are relative to."""
    return bool(cohort.visits[cohort.regions].isna().all(axis=None))
