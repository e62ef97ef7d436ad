"""One subject's history, kept as the state of every ensemble member, so that its future can be asked about quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow

if TYPE_CHECKING:
    from crow.models.crow import CRow

Values = NDArray[np.float64]


@dataclass(frozen=True)
class HistoryState:
    """A subject's visits, encoded and passed through the ensemble once.

    Attributes
    ----------
    model
        The fitted model.
    cohort
        The cohort with this subject alone.
    """

    model: CRow
    cohort: Cohort
    history: Sequences | None
    states: list[Any]

    @classmethod
    def of(cls, model: CRow, cohort: Cohort) -> HistoryState:
        """The state after the visits of the one subject of ``cohort``.

        Raises
        ------
        CohortError
            If a visit does not have the columns of the model, or a value that cannot be.
        ConfigError
            If the model was trained with the published objective, which has no history.
        """
        ensemble, visits = model.ensemble(), cohort.measured_visits
        if visits.empty:
            return cls(model, cohort, None, [None] * len(ensemble.members))
        sequences = model.encode(cohort, visits)
        return cls(model, cohort, sequences, ensemble.condition(sequences))

    def forecast(self, visits: pd.DataFrame, draws: int = 200, seed: int = 0) -> Values:
        """Draws ``[visit, draw, region]`` in the table's units, each visit a question of its own.

        They are those of `crow.models.crow.CRow.forecast` with the same seed.

        Parameters
        ----------
        visits
            Complete rows of `crow.cohort.covariate_paths.future_visits`. A time may be asked several times, under other
            covariates: all rows have the same random numbers.
        draws, seed
            How many draws per visit, and their seed.
        """
        table, apart = self.model.table, visits.assign(subject=[f"question {k}" for k in range(len(visits))])
        if table.sites is not None and self._unseen(visits):
            rows = [visits.iloc[[k]] for k in range(len(visits))]
            parts = [self.model.forecast(self.cohort, row, draws=draws, seed=seed) for row in rows]
            return np.concatenate([part.values for part in parts])
        after = table.encode(apart.drop(columns=table.regions, errors="ignore"), "the visits to forecast")
        generator = torch.Generator().manual_seed(seed)
        drawn = self.model.ensemble().draw_each(after, self.states, draws, generator)
        return table.draws(drawn, visits)

    def share_of_change(self, visit: pd.DataFrame, since: float) -> Values:
        """How much of the sd of a measurement at ``visit`` (one row) is that of the change since a time, ``[region]``.

        The rest is error: of that measurement, and of those before it. By the mixed models of the members.
        """
        after = self.model.table.encode(visit.drop(columns=self.model.table.regions, errors="ignore"), "the visit")
        began = after.time.new_full((1, 1), since)
        each = [m.share_of_change(after, began, state)[0] for m, state in zip(self._members, self.states, strict=True)]
        return np.asarray((self.model.ensemble().weights @ torch.stack(each)).detach().clamp(0, 1).numpy(), float)

    def measurement_error(self) -> Values:
        """The sd of the error of a measurement, in the table's units, ``[region]``, by the members' mixed models."""
        each = torch.stack([member.mixed.log_sigma.exp() for member in self._members])
        in_sds = self.model.ensemble().weights @ each
        return np.asarray(in_sds.detach().numpy() * np.array(self.model.table.sd), float)

    def levels(self, shares: Sequence[float]) -> Values:
        """Quantiles ``[visit, share, region]`` of the level at each observed visit, given the visits up to and with it.

        The level is a region's value without measurement error, by the mixed model in which the flow begins. Its
        interval is therefore narrower than one for a new measurement, and not zero.
        """
        if self.history is None:
            return np.empty((0, len(shares), len(self.model.table.regions)))
        found = self.model.ensemble().filtered(self.history, torch.tensor(shares, dtype=torch.float64))[:, 0]
        return self.model.table.decode(found.transpose(0, 1), self.cohort.measured_visits)

    @property
    def _members(self) -> list[CRowFlow]:
        return cast(list[CRowFlow], list(self.model.ensemble().members))

    def _unseen(self, visits: pd.DataFrame) -> bool:
        sites = self.model.table.sites
        assert sites is not None
        return bool(np.any(sites.unseen(visits)) or np.any(sites.unseen(self.cohort.measured_visits)))
