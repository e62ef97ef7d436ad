"""CRow among the models that are compared: trained, as its initial mixed model, and with the published objective."""

from __future__ import annotations

from typing import Self

import pandas as pd

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import CARRIED
from crow.data.forecast import Forecast
from crow.models.crow import CRow
from crow.run.config import Config

PUBLISHED = {
    "model": {"objective": "inn", "members": 1, "initialise": "standard", "blocks": 2, "dropout": 0.0},
    "training": {"max_epochs": 300, "steps_per_epoch": 10, "batch_size": 4096, "learning_rate": 1e-3,
                 "schedule": "published", "weight_decay": 2e-5, "visit_dropout": 0.0, "ema_decay": 0.0,
                 "patience": 50, "validation_fraction": 0.2, "threads": 1},
}  # fmt: skip
MIXED_MODEL = {
    "model": {"members": 1, "initialise": "mixed_model"}, "training": {"max_epochs": 0, "threads": 1}
}  # fmt: skip


class CRowBaseline:
    """A `CRow` that is already fitted, or one to fit with the settings of ``config``.

    With the published objective the model uses no history and has no density: it draws all visits of a subject from
    their covariates, and ``log_prob`` returns None.
    """

    def __init__(self, name: str, config: Config | None = None, model: CRow | None = None) -> None:
        self.name, self.config, self.model = name, config, model

    @classmethod
    def published(cls) -> Self:
        """The published objective with the settings of its code (``configs/published.yaml``)."""
        return cls("crow, published objective", Config.model_validate(PUBLISHED))

    @classmethod
    def mixed_model(cls) -> Self:
        """The linear mixed model that crow is initialised at, with innovations that are correlated across regions."""
        return cls("multivariate mixed model", Config.model_validate(MIXED_MODEL))

    def fit(self, training: Cohort, seed: int = 0) -> Self:
        """Train on all subjects of ``training``; raises KeyboardInterrupt after Ctrl-C."""
        config = self.config or Config()
        split = config.split.model_copy(update={"test": 0.0})
        model = CRow(config.model_copy(update={"seed": seed, "split": split})).fit(training)
        if model.interrupted:
            raise KeyboardInterrupt
        self.model = model
        return self

    def forecast(self, history: Cohort, targets: pd.DataFrame, draws: int = 200, seed: int = 0) -> Forecast:
        """Draws of ``targets`` (subject, time, age, covariates), sorted by subject and time, given ``history``."""
        model = self._fitted()
        carried = [name for name in targets if str(name).startswith(CARRIED)]
        columns = ["subject", "time", *history.covariates, *carried]
        if model.config.model.objective == "likelihood":
            drawn = model.forecast(history, targets[columns], draws=draws, seed=seed)
            return Forecast(targets, drawn.regions, drawn.values)
        known = ["subject", "time", "age", *history.covariates]
        rows = pd.concat([history.visits[known].assign(target=False), targets[known].assign(target=True)])
        paths = rows.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
        drawn = model.sample(paths.drop(columns="target"), draws, seed)
        return Forecast(targets, drawn.regions, drawn.values[paths["target"].to_numpy(bool)])

    def log_prob(self, cohort: Cohort) -> pd.DataFrame | None:
        """Log-density of each visit given the earlier ones (nats, original units)."""
        model = self._fitted()
        return None if model.config.model.objective == "inn" else model.log_prob(cohort)

    def _fitted(self) -> CRow:
        if self.model is None:
            raise ValueError(f"{self.name} is not fitted yet")
        return self.model
