"""A conditional flow of single visits: the distribution of a visit given age, time and covariates, without history."""

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
from crow.evaluation.evaluate_model import drop_empty_visits
from crow.flows.cinn import CINN
from crow.representation.regions import RegionTable
from crow.run.config import Optimisation
from crow.seeds import derived_seed
from crow.training.fit import train
from crow.training.members import seeded

TRAINING = Optimisation(
    max_epochs=60, steps_per_epoch=10, batch_size=256, learning_rate=1e-3, patience=15, weight_decay=1e-2, threads=1
)
DEPTH, HIDDEN, NOISE = 6, 32, 0.05
VALIDATION_FRACTION = 0.2


class CINNBaseline:
    """The conditional invertible network (Ardizzone et al. 2019) of single visits.

    It is trained on the visits of four fifths of the training subjects; those of the other fifth decide when to stop.
    Missing regions are imputed as in `RegionTable`.
    """

    name = "cINN, single visits"

    def fit(self, training: Cohort, seed: int = 0) -> Self:
        """Train the flow; raises CohortError for a single region, because couplings need two."""
        self.regions = training.regions
        if len(self.regions) < 2:
            raise CohortError("the cohort has one region; a flow of coupling layers needs at least 2.")
        observed = drop_empty_visits(training)
        self.table = RegionTable.fit(observed)
        self.years = max(float(observed.visits["time"].std()), 1e-3)
        examples = self._examples(observed.visits)
        number, names = pd.factorize(observed.visits["subject"])
        chosen = validation_folds(observed.split_names(names), VALIDATION_FRACTION, seed)[0]
        validation = torch.from_numpy(np.isin(number, chosen))
        assert examples.context is not None
        with seeded(seed, 0):
            shape, context = (len(self.regions),), (examples.context.shape[1],)
            self.flow = CINN(shape, context, depth=DEPTH, hidden=HIDDEN, features=HIDDEN, noise=NOISE)
        fitted = train(self.flow, examples[~validation], examples[validation], TRAINING, derived_seed(seed, 0))
        if fitted.interrupted:
            raise KeyboardInterrupt
        return self

    @torch.no_grad()
    def forecast(self, history: Cohort, targets: pd.DataFrame, draws: int = 200, seed: int = 0) -> Forecast:
        """Draws of ``targets`` (subject, time, age, covariates); ``history`` is not used."""
        rows = self._examples(targets.drop(columns=self.regions, errors="ignore"))
        drawn = self.flow.sample(rows.context, draws, torch.Generator().manual_seed(seed))
        return Forecast(targets, self.regions, self.table.draws(drawn.transpose(0, 1)))

    @torch.no_grad()
    def log_prob(self, cohort: Cohort) -> pd.DataFrame:
        """Log-density of each visit in original units: ``subject, session, time, log_prob``."""
        rows = self._examples(cohort.visits)
        log_prob: Tensor = self.flow.log_prob(rows.x, rows.context).double() - self.table.log_scale
        return cohort.visits[["subject", "session", "time"]].assign(log_prob=log_prob.numpy())

    def _examples(self, visits: pd.DataFrame) -> Examples:
        """One row per visit of ``visits`` (sorted): its regions, and time since the first visit, age and covariates."""
        data = self.table.encode(visits)
        context = torch.cat([data.time[..., None] / self.years, data.context], -1)
        return Examples(data.x[data.mask], context[data.mask])
