"""The models that crow is compared with, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Protocol

import pandas as pd

from crow.cohort.cohort import Cohort
from crow.data.forecast import Forecast
from crow.errors import ConfigError
from crow.evaluation.simple_baselines import RULES, SimpleBaseline


class Baseline(Protocol):
    """What can be compared: it learns from training subjects, and answers about others.

    ``fit`` raises CohortError where the cohort has not what the model needs; ``log_prob`` is None for a model without
    one. ``targets`` have subject, time, age and covariates, sorted by subject and time; the forecast keeps their order.
    """

    name: str

    def fit(self, training: Cohort, seed: int = 0) -> Any: ...

    def forecast(self, history: Cohort, targets: pd.DataFrame, samples: int = 200, seed: int = 0) -> Forecast: ...

    def log_prob(self, cohort: Cohort) -> pd.DataFrame | None: ...


def _later(path: str) -> Callable[[], Baseline]:
    """What ``module.Class`` or ``module.Class.method`` makes, imported when it is wanted."""

    def make() -> Baseline:
        module, *names = path.split(".")
        found = import_module(f"crow.evaluation.{module}")
        for name in names:
            found = getattr(found, name)
        return found()  # type: ignore[operator]

    return make


SIMPLE: dict[str, Callable[[], Baseline]] = {
    word: partial(SimpleBaseline, rule) for word, rule in zip(("last", "mean", "slope"), RULES, strict=True)
}
BASELINES: dict[str, Callable[[], Baseline]] = {
    **SIMPLE,
    "mixed": _later("mixed_baseline.MixedBaseline"),
    "start": _later("crow_baseline.CRowBaseline.start"),
    "gru": _later("gru_baseline.GRUBaseline"),
    "cinn": _later("cinn_baseline.CINNBaseline"),
    "published": _later("crow_baseline.CRowBaseline.published"),
    "leaspy": _later("leaspy_baseline.LeaspyBaseline"),
}


def baseline_names(asked: str | Sequence[str]) -> list[str]:
    """Keys of `BASELINES` from ``all``, ``simple``, ``none``, or a list (of words, or one text with commas).

    Raises ConfigError for an unknown one.
    """
    words = asked.split(",") if isinstance(asked, str) else list(asked)
    chosen: list[str] = []
    for word in (word.strip() for word in words):
        group = {"all": list(BASELINES), "simple": list(SIMPLE), "none": []}.get(word, [word])
        if unknown := [name for name in group if name not in BASELINES]:
            raise ConfigError(
                f"--baselines {unknown[0]}: there is no such baseline. Choose all, simple, none, or some of "
                f"{', '.join(BASELINES)}, separated by commas."
            )
        chosen += [name for name in group if name not in chosen]
    return chosen
