"""Reference centiles: what a first visit of a healthy subject at each age is like, drawn from the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from crow.cohort.cohort import Cohort
from crow.data.forecast import quantiles_of
from crow.models.history_state import HistoryState, Values

HEALTHY = (
    "cn", "nc", "hc", "nl", "cu", "control", "controls", "healthy", "healthy control", "normal", "cognitively normal",
    "cognitively unimpaired", "nondemented", "no dementia",
)  # fmt: skip
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
POINTS = 9  # ages
DRAWS = 400


@dataclass(frozen=True)
class Reference:
    """Quantiles ``[time, share, region]`` at ``times`` (years after the subject's last visit), and what they are of."""

    label: str
    times: list[float]
    values: Values


def healthy_level(cohort: Cohort) -> tuple[str, str] | None:
    """The covariate with a level for healthy subjects, and that level."""
    for name, kind in cohort.schema.covariates.items():
        if kind == "categorical" and name not in cohort.schema.sites:
            for level in cohort.visits[name].dropna().unique():
                if str(level).strip().lower().replace("_", " ") in HEALTHY:
                    return name, str(level)
    return None


def reference(state: HistoryState, cohort: Cohort, horizon: float, seed: int = 0) -> Reference | None:
    """Centiles from the subject's first visit to ``horizon`` years after its last; None without ages.

    They are of subjects with the same constant covariates. Those that change have the values of healthy subjects: the
    healthy level of a diagnosis, and the median of numbers among the visits with it. Without such a level they are the
    medians of the cohort.
    """
    own, table = state.cohort.visits, state.model.table
    if own["age"].isna().all() or not any(one.name == "age" for one in table.covariates):
        return None
    last = float(own["time"].iloc[-1])
    times = np.linspace(float(own["time"].iloc[0]) - last, horizon, POINTS)
    profile, label = _profile(state.cohort, cohort)
    age = float((own["age"] - own["time"]).dropna().iloc[-1]) + last
    rows = pd.DataFrame({"subject": [f"reference {k}" for k in range(POINTS)], "time": 0.0, "age": age + times})
    for name, value in profile.items():
        rows[name] = [value] * POINTS
    empty = HistoryState(state.model, state.cohort, None, [None] * len(state.states))
    drawn = empty.forecast(rows, DRAWS, seed)
    values = np.moveaxis(quantiles_of(drawn, SHARES, axis=1), 0, 1)
    return Reference(label, times.tolist(), values) if bool(torch.isfinite(torch.from_numpy(values)).all()) else None


def _profile(own: Cohort, cohort: Cohort) -> tuple[dict[str, Any], str]:
    """The covariates of a reference subject, and a sentence."""
    found, schema = healthy_level(cohort), cohort.schema
    among = cohort.visits if found is None else cohort.visits[cohort.visits[found[0]].astype(str) == found[1]]
    profile: dict[str, Any] = {}
    for name, kind in schema.covariates.items():
        values = own.visits[name].dropna()
        if name in schema.fixed or name in schema.sites:
            profile[name] = values.iloc[-1] if len(values) else None
        elif found is not None and name == found[0]:
            profile[name] = found[1]
        elif kind == "numeric":
            profile[name] = float(among[name].astype(float).median())
        else:
            usual = among[name].dropna().mode()
            profile[name] = usual.iloc[0] if len(usual) else None
    if found is None:
        return profile, "typical subjects: medians of the cohort"
    return profile, f"subjects with {found[0]} {found[1]}"
