"""The kind of values of a region: real, positive, bounded, or a score of whole steps."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, model_validator

from crow.cohort.parameters import (
    LEVEL_TOLERANCE,
    MAX_SCORE_LEVELS,
    MAX_SCORE_STEPS,
    MIN_CEILING_SHARE,
    MIN_KIND_SHARE,
    MIN_KIND_VALUES,
    MIN_UNIT_RANGE,
)

Kind = Literal["real", "positive", "bounded", "integer"]
KINDS: tuple[Kind, ...] = ("real", "positive", "bounded", "integer")
STEPS = (1.0, 0.5)

SCALES: dict[str, tuple[float, float]] = {
    "mmse": (0, 30), "mmsctot": (0, 30), "mmscore": (0, 30), "moca": (0, 30), "cdrsb": (0, 18), "cdrsum": (0, 18),
    "cdr": (0, 3), "cdglobal": (0, 3), "adas11": (0, 70), "adas13": (0, 85), "adasq4": (0, 10), "faq": (0, 30),
    "ravltimmediate": (0, 75), "ravltlearning": (-15, 15), "ldeltotal": (0, 25), "logimem": (0, 25),
    "memunits": (0, 25),
    "gds": (0, 15), "npiq": (0, 36), "updrs3": (0, 132), "np3tot": (0, 132), "digitscor": (0, 133), "edss": (0, 10),
}  # fmt: skip
"""Range of well-known scores, by name in lower case without separators."""


class ValueKind(BaseModel):
    """The possible values of a region.

    ``positive`` and ``bounded`` values are between ``lower`` and ``upper``; an ``integer`` is a score that moves in
    whole ``step``s between them. None is no bound.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "real"
    lower: float | None = None
    upper: float | None = None
    step: float | None = None

    @model_validator(mode="after")
    def _in_order(self) -> ValueKind:
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            raise ValueError(f"the lower bound {self.lower:g} is not below the upper bound {self.upper:g}")
        if self.step is not None and not self.step > 0:
            raise ValueError(f"the step {self.step:g} is not positive")
        return self

    def complete(self) -> ValueKind:
        """With the bounds and step that a kind alone implies: 0 for positive, 0 and 1 for bounded, 1 for integer."""
        if self.kind == "positive" and self.lower is None:
            return self.model_copy(update={"lower": 0.0})
        if self.kind == "bounded" and self.lower is None and self.upper is None:
            return self.model_copy(update={"lower": 0.0, "upper": 1.0})
        if self.kind == "integer" and self.step is None:
            return self.model_copy(update={"step": 1.0})
        return self

    def allows(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each value lies within the bounds; a NaN does."""
        inside = np.ones(values.shape, dtype=bool)
        if self.lower is not None:
            inside &= ~(values < self.lower)
        if self.upper is not None:
            inside &= ~(values > self.upper)
        return inside

    def __str__(self) -> str:
        if self.kind == "real" or (self.kind == "positive" and self.lower == 0):
            return self.kind
        lower = "-inf" if self.lower is None else f"{self.lower:g}"
        upper = "inf" if self.upper is None else f"{self.upper:g}"
        step = f" in steps of {self.step:g}" if self.step not in (None, 1.0) else ""
        return f"{self.kind}, {lower} to {upper}{step}"


def kind_of(values: pd.Series, name: str) -> ValueKind:
    """The kind of a column of numbers, by its values and, for the range of a score, its name.

    A few values may contradict it (`MIN_KIND_SHARE`): those are errors, and one cell does not decide about a column.
    """
    v = values.dropna().to_numpy(float)
    v = v[np.isfinite(v)]
    if len(v) < MIN_KIND_VALUES or len(np.unique(v)) < 2:
        return ValueKind()
    scale = _scale(v, name)
    low, high = np.quantile(v, [0.01, 0.99], method="linear")
    positive = _most(v >= 0)
    if (step := _step(v)) is not None:
        lower, upper = scale or (0.0 if positive else None, _ceiling(v))
        return ValueKind(kind="integer", lower=lower, upper=upper, step=step)
    if scale is not None:
        return ValueKind(kind="bounded", lower=scale[0], upper=scale[1])
    if _most((v >= 0) & (v <= 1)) and high - low >= MIN_UNIT_RANGE:
        return ValueKind(kind="bounded", lower=0.0, upper=1.0)
    return ValueKind(kind="positive", lower=0.0) if positive else ValueKind()


def kinds_of(visits: pd.DataFrame, regions: list[str], given: dict[str, ValueKind]) -> dict[str, ValueKind]:
    """The kinds that are ``given``, else `kind_of`; of every region that is not real."""
    found = {name: given[name].complete() if name in given else kind_of(visits[name], name) for name in regions}
    return {name: kind for name, kind in found.items() if kind.kind != "real"}


def _most(fits: np.ndarray[Any, np.dtype[np.bool_]]) -> bool:
    return bool(fits.mean() >= MIN_KIND_SHARE)


def _scale(v: np.ndarray[Any, Any], name: str) -> tuple[float, float] | None:
    """The range of a well-known score, if the values are in its units: within it, and not a share of it."""
    words = re.sub(r"[^a-z0-9]", "", name.lower())
    known = SCALES.get(words) or SCALES.get(re.sub(r"(total|score|tot|sum)$", "", words))
    if known is None or not _most((v >= known[0]) & (v <= known[1])):
        return None
    is_share = np.quantile(v, 0.99, method="linear") <= 1 < known[1] / 3
    return None if is_share else known


def _step(v: np.ndarray[Any, Any]) -> float | None:
    """The step of a score; None if values are no levels, or so many that steps do not matter."""
    for step in STEPS:
        if _most(np.abs(v / step - np.round(v / step)) < LEVEL_TOLERANCE):
            low, high = np.quantile(v, [0.01, 0.99], method="linear")
            few = len(np.unique(v)) <= MAX_SCORE_LEVELS and (high - low) / step <= MAX_SCORE_STEPS
            return step if few else None
    return None


def _ceiling(v: np.ndarray[Any, Any]) -> float | None:
    """The largest value, if so many visits reach it that it is the end of the scale."""
    return float(v.max()) if (v == v.max()).mean() >= MIN_CEILING_SHARE else None
