"""A conditional flow of single visits: what a visit looks like given age, time and covariates, whoever's it is."""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.cohort.split import validation_folds
from crow.data.examples import Examples
from crow.data.forecast import Forecast
from crow.errors import CohortError
from crow.flows.cinn import CINN
from crow.representation.regions import RegionTable
from crow.run.config import Optimisation
from crow.seeds import derived_seed
from crow.training.ensemble import seeded
from crow.training.fit import train

TRAINING = Optimisation(
    max_epochs=60, steps_per_epoch=10, batch_size=256, learning_rate=1e-3, patience=15, weight_decay=1e-2, threads=1
)
DEPTH, HIDDEN, NOISE = 6, 32, 0.05


class CINNBaseline:
    """The conditional invertible network (Ardizzone et al. 2019) of a visit, which knows nothing of the visits before.

    Trained on the visits of training subjects, and stopped by those of a fifth of them. Missing regions are filled as
    `RegionTable` does.
    """

    name = "cINN, single visits"

    def fit(self, training: Cohort, seed: int = 0) -> Self:
        """Raises CohortError for one region: couplings need two."""
        self.regions = training.regions
        if len(self.regions) < 2:
            raise CohortError("one region; a flow of couplings needs at least 2.")
        observed = training.visits[training.visits[self.regions].notna().any(axis=1)].reset_index(drop=True)
        self.table = RegionTable.fit(Cohort(observed, training.schema, training.start, path=training.path))
        self.years = max(float(observed["time"].std()), 1e-3)
        examples = self._examples(observed)
        number, names = pd.factorize(observed["subject"])
        held_out = torch.from_numpy(np.isin(number, validation_folds(list(names), 0.2, seed)[0]))
        assert examples.context is not None
        with seeded(seed, 0):
            shape, context = (len(self.regions),), (examples.context.shape[1],)
            self.flow = CINN(shape, context, depth=DEPTH, hidden=HIDDEN, features=HIDDEN, noise=NOISE)
        if train(self.flow, examples[~held_out], examples[held_out], TRAINING, derived_seed(seed, 0)).interrupted:
            raise KeyboardInterrupt
        return self

    @torch.no_grad()
    def forecast(self, history: Cohort, targets: pd.DataFrame, samples: int = 200, seed: int = 0) -> Forecast:
        """Draws of ``targets`` (subject, time, age, covariates); ``history`` plays no part."""
        rows = self._examples(targets.drop(columns=self.regions, errors="ignore"))
        drawn = self.flow.sample(rows.context, samples, torch.Generator().manual_seed(seed))
        return Forecast(targets, self.regions, self.table.decode(drawn.transpose(0, 1)))

    @torch.no_grad()
    def log_prob(self, cohort: Cohort) -> pd.DataFrame:
        """Log-density of each visit, ``subject, session, time, log_prob``, original units."""
        rows = self._examples(cohort.visits)
        nats: Tensor = self.flow.log_prob(rows.x, rows.context).double() - self.table.log_scale
        return cohort.visits[["subject", "session", "time"]].assign(log_prob=nats.numpy())

    def _examples(self, visits: pd.DataFrame) -> Examples:
        """A row a visit of ``visits`` (sorted): regions; time since the first visit, age and covariates."""
        data = self.table.encode(visits)
        context = torch.cat([data.time[..., None] / self.years, data.context], -1)
        return Examples(data.x[data.mask], context[data.mask])
