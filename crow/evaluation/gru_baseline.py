"""A recurrent regressor: a network that reads a subject's visits and predicts any later visit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from crow.cohort.cohort import Cohort
from crow.cohort.split import validation_folds
from crow.data.sequences import Sequences
from crow.evaluation.evaluate_model import drop_empty_visits
from crow.evaluation.point_baseline import PointBaseline, Values
from crow.representation.regions import RegionTable
from crow.run.config import Optimisation
from crow.seeds import derived_seed
from crow.training.fit import train
from crow.training.members import seeded

TRAINING = Optimisation(max_epochs=60, steps_per_epoch=10, batch_size=64, patience=15, threads=1)
N_NETWORKS = 5  # each is validated on a fifth of the training subjects


class GRURegressor(nn.Module):
    """``x_j ~ x_i + f(h_i, x_i, c_j, t_j - t_i)`` for every visit i and every later j; h is a GRU's state after i.

    f is a network with one hidden layer, initialised at zero, so that training starts from the last visit carried
    forward. The loss is the squared error.

    Parameters
    ----------
    features : int
        Number of regions.
    context : int
        Number of covariate channels c.
    hidden : int
        Width of the GRU and of f.
    """

    def __init__(self, features: int, context: int, hidden: int = 32) -> None:
        super().__init__()
        self.memory = nn.GRU(features + context + 2, hidden, batch_first=True)
        self.inner = nn.Linear(hidden + features + context + 1, hidden)
        self.outer = nn.Linear(hidden, features)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, data: Sequences) -> Tensor:
        """Predictions ``[batch, i, j, region]`` of visit j from the visits up to i, for j after i."""
        gap = torch.diff(data.time, dim=1, prepend=data.time[:, :1])
        inputs = torch.cat([data.x, data.context, data.time[..., None], gap[..., None]], -1)
        h, _ = self.memory(inputs)
        visits = data.x.shape[1]
        from_i = torch.cat([h, data.x], -1)[:, :, None].expand(-1, -1, visits, -1)
        to_j = data.context[:, None].expand(-1, visits, -1, -1)
        ahead = (data.time[:, None] - data.time[:, :, None])[..., None]
        change = self.outer(nn.functional.silu(self.inner(torch.cat([from_i, to_j, ahead], -1))))
        return data.x[:, :, None] + change

    def loss(self, batch: Sequences) -> Tensor:
        """Mean squared error over pairs of visits in standardised units; 0 if no subject has two visits."""
        pairs = visit_pairs(batch)
        square = (self(batch) - batch.x[:, None]).square().mean(-1)
        return torch.where(pairs, square, 0.0).sum() / pairs.sum().clamp_min(1)


def visit_pairs(data: Sequences) -> Tensor:
    """Mask ``[batch, i, j]`` of pairs of visits with j after i."""
    visits = data.mask.shape[1]
    after = torch.ones(visits, visits, dtype=torch.bool).triu(1)
    return data.mask[:, :, None] & data.mask[:, None, :] & after


class GRUBaseline(PointBaseline):
    """The mean of five regressors, each trained on four fifths of the subjects and validated on the others.

    The variance of the errors is learned from each regressor's validation subjects. Missing regions are carried forward
    in the input (`RegionTable`) and do not count as errors.
    """

    name = "GRU"

    def learn(self, training: Cohort, seed: int) -> tuple[Values, Values]:
        observed = drop_empty_visits(training)
        self.table = RegionTable.fit(observed)
        data = self.table.encode(observed.visits)
        truth = _padded(observed.visits[self.regions].to_numpy(float), data.mask)
        self.networks, years, errors = [], [], []
        names = observed.split_names(observed.subjects)
        for k, part in enumerate(validation_folds(names, 1 / N_NETWORKS, seed)):
            validation = torch.from_numpy(part)
            with seeded(seed, k):
                network = GRURegressor(data.x.shape[2], data.context.shape[2])
            kept = ~torch.isin(torch.arange(len(data)), validation)
            if train(network, data[kept], data[validation], TRAINING, derived_seed(seed, k)).interrupted:
                raise KeyboardInterrupt
            self.networks.append(network)
            ahead, error = _errors(network, self.table, data.rows(validation), truth[part])
            years.append(ahead)
            errors.append(error)
        return np.concatenate(years), np.concatenate(errors)

    def ahead(self, history: Cohort, targets: pd.DataFrame) -> tuple[Values, Values]:
        known = ["subject", "time", "age", *history.covariates]
        past = history.visits[history.visits["subject"].isin(targets["subject"])]
        past = past[[*known, *self.regions]].assign(row=-1)
        rows = pd.concat([past, targets[known].assign(row=np.arange(len(targets)))])
        rows = rows.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
        data = self.table.encode(rows)
        predicted = self._predict(data)
        place = np.full(data.mask.shape, -2)
        place[data.mask.numpy()] = rows["row"].to_numpy()
        subject, visit = np.nonzero(place >= 0)
        last = (place == -1).sum(1)[subject] - 1
        row = place[subject, visit]
        mean, years = np.empty((len(targets), len(self.regions))), np.empty(len(targets))
        mean[row] = self.table.decode(predicted[subject, last, visit])
        years[row] = (data.time[subject, visit] - data.time[subject, last]).numpy()
        return mean, years

    def next(self, cohort: Cohort) -> tuple[Values, Values]:
        data = self.table.encode(cohort.visits)
        predicted = self.table.decode(self._predict(data).diagonal(1, 1, 2).movedim(-1, 1))
        nothing = np.full((len(data), 1, len(self.regions)), np.nan)
        mean = np.concatenate([nothing, predicted], 1)[data.mask.numpy()]
        gap = np.diff(data.time.numpy(), axis=1, prepend=np.nan)
        return mean, gap[data.mask.numpy()]

    @torch.no_grad()
    def _predict(self, data: Sequences) -> Tensor:
        return torch.stack([network(data) for network in self.networks]).mean(0)


@torch.no_grad()
def _errors(network: nn.Module, table: RegionTable, data: Sequences, truth: Values) -> tuple[Values, Values]:
    """Years ahead and errors (original units, NaN if not observed) of every pair of visits."""
    subject, i, j = np.nonzero(visit_pairs(data).numpy())
    years = (data.time[subject, j] - data.time[subject, i]).double().numpy()
    return years, truth[subject, j] - table.decode(network(data)[subject, i, j])


def _padded(values: Values, mask: Tensor) -> Values:
    """Rows of visits as ``[subject, visit, region]``."""
    out = np.full((*mask.shape, values.shape[1]), np.nan)
    out[mask.numpy()] = values
    return out
