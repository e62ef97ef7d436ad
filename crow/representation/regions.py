"""Region tables: a two-way map between the visits of a cohort and what the flow sees."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, model_validator
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.data.sequences import Sequences
from crow.errors import CohortError

LARGEST = 1e100
FARTHEST = 1e9  # standard deviations: beyond it, squares lose all digits of single precision
LONGEST = 200  # years


class Covariate(BaseModel):
    """How a covariate becomes channels: a standardised number, or one indicator per level except the first.

    If training visits lacked it, one more channel marks that; a missing value is 0 in the others. If none lacked it,
    a missing value is the mean of training: 0, or ``shares``, how often training visits had each level.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    mean: float = 0.0
    sd: float = 1.0
    levels: list[str] = []
    shares: list[float] = []
    has_missing: bool = False


class RegionTable(BaseModel):
    """Regions standardised on training visits, and a context of age and covariates.

    ``encode`` gives `Sequences` with ``x = (value - mean) / sd``; ``decode`` returns to original units; log-densities
    of the two differ by ``log_scale = sum log sd`` per visit, over its measured regions. A missing value is marked in
    ``measured``; for models that need one, x holds the subject's last value before it, else the training mean.
    """

    regions: list[str]
    mean: list[float]
    sd: list[float]
    covariates: list[Covariate]
    follow_up: float = 0.0
    """The longest time in training, in years; 0 in runs that did not keep it."""

    @model_validator(mode="after")
    def _has_a_scale(self) -> RegionTable:
        """A run of a stranger may have any numbers here."""
        if not len(self.regions) == len(self.mean) == len(self.sd) or not all(0 < sd < np.inf for sd in self.sd):
            raise ValueError("a mean and a positive standard deviation are needed for every region")
        return self

    @classmethod
    def fit(cls, cohort: Cohort) -> RegionTable:
        """Scalers and levels of a cohort of training subjects."""
        values = cohort.visits[cohort.regions].astype(float)
        where = cohort.path or "the cohort"
        _check_size(values, where)
        _check_spread(values, where)
        numeric = [name for name, kind in cohort.schema.covariates.items() if kind == "numeric"]
        _check_size(cohort.visits[["age", *numeric]].astype(float), where)
        covariates = [_fit_covariate(cohort.visits[n], n, kind) for n, kind in cohort.schema.covariates.items()]
        if cohort.visits["age"].notna().any() and "age" not in cohort.schema.covariates:
            covariates.insert(0, _fit_covariate(cohort.visits["age"], "age", "numeric"))
        return cls(
            regions=cohort.regions,
            mean=values.mean().tolist(),
            sd=values.std().tolist(),
            covariates=[c for c in covariates if c is not None],
            follow_up=float(cohort.visits["time"].max()),
        )

    @property
    def channels(self) -> int:
        """Number of context channels."""
        return sum((len(c.levels) - 1 if c.levels else 1) + c.has_missing for c in self.covariates)

    @property
    def log_scale(self) -> float:
        """``sum log sd``: subtract it from a log-density of x to have that of the values in original units."""
        return float(np.log(self.sd).sum())

    def log_scale_of(self, data: Sequences) -> Tensor:
        """`log_scale` of each visit's measured regions ``[batch, time]``; 0 at pads."""
        return data.values().double() @ torch.tensor(self.sd, dtype=torch.double).log()

    def encode(self, visits: pd.DataFrame, where: str = "the cohort") -> Sequences:
        """Sequences of visits sorted by subject and time; subjects in their order of appearance.

        Raises CohortError for visits in another order, for a covariate that is not a column, and for a level that
        training did not have. Without a single region among the columns nothing counts as missing, and x is 0.
        """
        subject, names = pd.factorize(visits["subject"])
        _check_order(visits, subject, names, where)
        position = visits.groupby(subject).cumcount().to_numpy()
        shape = (subject.max() + 1, position.max() + 1)

        def pad(values: np.ndarray[Any, Any]) -> Tensor:
            out = np.zeros((*shape, *values.shape[1:]), dtype=np.float32)
            out[subject, position] = values
            return torch.from_numpy(out)

        x = self._values(visits, where)
        context = [self._encode_covariate(c, visits, where) for c in self.covariates]
        mask = pad(np.ones(len(visits))).bool()
        known = visits.reindex(columns=self.regions).notna().to_numpy()
        complete = known.all() or not any(region in visits for region in self.regions)
        return Sequences(
            pad(x), pad(np.concatenate([np.empty((len(visits), 0)), *context], 1)), pad(visits["time"].to_numpy()),
            mask,
            None if complete else pad(known).bool(),
        )  # fmt: skip

    def require(self, visits: pd.DataFrame, where: str) -> None:
        """Raise CohortError where a region is not a column of ``visits``."""
        if missing := [region for region in self.regions if region not in visits]:
            raise CohortError(f"{where}: its columns are not those of the model. Missing: {', '.join(missing)}.")

    def decode(self, x: Tensor) -> np.ndarray[Any, Any]:
        """Values in original units of ``x: [*batch, region]``."""
        return x.double().numpy() * np.array(self.sd) + np.array(self.mean)

    def _values(self, visits: pd.DataFrame, where: str) -> np.ndarray[Any, Any]:
        values = visits.reindex(columns=self.regions).astype(float)
        filled = (
            values.groupby(visits["subject"].to_numpy()).ffill().fillna(dict(zip(self.regions, self.mean, strict=True)))
        )
        for name, mean, sd in zip(self.regions, self.mean, self.sd, strict=True):
            _check_near(filled[name], mean, sd, visits, where)
        return (filled.to_numpy() - np.array(self.mean)) / np.array(self.sd)

    def _encode_covariate(self, c: Covariate, visits: pd.DataFrame, where: str) -> np.ndarray[Any, Any]:
        if c.name not in visits:
            raise CohortError(f"{where}: there is no column {c.name}, which the model knows. Add it, empty if unknown.")
        column = visits[c.name]
        missing = column.isna().to_numpy()
        if c.kind == "numeric":
            _check_near(column.astype(float), c.mean, c.sd, visits, where)
            channels = np.nan_to_num((column.astype(float).to_numpy() - c.mean) / c.sd)[:, None]
        else:
            text = column.astype("string")
            unknown = sorted(set(text.dropna()) - set(c.levels))
            if unknown:
                raise CohortError(
                    f"{where}: column {c.name} holds {unknown[0]!r}, which the training data did not have "
                    f"(known: {', '.join(c.levels)}). Correct the value or leave it empty."
                )
            channels = np.stack([(text == level).fillna(False).to_numpy(float) for level in c.levels[1:]], 1)
            if c.shares and not c.has_missing:
                channels[missing] = c.shares[1:]
        return np.concatenate([channels, missing[:, None]], 1) if c.has_missing else channels


def _check_spread(values: pd.DataFrame, where: str) -> None:
    if (flat := values.nunique() < 2).any():
        name = values.columns[flat][0]
        raise CohortError(
            f"{where}, column {name}: found one value only in the {len(values)} training visits. Leave the region out "
            f"(--exclude '{name}')."
        )


def _check_size(values: pd.DataFrame, where: str) -> None:
    if (vast := values.abs().max() > LARGEST).any():
        name = values.columns[vast][0]
        column = values[name].to_numpy()
        found = column[np.nanargmax(np.abs(column))]
        raise CohortError(
            f"{where}, column {name}: found {found:g}, too large to compute with. Correct the value or empty its cell."
        )


def _check_near(values: pd.Series, mean: float, sd: float, visits: pd.DataFrame, where: str) -> None:
    far = ((values - mean).abs().to_numpy(float) / sd) > FARTHEST
    if far.any():
        subject, time = visits[["subject", "time"]].iloc[int(far.argmax())]
        raise CohortError(
            f"{where}: subject {subject}, time {time:g}, column {values.name}: found {values[far].iloc[0]:g}, but the "
            f"training visits lie around {mean:g} with an sd of {sd:g}. Correct the value or empty its cell."
        )


def _check_order(visits: pd.DataFrame, subject: np.ndarray[Any, Any], names: pd.Index, where: str) -> None:
    if visits.empty:
        raise CohortError(f"{where}: holds no visit.")
    if visits["time"].max() > LONGEST:
        name, time = visits[["subject", "time"]].iloc[int(visits["time"].argmax())]
        raise CohortError(
            f"{where}: subject {name}: {time:g} years after the first visit; crow takes up to {LONGEST}. Where the "
            "table counts months or days, say so with --time-kind."
        )
    step, apart = np.diff(visits["time"].to_numpy(float)), np.diff(subject)
    if (apart < 0).any() or not (step[apart == 0] > 0).all():
        late = np.flatnonzero((apart < 0) | ((apart == 0) & ~(step > 0)))[0] + 1
        raise CohortError(
            f"{where}: subject {names[subject[late]]}, time {visits['time'].iloc[late]:g}: visits have to be sorted by "
            "subject and time, each time once. Sort them, and take out what stands twice."
        )


def _fit_covariate(column: pd.Series, name: str, kind: Literal["numeric", "categorical"]) -> Covariate | None:
    """None for a covariate that is the same everywhere: it carries no information."""
    missing = bool(column.isna().any())
    if column.nunique() < 2:
        return None
    if kind == "categorical":
        shares = column.dropna().astype(str).value_counts(normalize=True).sort_index()
        return Covariate(name=name, kind=kind, levels=list(shares.index), shares=list(shares), has_missing=missing)
    values = column.astype(float)
    return Covariate(name=name, kind=kind, mean=values.mean(), sd=values.std(), has_missing=missing)
