"""Surprise is relative to visits of the same kind, and rare where the model is right."""

import numpy as np
import pandas as pd
import pytest

from crow.evaluation.outlier_score import LIMIT, outlier_score


def scores(regions: int, subjects: int = 4000) -> pd.DataFrame:
    """Two visits a subject; the log-density of a standard normal at draws from it, the first 20 nats lower."""
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
def test_few_visits_of_the_model_itself_are_unusual(regions: int, share: float) -> None:
    table = scores(regions)
    unusual = outlier_score(table) > LIMIT
    assert unusual.mean() < share
    first = table["time"] == 0
    assert [outlier_score(table)[first].median(), outlier_score(table)[~first].median()] == pytest.approx([0, 0], abs=1e-9)


def test_an_unlikely_visit_stands_out() -> None:
    table = scores(6, 100)
    table.loc[7, "log_prob"] -= 30
    assert outlier_score(table).idxmax() == 7 and outlier_score(table)[7] > LIMIT


def test_visits_all_alike_surprise_nobody() -> None:
    table = pd.DataFrame({"subject": ["a", "a", "b"], "time": [0.0, 1.0, 0.0], "log_prob": [-1.0, -2.0, -1.0]})
    assert list(outlier_score(table)) == [0.0, 0.0, 0.0]
