"""leaspy's logistic disease progression model. leaspy needs an older numpy than crow's tested versions."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.data.forecast import Forecast
from crow.errors import CohortError

Values = NDArray[np.float64]
ITERATIONS = 10_000  # of MCMC-SAEM, leaspy's default
SWEEPS = 3000  # of the Gibbs sampler, whose second half is kept


class LeaspyBaseline:
    """The model of Schiratti et al. (JMLR 2017), fitted by MCMC-SAEM.

    The individual parameters of a subject are drawn from their posterior given its history (leaspy's Gibbs sampler,
    which ``mean_posterior`` uses), and every draw is the curve at the target's age plus the model's noise. The model
    has no covariates. Its curves rise from 0 to 1, so regions outside [0, 1] are rescaled by their range over the
    training visits, and reversed if they fall with time.

    Raises
    ------
    ModuleNotFoundError
        If leaspy is not installed.
    """

    name = "leaspy"

    def __init__(self, iterations: int = ITERATIONS, sources: int = 2) -> None:
        import_module("leaspy")
        self.iterations, self.sources = iterations, sources

    def fit(self, training: Cohort, seed: int = 0) -> Self:
        """Fit the model; raises CohortError if an age or a region is missing."""
        from leaspy.models import LogisticModel

        self.regions = training.regions
        if training.visits[["age", *self.regions]].isna().any(axis=None):
            raise CohortError("leaspy needs the age and every region at every visit.")
        self.start, self.stop = ends(training)
        self.model = LogisticModel("logistic", source_dimension=min(self.sources, len(self.regions) - 1))
        table = self._table(training.visits)
        self.model.fit(table, "mcmc_saem", n_iter=self.iterations, seed=seed, progress_bar=False)
        return self

    def forecast(self, history: Cohort, targets: pd.DataFrame, draws: int = 200, seed: int = 0) -> Forecast:
        """Draws of ``targets`` (subject, time, age) given all of each subject's visits in ``history``."""
        from leaspy.io.data import Data, Dataset

        past = history.visits[history.visits["subject"].isin(targets["subject"])]
        dataset = Dataset(Data.from_dataframe(self._table(past)))
        posterior = _posterior(self.model, dataset, seed)
        kept = np.linspace(0, len(posterior["tau"]) - 1, draws).round().astype(int)
        noise = self.model.parameters["noise_std"].numpy()
        out = np.empty((len(targets), draws, len(self.regions)))
        for i, subject in enumerate(dataset.indices):
            rows = np.flatnonzero(targets["subject"].to_numpy() == subject)
            ages = targets["age"].to_numpy(float)[rows]
            for k, step in enumerate(kept):
                parameters = {name: values[step, i] for name, values in posterior.items()}
                out[rows, k] = self.model.compute_individual_trajectory(ages, parameters)[0].numpy()
        out += noise * np.random.default_rng(seed).normal(size=out.shape)
        return Forecast(targets, self.regions, self.start + (self.stop - self.start) * out)

    def log_prob(self, cohort: Cohort) -> None:
        """None: leaspy has no density of whole sequences."""

    def _table(self, visits: pd.DataFrame) -> pd.DataFrame:
        """leaspy's table: ID, TIME (age in years), regions from 0 to 1."""
        values = visits[self.regions].sub(self.start).div(self.stop - self.start)
        return values.assign(ID=visits["subject"], TIME=visits["age"])[["ID", "TIME", *self.regions]]


def ends(training: Cohort) -> tuple[Values, Values]:
    """The values of each region that are mapped to 0 and 1."""
    table, regions = training.visits, training.regions
    values = table[regions].astype(float)
    if values.min().min() >= 0 and values.max().max() <= 1:
        return np.zeros(len(regions)), np.ones(len(regions))
    within = table[["time", *regions]] - table.groupby("subject")[["time", *regions]].transform("mean")
    rising = (within[regions].mul(within["time"], axis=0).sum() > 0).to_numpy()
    low, high = values.min().to_numpy(), values.max().to_numpy()
    return np.where(rising, low, high), np.where(rising, high, low)


def _posterior(model: Any, dataset: Any, seed: int) -> dict[str, torch.Tensor]:
    """Draws ``[draw, subject, ...]`` of the individual parameters, by name."""
    from leaspy.algo import AlgorithmSettings
    from leaspy.algo.personalize import MeanPosteriorAlgorithm

    class Sampler(MeanPosteriorAlgorithm):  # type: ignore[misc]
        """leaspy's sampler, keeping the draws that it averages."""

        def _compute_individual_parameters_from_samples_torch(self, values: Any, *others: Any) -> Any:
            self.draws = values
            return super()._compute_individual_parameters_from_samples_torch(values, *others)

    algorithm = Sampler(AlgorithmSettings("mean_posterior", n_iter=SWEEPS, seed=seed, progress_bar=False))
    algorithm.run(model, dataset)
    draws: dict[str, torch.Tensor] = algorithm.draws
    return draws
