"""Usefulness: synthetic subjects with the signal of real ones are as useful; noise is not."""

import numpy as np
import pandas as pd
import pytest

from crow.evaluation.usefulness import NEXT_VISIT, usefulness

REGIONS, COVARIATES = ["A", "B"], ["DX", "MMSE", "weight"]


def cohort(seed: int, signal: float = 1.0, n: int = 80) -> pd.DataFrame:
    """A and B fall from stage to stage and with MMSE, and persist within subjects."""
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


def test_synthetic_subjects_with_the_signal_are_as_useful_as_real_ones() -> None:
    table, left_out = usefulness(cohort(0), cohort(1), cohort(2), REGIONS, COVARIATES, resamples=100)
    rows = table.set_index("task")
    assert list(rows.index) == ["DX", "MMSE", NEXT_VISIT] and not left_out, "weight is no measure of the disease"
    assert rows["metric"].tolist() == ["AUC", "MAE", "MAE"] and rows["real"]["DX"] > 0.9
    assert ((rows["ratio_low"] <= rows["ratio"]) & (rows["ratio"] <= rows["ratio_high"])).all()
    np.testing.assert_allclose(rows["ratio"], 1, atol=0.1)


def test_synthetic_subjects_without_the_signal_are_less_useful() -> None:
    noise = cohort(1, signal=0.0)
    rows = usefulness(cohort(0), noise, cohort(2), REGIONS, COVARIATES, resamples=50)[0].set_index("task")
    assert rows["ratio_high"]["DX"] < 0.85 and rows["ratio_high"]["MMSE"] < 0.7


@pytest.mark.parametrize(
    ("change", "task", "reason"),
    [
        (lambda t: t.assign(DX="CN"), "DX", "DX is the same at all visits"),
        (lambda t: t.assign(DX="yes"), "DX", "'yes' is no stage"),
        (lambda t: t.assign(MMSE=np.nan), "MMSE", "0 visits are available"),
        (lambda t: t.assign(MMSE=30.0), "MMSE", "MMSE is the same at all visits"),
    ],
)
def test_impossible_tasks_are_left_out_with_the_reason(change, task: str, reason: str) -> None:
    tables = [change(cohort(seed)) for seed in range(3)]
    found, left_out = usefulness(*tables, REGIONS, COVARIATES, resamples=10)
    assert task not in found["task"].to_numpy() and reason in dict(left_out)[f"usefulness.{task}"]


def test_a_diagnosis_that_does_not_occur_in_training_is_left_out() -> None:
    without = cohort(0)[lambda t: t["DX"] != "Dementia"]
    _, left_out = usefulness(without, without, cohort(2), REGIONS, ["DX"], resamples=10)
    assert "some values of DX do not occur" in dict(left_out)["usefulness.DX"]
