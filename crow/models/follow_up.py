"""What the two models of longitudinal scans have in common: how they are asked for follow-up scans."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self, Unpack

import pandas as pd

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import Future
from crow.data.forecast import Forecast
from crow.models.base import FitOptions, Model
from crow.models.crow import CRow
from crow.representation.follow_up import FollowUp, Volume
from crow.run.config import Config
from crow.scans.cohort import store_cohort
from crow.scans.store import ScanStore


class FollowUpModel(Model):
    """Base of models that forecast scans: ``forecast`` draws the future, ``follow_up`` makes one scan of it.

    ``representation`` names what a scan is to the flow (deformation, subspace, voxels). ``store_info`` describes the
    store that the model was fitted to: modality, grid and settings. ``crow`` models the sequences of coefficients; it
    is None if voxels are modelled without coefficients.
    """

    command = "train"
    uses_scans = True
    config: Config
    store_info: dict[str, Any]
    representation: str
    crow: CRow | None = None

    @classmethod
    def settings_class(cls, settings: dict[str, Any]) -> type[Config]:
        return Config

    def cohort(self, store: ScanStore) -> Cohort:
        """The visits of a store with the covariates of the training; one that the store lacks is NaN."""
        return store_cohort(store, getattr(self, "schema", None))

    @abstractmethod
    def fit(self, store: ScanStore, out: str | Path | None = None, **options: Unpack[FitOptions]) -> Self:
        """Learn from a store; with ``out`` write a run folder there."""

    def coefficients(self, store: ScanStore) -> Cohort:
        """The cohort of a store with coefficients in place of scans, which ``crow`` models."""
        raise NotImplementedError(f"{type(self).__name__} models voxels without coefficients")

    @abstractmethod
    def log_prob(self, store: ScanStore) -> pd.DataFrame:
        """Exact log-density in nats of each scan given the subject's earlier ones: one row per visit."""

    @abstractmethod
    def score(self, store: ScanStore, draws: int = 200, seed: int = 0) -> pd.DataFrame:
        """`log_prob`, with z-scores if the representation has coefficients."""

    @abstractmethod
    def forecast(
        self, store: ScanStore, visits: pd.DataFrame, future: Future = "carry", draws: int = 200, seed: int = 0
    ) -> Forecast:
        """Draws of the state of future visits, as `CRow.forecast`; `follow_up` turns them into scans."""

    @abstractmethod
    def follow_up(
        self, store: ScanStore, forecast: Forecast, visit: int, space: Literal["native", "template"] = "native",
        keep: int = 0, seed: int = 0,
    ) -> FollowUp:  # fmt: skip
        """The scan of row ``visit`` of a forecast, on the grid of the subject's last scan or of the template.

        ``keep`` is how many whole draws it holds beside the median.
        """

    @abstractmethod
    def z_maps(
        self, store: ScanStore, rows: Iterable[int], draws: int = 200, seed: int = 0
    ) -> Iterator[tuple[int, Volume]]:
        """Yield ``(row, z [X, Y, Z])`` on the store's grid: how far each voxel lies from what the past predicts."""
