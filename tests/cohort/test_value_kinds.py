"""The kind of values of a region, by its values and name."""

import numpy as np
import pandas as pd
import pytest

from crow.cohort.value_kinds import ValueKind, kind_of

RNG = np.random.default_rng(0)
CASES = {
    "MMSE": (RNG.integers(10, 31, 200), "integer, 0 to 30"),
    "MMSE_score": (RNG.integers(0, 31, 200), "integer, 0 to 30"),
    "CDR-SB": (RNG.integers(0, 20, 200) / 2, "integer, 0 to 18 in steps of 0.5"),
    "ADAS13": (RNG.uniform(0, 60, 200), "bounded, 0 to 85"),
    "errors": (RNG.poisson(4, 200), "integer, 0 to inf"),
    "recall": (np.minimum(RNG.poisson(9, 200), 10), "integer, 0 to 10"),
    "Hippocampus": (RNG.normal(7000, 800, 200), "positive"),
    "Hippocampus in whole mm3": (RNG.normal(7000, 800, 200).round(), "positive"),
    "z": (RNG.normal(0, 1, 200), "real"),
    "share": (RNG.uniform(0, 1, 200), "bounded, 0 to 1"),
    "FA": (RNG.uniform(0.2, 0.4, 200), "positive"),
    "mmse as a share": (RNG.uniform(0, 1, 200), "bounded, 0 to 1"),
}


@pytest.mark.parametrize("name", list(CASES))
def test_kinds_follow_values_and_names(name: str) -> None:
    values, expected = CASES[name]
    assert str(kind_of(pd.Series(values, dtype=float), name)) == expected


@pytest.mark.parametrize("error", [-9.0, 1e6])
def test_one_cell_does_not_decide_about_a_column(error: float) -> None:
    volumes = pd.Series(np.append(RNG.normal(7000, 800, 400), error))
    assert kind_of(volumes, "Hippocampus").kind == "positive"
    scores = pd.Series(np.append(RNG.integers(0, 31, 400), error), dtype=float)
    assert str(kind_of(scores, "MMSE")) == "integer, 0 to 30"


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="not below"):
        ValueKind(kind="bounded", lower=1.0, upper=0.0)
