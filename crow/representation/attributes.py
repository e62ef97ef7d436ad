"""Attributes of a visit (sex, age, diagnosis, ...) as context channels, from a cohort or from user input."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel

from crow.cohort.cohort import Cohort
from crow.cohort.names import DIAGNOSIS, SEX, matches
from crow.cohort.options import listed
from crow.errors import CohortError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

MEANINGS = {"ad": "dementia", "hc": "cn", "nc": "cn", "control": "cn"}
GROUPS = {"sex": SEX, "gender": SEX, "diagnosis": DIAGNOSIS, "dx": DIAGNOSIS, "group": DIAGNOSIS}


class Attribute(BaseModel):
    """A standardised number (one channel) or a category (one channel per level).

    ``low`` and ``high``: range in training; ``shares``: relative frequency of each level in training.
    """

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
        """Number of channels."""
        return len(self.levels) or 1

    def read(self, text: str) -> float | str:
        """Parse user input: a number within the training range, or a level; unique abbreviations are allowed (F for
        Female, AD for Dementia). Raises ConfigError."""
        if self.kind == "numeric":
            try:
                value = float(text)
            except ValueError:
                raise ConfigError(f"--attributes {self.name}={text}: a number is needed.") from None
            if not self.low <= value <= self.high:
                raise ConfigError(
                    f"--attributes {self.name}={text}: outside the range of the training visits, {self.low:g} to "
                    f"{self.high:g}. Choose a value within it."
                )
            return value
        given = text.strip().lower()
        for word in (given, MEANINGS.get(given, given)):
            found = [level for level in self.levels if level.lower() == word]
            found = found or [level for level in self.levels if level.lower().startswith(word)]
            if len(found) == 1:
                return found[0]
        raise ConfigError(
            f"--attributes {self.name}={text}: the training levels are {listed(self.levels)}. Choose one of them."
        )


class AttributeTable(BaseModel):
    """The attributes that a model is conditioned on, in the order of its context channels."""

    attributes: list[Attribute]

    @classmethod
    def fit(cls, cohort: Cohort, visits: pd.DataFrame, names: list[str]) -> AttributeTable:
        """Fit to the training visits without missing attributes.

        Raises CohortError for a name that is neither a covariate nor the age, and for a constant attribute.
        """
        where = cohort.path or "the cohort"
        if not names:
            raise CohortError(f"{where}: no attribute given. {_columns(cohort)}")
        columns = list(dict.fromkeys(covariate_named(name, cohort, where) for name in names))
        kinds = {"age": "numeric", **cohort.schema.covariates}
        rows = visits[visits[columns].notna().all(axis=1)]
        if rows.empty:
            raise CohortError(f"{where}: no visit has values for all of {listed(columns)}. Choose fewer attributes.")
        return cls(attributes=[_fit(rows[name], name, kinds[name] == "numeric", where) for name in columns])

    @property
    def names(self) -> list[str]:
        """Names of the attributes."""
        return [attribute.name for attribute in self.attributes]

    @property
    def channels(self) -> list[int]:
        """Number of channels of each attribute."""
        return [attribute.channels for attribute in self.attributes]

    def known(self, visits: pd.DataFrame, where: str = "the cohort") -> pd.Series:
        """Which visits have all attributes; raises CohortError if an attribute has no column."""
        if missing := [name for name in self.names if name not in visits]:
            raise CohortError(f"{where}: column {', '.join(missing)} is missing, which the model needs. Add it.")
        return visits[self.names].notna().all(axis=1)

    def encode(self, visits: pd.DataFrame, where: str = "the cohort") -> Tensor:
        """Channels ``[visit, channels]``; raises CohortError for missing values and levels unseen in training."""
        import torch  # takes seconds, and wrong names are refused without it

        parts = []
        for attribute in self.attributes:
            if attribute.name not in visits or visits[attribute.name].isna().any():
                raise CohortError(
                    f"{where}: {attribute.name} is missing for some visits. Fill it in, or remove these visits."
                )
            column = visits[attribute.name]
            if attribute.kind == "numeric":
                parts.append((column.to_numpy(float)[:, None] - attribute.mean) / attribute.sd)
                continue
            text = column.astype(str)
            if unknown := sorted(set(text) - set(attribute.levels)):
                raise CohortError(
                    f"{where}: column {attribute.name} has the value {unknown[0]!r}, which is not among the training "
                    f"levels ({', '.join(attribute.levels)}). Correct it, or remove these visits."
                )
            parts.append(np.stack([text == level for level in attribute.levels], 1))
        return torch.from_numpy(np.concatenate(parts, 1).astype(np.float32))

    def parse(self, text: str) -> dict[str, float | str]:
        """Parse ``sex=F,age=75``; raises ConfigError for names and values that the model does not know."""
        given: dict[str, float | str] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or not value:
                raise ConfigError(f"--attributes {part}: write it as name=value, for example sex=F,age=75.")
            if (column := _find_column(name, self.names)) is None:
                raise ConfigError(
                    f"--attributes {part}: no attribute {name} in this run. Choose from {listed(self.names)}."
                )
            if column in given:
                raise ConfigError(f"--attributes {part}: {column} is given twice.")
            given[column] = self.attributes[self.names.index(column)].read(value)
        return given

    def draw(self, given: dict[str, float | str], count: int, seed: int) -> pd.DataFrame:
        """``count`` rows with the given attributes; the others are drawn independently from their training
        distribution.

        Numbers are drawn from a normal distribution, clipped to the training range.
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
        raise CohortError(
            f"{where}, column {name}: {column.iloc[0]} in every visit, so it cannot be an attribute. Choose another "
            "column."
        )
    if numeric:
        values = column.astype(float)
        ends = dict(zip(("low", "high"), _rounded(values), strict=True))
        return Attribute(name=name, kind="numeric", mean=values.mean(), sd=values.std(), **ends)
    shares = column.astype(str).value_counts(normalize=True).sort_index()
    return Attribute(name=name, kind="categorical", levels=list(shares.index), shares=list(shares))


def _rounded(values: pd.Series) -> tuple[float, float]:
    """The range of values, widened to two digits of its width, so that a run reveals no subject's value."""
    unit = 10.0 ** (np.floor(np.log10(values.max() - values.min())) - 1)
    low, high = np.floor(values.min() / unit) * unit, np.ceil(values.max() / unit) * unit
    return float(f"{low:.12g}"), float(f"{high:.12g}")


def covariate_named(name: str, cohort: Cohort, where: str) -> str:
    """The covariate (or ``age``) that matches a user's ``name``; raises CohortError if there is none."""
    if (found := _find_column(name, ["age", *cohort.covariates])) is None:
        raise CohortError(f"{where}: {name} is not a covariate. {_columns(cohort)}")
    return found


def _columns(cohort: Cohort) -> str:
    return f"Available: {listed(['age', *cohort.covariates])}; add others with --covariates."


def _find_column(name: str, columns: list[str]) -> str | None:
    """The column of that name, ignoring case; for sex and diagnosis also the only column with a synonymous name."""
    same = [column for column in columns if column.lower() == name.lower()]
    pattern: re.Pattern[str] | None = GROUPS.get(name.lower())
    synonyms = [column for column in columns if pattern is not None and matches(pattern, column)]
    if name in columns:
        return name
    return same[0] if len(same) == 1 else synonyms[0] if len(synonyms) == 1 and not same else None
