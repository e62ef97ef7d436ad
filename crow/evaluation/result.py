"""The result of one part of an evaluation: metrics, tables, what was left out and why, and warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class EvaluationResult:
    """The result of an evaluation, or of a part of it.

    Attributes
    ----------
    metrics : dict
        Nested numbers and texts, written to metrics.json under their names.
    tables : dict of str to DataFrame
        Tidy tables, written as ``<name>.csv``.
    left_out : list of (str, str)
        Each metric or model that could not be evaluated, and the reason in one sentence.
    warnings : list of str
        Sentences that a reader has to see.

    Examples
    --------
    >>> first = EvaluationResult({"forecast": {"crow": {"MAE": 0.3}}})
    >>> first.merge(EvaluationResult(warnings=["Few subjects."])).json()
    {'forecast': {'crow': {'MAE': 0.3}}, 'left_out': [], 'warnings': ['Few subjects.']}
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def merge(self, *others: EvaluationResult) -> EvaluationResult:
        """Combine results: metrics are merged key by key, tables of the same name are concatenated.

        Parameters
        ----------
        *others : EvaluationResult
            The results to add; none of the inputs changes.

        Returns
        -------
        EvaluationResult
            All metrics, tables, reasons and warnings, without repeated reasons and warnings.

        Raises
        ------
        ValueError
            If two results have different values of the same metric.
        """
        metrics, tables = dict(self.metrics), dict(self.tables)
        left_out, warnings = list(self.left_out), list(self.warnings)
        for other in others:
            metrics = _merged(metrics, other.metrics)
            for name, table in other.tables.items():
                tables[name] = pd.concat([tables[name], table], ignore_index=True) if name in tables else table
            left_out += [pair for pair in other.left_out if pair not in left_out]
            warnings += [sentence for sentence in other.warnings if sentence not in warnings]
        return EvaluationResult(metrics, tables, left_out, warnings)

    def json(self) -> dict[str, Any]:
        """The content of metrics.json: ``metrics``, ``left_out`` and ``warnings`` as plain values.

        Returns
        -------
        dict
            Only dicts, lists, strings, numbers and None, which replaces NaN and infinity.
        """
        left_out = [{"metric": metric, "reason": reason} for metric, reason in self.left_out]
        return {**_plain(self.metrics), "left_out": left_out, "warnings": list(self.warnings)}


def _merged(first: Mapping[str, Any], second: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    both = dict(first)
    for name, value in second.items():
        if name in both and isinstance(both[name], Mapping) and isinstance(value, Mapping):
            both[name] = _merged(both[name], value, f"{path}{name}.")
        elif name in both and both[name] != value:
            raise ValueError(f"EvaluationResult.merge: two values of {path}{name}: {both[name]} and {value}")
        else:
            both[name] = value
    return both


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
