"""Attributes of a visit (sex, age, diagnosis, ...) as channels, from a cohort or from what a user writes."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.cohort.names import DIAGNOSIS, SEX, matches
from crow.cohort.options import listed
from crow.errors import CohortError, ConfigError

MEANINGS = {"ad": "dementia", "hc": "cn", "nc": "cn", "control": "cn"}
GROUPS = {"sex": SEX, "gender": SEX, "diagnosis": DIAGNOSIS, "dx": DIAGNOSIS, "group": DIAGNOSIS}


class Attribute(BaseModel):
    """A number, standardised to one channel, or one of ``levels``, a channel each; ``shares`` are those of training."""

    name: str
    kind: Literal["numeric", "categorical"]
    mean: float = 0.0
    sd: float = 1.0
    low: float = 0.0
    high: float = 0.0
    levels: list[str] = []
    shares: list[float] = []

    @property
    def channels(self) -> int:
        return len(self.levels) or 1

    def read(self, text: str) -> float | str:
        """What a user wrote, as a value: a number within the range of training, or a level (F for Female, AD for
        Dementia where only one can be meant). Raises ConfigError."""
        if self.kind == "numeric":
            try:
                value = float(text)
            except ValueError:
                raise ConfigError(f"--attributes {self.name}={text}: a number is needed.") from None
            if not self.low <= value <= self.high:
                raise ConfigError(
                    f"--attributes {self.name}={text}: training visits lie between {self.low:g} and {self.high:g}; the "
                    "model knows nothing beyond."
                )
            return value
        asked = text.strip().lower()
        for word in (asked, MEANINGS.get(asked, asked)):
            found = [level for level in self.levels if level.lower() == word]
            found = found or [level for level in self.levels if level.lower().startswith(word)]
            if len(found) == 1:
                return found[0]
        raise ConfigError(f"--attributes {self.name}={text}: training had {listed(self.levels)}. Choose one of them.")


class AttributeTable(BaseModel):
    """The attributes that a model is conditioned on, in the order of its context's channels."""

    attributes: list[Attribute]

    @classmethod
    def fit(cls, cohort: Cohort, visits: pd.DataFrame, names: list[str]) -> AttributeTable:
        """From training visits that know all of them (`known`). Raises CohortError for what is no covariate, nor the
        age, or is the same everywhere."""
        where = cohort.path or "the cohort"
        if not names:
            raise CohortError(f"{where}: no attribute is named. {_columns(cohort)}")
        columns = list(dict.fromkeys(covariate_named(name, cohort, where) for name in names))
        kinds = {"age": "numeric", **cohort.schema.covariates}
        rows = visits[visits[columns].notna().all(axis=1)]
        if rows.empty:
            raise CohortError(f"{where}: no visit has a value of all of {listed(columns)}. Name fewer attributes.")
        return cls(attributes=[_fit(rows[name], name, kinds[name] == "numeric", where) for name in columns])

    @property
    def names(self) -> list[str]:
        return [attribute.name for attribute in self.attributes]

    @property
    def channels(self) -> list[int]:
        """Of each attribute."""
        return [attribute.channels for attribute in self.attributes]

    def known(self, visits: pd.DataFrame, where: str = "the cohort") -> pd.Series:
        """Which visits have a value of every attribute; raises CohortError where one is no column."""
        if missing := [name for name in self.names if name not in visits]:
            raise CohortError(f"{where}: there is no column {', '.join(missing)}, which the model knows. Add it.")
        return visits[self.names].notna().all(axis=1)

    def encode(self, visits: pd.DataFrame, where: str = "the cohort") -> Tensor:
        """``[visit, channels]``; raises CohortError for a value that is missing or that training did not have."""
        parts = []
        for attribute in self.attributes:
            if attribute.name not in visits or visits[attribute.name].isna().any():
                raise CohortError(f"{where}: {attribute.name} is needed of every visit, and some lack it.")
            column = visits[attribute.name]
            if attribute.kind == "numeric":
                parts.append((column.to_numpy(float)[:, None] - attribute.mean) / attribute.sd)
                continue
            text = column.astype(str)
            if unknown := sorted(set(text) - set(attribute.levels)):
                raise CohortError(
                    f"{where}: column {attribute.name} holds {unknown[0]!r}, which the training data did not have "
                    f"(known: {', '.join(attribute.levels)})."
                )
            parts.append(np.stack([text == level for level in attribute.levels], 1))
        return torch.from_numpy(np.concatenate(parts, 1).astype(np.float32))

    def parse(self, text: str) -> dict[str, float | str]:
        """``sex=F,age=75``; raises ConfigError for a name or value that the model does not know."""
        given: dict[str, float | str] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or not value:
                raise ConfigError(f"--attributes {part}: write it as name=value, for instance sex=F,age=75.")
            if (column := _meant(name, self.names)) is None:
                raise ConfigError(f"--attributes {part}: the run knows {listed(self.names)}, not {name}.")
            if column in given:
                raise ConfigError(f"--attributes {part}: {column} is given twice.")
            given[column] = self.attributes[self.names.index(column)].read(value)
        return given

    def draw(self, given: dict[str, float | str], count: int, seed: int) -> pd.DataFrame:
        """``count`` rows: what is given, and the rest drawn attribute by attribute as training visits had them.

        Numbers are drawn from a normal, kept within the range of training.
        """
        generator = np.random.default_rng([seed, 7])
        columns: dict[str, np.ndarray] = {}
        for attribute in self.attributes:
            if attribute.name in given:
                columns[attribute.name] = np.full(count, given[attribute.name], dtype=object)
            elif attribute.kind == "numeric":
                drawn = generator.normal(attribute.mean, attribute.sd, count)
                columns[attribute.name] = np.clip(drawn, attribute.low, attribute.high)
            else:
                columns[attribute.name] = generator.choice(attribute.levels, count, p=attribute.shares)
        return pd.DataFrame(columns)


def _fit(column: pd.Series, name: str, numeric: bool, where: str) -> Attribute:
    if column.nunique() < 2:
        raise CohortError(f"{where}, column {name}: {column.iloc[0]} in every visit; it cannot be an attribute.")
    if numeric:
        values = column.astype(float)
        ends = dict(zip(("low", "high"), _rounded(values), strict=True))
        return Attribute(name=name, kind="numeric", mean=values.mean(), sd=values.std(), **ends)
    shares = column.astype(str).value_counts(normalize=True).sort_index()
    return Attribute(name=name, kind="categorical", levels=list(shares.index), shares=list(shares))


def _rounded(values: pd.Series) -> tuple[float, float]:
    """The range of values, outwards to two digits of its width: a run tells no one's value."""
    unit = 10.0 ** (np.floor(np.log10(values.max() - values.min())) - 1)
    low, high = np.floor(values.min() / unit) * unit, np.ceil(values.max() / unit) * unit
    return float(f"{low:.12g}"), float(f"{high:.12g}")


def covariate_named(name: str, cohort: Cohort, where: str) -> str:
    """The covariate (or ``age``) that a user means; raises CohortError where there is none."""
    if (found := _meant(name, ["age", *cohort.covariates])) is None:
        raise CohortError(f"{where}: {name} is no covariate. {_columns(cohort)}")
    return found


def _columns(cohort: Cohort) -> str:
    return f"There are {listed(['age', *cohort.covariates])}; --covariates names more."


def _meant(name: str, columns: list[str]) -> str | None:
    """The column of that name, whatever its case; of sex and diagnosis also the only one with such a name."""
    same = [column for column in columns if column.lower() == name.lower()]
    pattern: re.Pattern[str] | None = GROUPS.get(name.lower())
    alike = [column for column in columns if pattern is not None and matches(pattern, column)]
    if name in columns:
        return name
    return same[0] if len(same) == 1 else alike[0] if len(alike) == 1 and not same else None
