"""The joint distribution of the variables of a subject: a Gaussian copula, fitted to incomplete records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.synthetic.marginal import Marginal

MAX_CORRELATION = 0.98


@dataclass(frozen=True)
class Copula:
    """Marginals by variable, and the correlations of their standard normal numbers.

    A variable with missing values has a second one, ``(name, "missing")``, so that what is missing together in the
    cohort is missing together in the draws.
    """

    marginals: dict[tuple[str, str], Marginal]
    correlation: NDArray[np.float64]

    @classmethod
    def fit(cls, records: pd.DataFrame, categorical: set[str]) -> Copula:
        """Fit to one row per subject; variables without a value that enough subjects have are left out."""
        marginals: dict[tuple[str, str], Marginal] = {}
        columns: dict[tuple[str, str], pd.Series] = {}
        numbers = records.drop(columns=list(categorical & set(records.columns))).astype(float)
        for name in records.columns:
            column = records[name]
            known = column.dropna()
            if name in categorical:
                found = Marginal.of_levels(known, _order(column, numbers))
            else:
                found = Marginal.of_numbers(known.astype(float))
            if found is None:
                continue
            marginals[name, "value"], columns[name, "value"] = found, column
            missing = Marginal.of_levels(column.isna())
            if len(known) < len(column) and missing is not None:
                marginals[name, "missing"], columns[name, "missing"] = missing, column.isna()
        scores = [marginals[key].scores(columns[key]) for key in marginals]
        return cls(marginals, _correlation(np.array(scores), len(records)))

    def draw(self, count: int, generator: np.random.Generator) -> pd.DataFrame:
        """``count`` records."""
        root = np.linalg.cholesky(self.correlation)
        z = generator.standard_normal((count, len(root))) @ root.T
        drawn = {key: one.draw(z[:, k]) for k, (key, one) in enumerate(self.marginals.items())}
        records = {name: values for (name, what), values in drawn.items() if what == "value"}
        table = pd.DataFrame(records)
        for (name, what), missing in drawn.items():
            if what == "missing":
                table[name] = table[name].where(~missing.astype(bool))
        return table


def _order(column: pd.Series, numbers: pd.DataFrame) -> pd.Series | None:
    """The number that differs most between the levels of a column; its mean orders them."""
    best, share = None, 0.0
    for name in numbers.columns:
        values = numbers[name].where(column.notna()).dropna()
        total = float(values.var(ddof=0)) if len(values) > 1 else 0.0
        if total > 0:
            means = values.groupby(column.loc[values.index]).transform("mean")
            explained = float(means.var(ddof=0)) / total
            if explained > share:
                best, share = numbers[name], explained
    return best


def _correlation(scores: NDArray[np.float64], subjects: int) -> NDArray[np.float64]:
    """Correlations of the normal numbers behind ``scores [variable, subject]``, shrunk to those of few subjects.

    A level's score is the mean z of the level, whose variance is below 1; cov / (var var) corrects for it.
    """
    known = np.isfinite(scores)
    mean = np.where(known, scores, 0).sum(1) / np.maximum(known.sum(1), 1)
    z = np.where(known, scores - mean[:, None], 0.0)
    pairs = np.maximum(known.astype(float) @ known.T, 1.0)
    covariance = z @ z.T / pairs
    spread = np.diag(covariance)
    matrix = covariance / np.maximum(np.outer(spread, spread), 1e-12)
    constant = spread < 1e-9
    matrix[constant] = 0.0
    matrix[:, constant] = 0.0
    matrix = matrix.clip(-MAX_CORRELATION, MAX_CORRELATION) * subjects / (subjects + len(scores))
    np.fill_diagonal(matrix, 1.0)
    values, vectors = np.linalg.eigh(matrix)
    matrix = (vectors * values.clip(1e-4)) @ vectors.T
    scale = np.sqrt(np.diag(matrix))
    return np.asarray(matrix / np.outer(scale, scale), float)
