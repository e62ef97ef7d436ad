"""Outlier scores are relative to visits of the same kind, and outliers are rare if the model is true."""

import numpy as np
import pandas as pd
import pytest

from crow.evaluation.outlier_score import LIMIT, outlier_score


def scores(regions: int, subjects: int = 4000) -> pd.DataFrame:
    """Two visits per subject: log-densities of draws from a standard normal, 20 nats lower at first visits."""
    rng = np.random.default_rng(0)
    log_prob = -0.5 * (rng.normal(size=(subjects, 2, regions)) ** 2).sum(2) - np.array([20.0, 0.0])
    return pd.DataFrame(
        {
            "subject": np.repeat([f"s{k}" for k in range(subjects)], 2),
            "time": np.tile([0.0, 1.0], subjects),
            "log_prob": log_prob.ravel(),
        }
    )


@pytest.mark.parametrize("regions, share", [(6, 0.01), (82, 0.001)])
def test_few_draws_of_the_model_itself_are_outliers(regions: int, share: float) -> None:
    table = scores(regions)
    assert (outlier_score(table) > LIMIT).mean() < share
    first = table["time"] == 0
    medians = [outlier_score(table)[kind].median() for kind in (first, ~first)]
    assert medians == pytest.approx([0, 0], abs=1e-9)


def test_an_unlikely_visit_stands_out() -> None:
    table = scores(6, 100)
    table.loc[7, "log_prob"] -= 30
    assert outlier_score(table).idxmax() == 7 and outlier_score(table)[7] > LIMIT


def test_equally_likely_visits_have_the_score_zero() -> None:
    table = pd.DataFrame({"subject": ["a", "a", "b"], "time": [0.0, 1.0, 0.0], "log_prob": [-1.0, -2.0, -1.0]})
    assert list(outlier_score(table)) == [0.0, 0.0, 0.0]
