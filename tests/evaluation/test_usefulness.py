"""Usefulness: synthetic people that carry what real ones do teach as much, noise teaches nothing."""

import numpy as np
import pandas as pd
import pytest

from crow.evaluation.usefulness import NEXT, usefulness

REGIONS, COVARIATES = ["A", "B"], ["DX", "MMSE", "weight"]


def people(seed: int, signal: float = 1.0, n: int = 80) -> pd.DataFrame:
    """A and B fall from stage to stage and with MMSE, and stay near what they were."""
    rng = np.random.default_rng(seed)
    stage = np.repeat(rng.integers(0, 3, n), 3)
    own = np.repeat(rng.normal(size=(n, 2)), 3, 0)
    values = 0.7 * own + 0.3 * rng.normal(size=own.shape) - 2 * signal * stage[:, None]
    values[0, 0] = np.nan
    return pd.DataFrame(values, columns=REGIONS).assign(
        subject=np.repeat([f"s{k}" for k in range(n)], 3), time=np.tile([0.0, 1.0, 2.0], n), age=70.0,
        DX=np.array(["CN", "MCI", "Dementia"], object)[stage], MMSE=30 - 5 * stage + rng.normal(size=len(stage)),
        weight=1.0,
    )  # fmt: skip


def test_as_useful_as_real() -> None:
    table, left_out = usefulness(people(0), people(1), people(2), REGIONS, COVARIATES, draws=100)
    rows = table.set_index("task")
    assert list(rows.index) == ["DX", "MMSE", NEXT] and not left_out, "weight is no measure of the disease"
    assert rows["metric"].tolist() == ["AUC", "MAE", "MAE"] and rows["real"]["DX"] > 0.9
    assert ((rows["ratio_low"] <= rows["ratio"]) & (rows["ratio"] <= rows["ratio_high"])).all()
    np.testing.assert_allclose(rows["ratio"], 1, atol=0.1)


def test_what_lacks_the_signal_is_less_useful() -> None:
    noise = people(1, signal=0.0)
    rows = usefulness(people(0), noise, people(2), REGIONS, COVARIATES, draws=50)[0].set_index("task")
    assert rows["ratio_high"]["DX"] < 0.85 and rows["ratio_high"]["MMSE"] < 0.7


@pytest.mark.parametrize(
    ("change", "task", "why"),
    [
        (lambda t: t.assign(DX="CN"), "DX", "DX is the same at all visits"),
        (lambda t: t.assign(DX="yes"), "DX", "'yes' is no stage"),
        (lambda t: t.assign(MMSE=np.nan), "MMSE", "0 visits tell of it"),
        (lambda t: t.assign(MMSE=30.0), "MMSE", "MMSE is the same at all visits"),
    ],
)
def test_what_cannot_be_told_is_left_out(change, task: str, why: str) -> None:
    tables = [change(people(seed)) for seed in range(3)]
    found, left_out = usefulness(*tables, REGIONS, COVARIATES, draws=10)
    assert task not in found["task"].to_numpy() and why in dict(left_out)[f"usefulness.{task}"]


def test_a_diagnosis_that_training_people_do_not_have() -> None:
    without = people(0)[lambda t: t["DX"] != "Dementia"]
    _, left_out = usefulness(without, without, people(2), REGIONS, ["DX"], draws=10)
    assert "do not have every DX" in dict(left_out)["usefulness.DX"]
