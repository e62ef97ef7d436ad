"""What one part of an evaluation found: numbers, tables, what could not be measured and why, and warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class EvaluationResult:
    """``metrics`` go into metrics.json under their names, ``tables`` (tidy) into CSVs, whose names lack the ending;
    ``left_out`` are (metric, why); ``warnings`` are sentences."""

    metrics: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def merge(self, *others: EvaluationResult) -> EvaluationResult:
        """All of them in one: groups of metrics are joined key by key, tables of one name one below the other.

        Raises ValueError where two say one number differently.
        """
        metrics, tables = dict(self.metrics), dict(self.tables)
        left_out, warnings = list(self.left_out), list(self.warnings)
        for other in others:
            metrics = _joined(metrics, other.metrics)
            for name, table in other.tables.items():
                tables[name] = pd.concat([tables[name], table], ignore_index=True) if name in tables else table
            left_out += [pair for pair in other.left_out if pair not in left_out]
            warnings += [sentence for sentence in other.warnings if sentence not in warnings]
        return EvaluationResult(metrics, tables, left_out, warnings)

    def json(self) -> dict[str, Any]:
        """What metrics.json holds: ``metrics``, ``left_out`` and ``warnings`` in plain values, null for no number."""
        left_out = [{"metric": metric, "why": why} for metric, why in self.left_out]
        return {**_plain(self.metrics), "left_out": left_out, "warnings": list(self.warnings)}


def _joined(ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    both = dict(ours)
    for name, value in theirs.items():
        if name in both and isinstance(both[name], Mapping) and isinstance(value, Mapping):
            both[name] = _joined(both[name], value, f"{where}{name}.")
        elif name in both and both[name] != value:
            raise ValueError(f"EvaluationResult.merge: two values of {where}{name}: {both[name]} and {value}")
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
