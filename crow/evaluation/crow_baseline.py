"""CRow among the models that are compared: as it is, as it starts, and with the published objective."""

from __future__ import annotations

from typing import Self

import pandas as pd

from crow.cohort.cohort import Cohort
from crow.data.forecast import Forecast
from crow.models.crow import CRow
from crow.run.config import Config

PUBLISHED = {
    "model": {"objective": "inn", "members": 1, "start": "standard", "blocks": 2, "dropout": 0.0},
    "training": {"max_epochs": 300, "steps_per_epoch": 10, "batch_size": 4096, "learning_rate": 1e-3,
                 "schedule": "published", "weight_decay": 2e-5, "visit_dropout": 0.0, "ema_decay": 0.0,
                 "patience": 50, "held_out": 0.2, "threads": 1},
}  # fmt: skip
START = {"model": {"members": 1, "start": "mixed"}, "training": {"max_epochs": 0, "threads": 1}}


class CRowBaseline:
    """A `CRow`, fitted already or to be fitted with the settings of ``config``.

    One with the published objective knows no history and no likelihood: it draws a subject's visits from their
    covariates alone, and ``log_prob`` is None.
    """

    def __init__(self, name: str, config: Config | None = None, model: CRow | None = None) -> None:
        self.name, self.config, self.model = name, config, model

    @classmethod
    def published(cls) -> Self:
        """The published objective in the settings of its code (``configs/published.yaml``)."""
        return cls("crow, published objective", Config.model_validate(PUBLISHED))

    @classmethod
    def start(cls) -> Self:
        """The linear mixed model that crow starts from: innovations correlated across regions, before any training."""
        return cls("mixed model, regions correlated", Config.model_validate(START))

    def fit(self, training: Cohort, seed: int = 0) -> Self:
        """Train on all of ``training``; Ctrl-C leaves nothing (KeyboardInterrupt)."""
        config = self.config or Config()
        kept = config.split.model_copy(update={"test": 0.0})
        model = CRow(config.model_copy(update={"seed": seed, "split": kept})).fit(training)
        if model.interrupted:
            raise KeyboardInterrupt
        self.model = model
        return self

    def forecast(self, history: Cohort, targets: pd.DataFrame, samples: int = 200, seed: int = 0) -> Forecast:
        """Draws of ``targets`` (subject, time, age, covariates), sorted by subject and time, given ``history``."""
        model = self._fitted()
        columns = ["subject", "time", *history.covariates]
        if model.config.model.objective == "likelihood":
            drawn = model.forecast(history, targets[columns], draws=samples, seed=seed)
            return Forecast(targets, drawn.regions, drawn.values)
        known = ["subject", "time", "age", *history.covariates]
        rows = pd.concat([history.visits[known].assign(asked=False), targets[known].assign(asked=True)])
        paths = rows.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
        drawn = model.sample(paths.drop(columns="asked"), samples, seed)
        return Forecast(targets, drawn.regions, drawn.values[paths["asked"].to_numpy(bool)])

    def log_prob(self, cohort: Cohort) -> pd.DataFrame | None:
        """Log-density of each visit given those before it, original units."""
        model = self._fitted()
        return None if model.config.model.objective == "inn" else model.log_prob(cohort)

    def _fitted(self) -> CRow:
        if self.model is None:
            raise ValueError(f"{self.name} is not fitted yet")
        return self.model
