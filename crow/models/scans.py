"""CRow for scans: a representation turns each scan into a few coefficients, whose sequences the flow models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import Future, check_future
from crow.cohort.schema import Schema
from crow.cohort.split import test_subjects
from crow.data.forecast import Forecast
from crow.errors import CohortError, RunError
from crow.models.crow import CRow, ScanParts, load_crow
from crow.models.voxels import VoxelModel
from crow.representation.deformation import Deformation
from crow.representation.follow_up import FollowUp
from crow.representation.subspace import Subspace
from crow.run.config import Config
from crow.run.folder import check_place, load_run, read_description
from crow.scans.cohort import known_cohort
from crow.scans.store import ScanStore

STRUCTURAL = ("T1w", "T2w", "FLAIR", "PDw")
PREFIX = "scans."
KINDS: dict[str, type[Deformation] | type[Subspace]] = {"deformation": Deformation, "subspace": Subspace}


class ScanModel:
    """The conditional recurrent flow of a cohort's scans, and of its regions beside them.

    ``ScanModel().fit(store)`` with a `ScanStore` that ``crow prepare`` made; then ``log_prob``, ``score``, ``forecast``
    and ``follow_up`` answer. ``basis`` is the two-way map between scans and coefficients, ``crow`` the flow of these.
    With deformations all values are relative to a subject's first scan, which is given, not modelled.
    """

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        self.crow = CRow(config, **settings)
        self.basis: Deformation | Subspace | None = None
        self._encoded: tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any]] | None = None  # of the last question

    def fit(
        self,
        store: ScanStore,
        out: str | Path | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = False,
        echo: Callable[[str], None] = lambda line: None,
    ) -> ScanModel:
        """Learn the representation and the flow from training subjects; with ``out`` keep a run folder there.

        Raises CohortError where the store cannot be learned from, OutputError where ``out`` exists.
        """
        if out is not None and not resume:
            check_place(out, overwrite)
        cohort, settings = store.cohort(), self.crow.config.scans
        cohort.require_usable()
        kind = representation(settings.representation, store)
        held_back = test_subjects(cohort, self.crow.config.split.test, self.crow.config.seed)
        rows = cohort.visits.index[~cohort.visits["subject"].isin(held_back)].to_numpy()
        self._encoded = None
        self.basis = KINDS[kind].fit(store, rows, settings.components, seed=self.crow.config.seed)
        echo(f"{kind} of {len(rows)} {store.info.modality} scans: {self.basis}")
        tensors = {PREFIX + name: tensor for name, tensor in self.basis.tensors().items()}
        prepared = store.info.model_dump(mode="json", exclude={"cohort_path"})
        facts = {"kind": kind, "basis": self.basis.describe(), "store": prepared}
        self.crow.scan_parts = ScanParts(tensors, {"scans": facts})
        cohort = self.coefficients(store)
        self.crow.fit(cohort, out, resume=resume, overwrite=overwrite, progress=progress, echo=echo)
        return self

    def cohort(self, store: ScanStore) -> Cohort:
        """The cohort of a store with the covariates that the model knows; one that the store lacks is unknown (NaN)."""
        return known_cohort(store, getattr(self.crow, "schema", None))

    def coefficients(self, store: ScanStore) -> Cohort:
        """The cohort of a store with coefficients (and its regions) in place of scans; the index stays the store's row.

        Of deformations, values are changes since the subject's first scan, which has none itself.
        """
        basis, cohort = self._basis(), self.cohort(store)
        visits = cohort.visits.drop(columns="scan")
        visits[cohort.regions] = visits[cohort.regions].astype(float)
        rows = visits.index.to_numpy()
        if self._encoded is None or self._encoded[0] is not store.arrays or not np.array_equal(self._encoded[1], rows):
            self._encoded = (store.arrays, rows, basis.encode(store, rows).astype(float))
        visits[basis.names] = self._encoded[2]
        if self.relative:
            first = ~visits["subject"].duplicated()
            if cohort.regions:
                visits[cohort.regions] -= visits.groupby("subject", sort=False)[cohort.regions].transform("first")
            visits.loc[first, [*basis.names, *cohort.regions]] = np.nan
        schema = cohort.schema.model_copy(update={"regions": [*basis.names, *cohort.regions], "scan": None})
        return Cohort(visits, schema, cohort.start, cohort.findings, str(store.path / "visits.csv"))

    @property
    def metrics(self) -> dict[str, Any]:
        return self.crow.metrics

    @property
    def log(self) -> pd.DataFrame:
        """The training's history."""
        return self.crow.log

    @property
    def kind(self) -> str:
        """The name of the representation."""
        return self._basis().kind

    @property
    def schema(self) -> Schema:
        """How the cohort was read; its regions are the coefficients and the cohort's own."""
        return self.crow.schema

    @property
    def source(self) -> dict[str, str]:
        """Where the store that it was fitted to is, and its digest."""
        return self.crow.source

    @property
    def store_facts(self) -> dict[str, Any]:
        """Modality, grid and settings of the store that it was fitted to."""
        return self.crow.scan_parts.description["scans"]["store"]

    @property
    def relative(self) -> bool:
        """Whether coefficients are changes since a subject's first scan."""
        return isinstance(self._basis(), Deformation)

    def log_prob(self, store: ScanStore) -> pd.DataFrame:
        """Exact log-density in nats of each scan given the subject's earlier ones, a row a visit.

        ``subject, session, time, log_prob``. Of deformations that of the coefficients (the first scan is given: NaN);
        of a subspace that of all masked voxels in the scan's own units: ``log_prob = coefficients + residual``.
        """
        return self._totals(store, self.crow.log_prob)

    def score(self, store: ScanStore, samples: int = 200, seed: int = 0) -> pd.DataFrame:
        """`log_prob`, and z of every coefficient and region given the subject's past."""
        return self._totals(store, lambda cohort: self.crow.score(cohort, samples, seed))

    def forecast(
        self, store: ScanStore, visits: pd.DataFrame, future: Future = "carry", samples: int = 200, seed: int = 0
    ) -> Forecast:
        """Draws of coefficients and regions at ``visits``, as `CRow.forecast`; `follow_up` turns them into scans."""
        every = self.cohort(store)
        check_future(every, visits)
        # Scans of the others are not read.
        theirs = store.some(every.visits.index[every.visits["subject"].isin(visits["subject"])].to_numpy())
        forecast = self.crow.forecast(self.coefficients(theirs), visits, future, samples, seed)
        regions = [name for name in store.info.cohort_schema.regions if name in forecast.regions]
        if self.relative and regions:
            first = every.visits.groupby("subject")[regions].first().astype(float)
            columns = [forecast.regions.index(name) for name in regions]
            forecast.values[:, :, columns] += first.loc[forecast.visits["subject"]].to_numpy()[:, None]
        return forecast

    def follow_up(
        self, store: ScanStore, forecast: Forecast, visit: int, space: Literal["native", "template"] = "native",
        samples: int = 0, seed: int = 0,
    ) -> FollowUp:  # fmt: skip
        """The scan of row ``visit`` of a forecast, on the grid of the subject's last scan or of the template."""
        basis = self._basis()
        own = self.cohort(store).visits
        past = own.index[own["subject"] == forecast.visits["subject"].iloc[visit]].to_numpy()
        draws = forecast.values[visit][:, : len(basis.names)].astype(np.float32)
        return basis.follow_up(store, past, draws, space=space, samples=samples, seed=seed)

    def z_maps(
        self, store: ScanStore, rows: Iterable[int], samples: int = 200, seed: int = 0
    ) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
        """Yield ``(row, z [X, Y, Z])`` on the store's grid: how far each voxel lies from what the past predicts."""
        basis, cohort = self._basis(), self.coefficients(store)
        if _nothing_observed(cohort):
            return
        mean, sd = self.crow.predict(cohort, samples, seed)
        own = cohort.visits
        for row in rows:
            if row in mean.index:
                earlier = own.index[(own["subject"] == own.loc[row, "subject"]) & (own["time"] < own.loc[row, "time"])]
                expected = (frame.loc[row, basis.names].to_numpy(np.float32) for frame in (mean, sd))
                yield row, basis.z_map(store, row, earlier.to_numpy(), *expected)

    def _totals(self, store: ScanStore, ask: Callable[[Cohort], pd.DataFrame]) -> pd.DataFrame:
        """What ``ask`` says of the coefficients of all visits, with what the voxels beyond them add."""
        cohort = self.coefficients(store)
        keys = cohort.visits[["subject", "session", "time"]]
        if _nothing_observed(cohort):
            return keys.assign(log_prob=np.nan)
        scores = ask(cohort)
        scores = pd.concat([keys, scores.drop(columns=list(keys.columns)).reindex(keys.index)], axis=1)
        if isinstance(self.basis, Subspace):
            rows = keys.index.to_numpy()
            gain = np.asarray(store.array("scale"))[rows, 0]
            residual = self.basis.residual_log_prob(store, rows) + self.basis.log_scale
            residual -= self.basis.voxels * np.log(gain)
            scores.insert(4, "coefficients", scores["log_prob"])
            scores.insert(5, "residual", residual)
            scores["log_prob"] += residual
        return scores

    def _basis(self) -> Deformation | Subspace:
        if self.basis is None:
            raise RunError("This ScanModel is not fitted yet: call fit(store), or crow.load(run).")
        return self.basis

    def __repr__(self) -> str:
        return "ScanModel, not fitted yet" if self.basis is None else f"ScanModel: {self.basis}; {self.crow!r}"

    def _repr_html_(self) -> str:
        return f"<p>{self.basis!r}</p>{self.crow._repr_html_()}"


def _nothing_observed(cohort: Cohort) -> bool:
    """Whether there are first scans only, which deformations are relative to."""
    return bool(cohort.visits[cohort.regions].isna().all(axis=None))


def representation(asked: str, store: ScanStore) -> str:
    """``auto`` by modality and by what was prepared; raises CohortError where the store lacks what is asked for."""
    deformed = store.info.velocity_grid is not None and "velocity" in store.arrays
    if asked == "auto":
        return "deformation" if store.info.modality in STRUCTURAL and deformed else "subspace"
    if asked == "deformation" and not deformed:
        raise CohortError(
            f"{store.path}: prepared without deformations. Run crow prepare with --register nonlinear, or choose "
            "scans.representation=subspace."
        )
    return asked


def is_scan_run(folder: str | Path) -> bool:
    """Whether a run was trained on scans; raises RunError where it is no run."""
    return "scans" in read_description(folder)


def load_scans(folder: str | Path) -> ScanModel | VoxelModel:
    """The fitted model of a run of scans; raises RunError where the folder is not whole or has no scans."""
    facts = read_description(folder).get("scans")
    if facts is None:
        raise RunError(f"{folder}: a run of region tables, not of scans. Use crow.load.")
    try:
        if facts["kind"] == VoxelModel.kind:
            return VoxelModel.of_run(folder, load_run(folder))
        model = ScanModel()
        model.crow = load_crow(folder)
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in model.crow.scan_parts.tensors.items()}
        model.basis = KINDS[facts["kind"]].from_saved(tensors, facts["basis"])
    except (KeyError, ValueError, RuntimeError):
        raise RunError(f"{folder}: the tensors of the scans do not fit model.json. Restore the folder.") from None
    return model
