"""Results of several parts are merged, and converted to JSON."""

import json

import numpy as np
import pandas as pd
import pytest

from crow.evaluation.result import EvaluationResult


def test_merging() -> None:
    first = EvaluationResult(
        {"forecast": {"crow": {"MAE": 1.0}}}, {"a": pd.DataFrame({"x": [1]})}, [("mAUC", "no diagnosis")]
    )  # fmt: skip
    second = EvaluationResult(
        {"forecast": {"last visit": {"MAE": 2.0}}, "format": 1}, {"a": pd.DataFrame({"x": [2]})},
        [("mAUC", "no diagnosis")], ["few subjects"],
    )  # fmt: skip
    both = first.merge(second)
    assert both.metrics == {"forecast": {"crow": {"MAE": 1.0}, "last visit": {"MAE": 2.0}}, "format": 1}
    assert list(both.tables["a"]["x"]) == [1, 2]
    assert both.left_out == [("mAUC", "no diagnosis")] and both.warnings == ["few subjects"]
    with pytest.raises(ValueError, match=r"forecast\.crow\.MAE"):
        first.merge(EvaluationResult({"forecast": {"crow": {"MAE": 3.0}}}))


def test_json_has_plain_values() -> None:
    result = EvaluationResult({"pit": np.array([0.5, np.nan]), "n": np.int64(3)}, left_out=[("energy", "one region")])
    assert json.loads(json.dumps(result.json(), allow_nan=False)) == {
        "pit": [0.5, None], "n": 3, "left_out": [{"metric": "energy", "reason": "one region"}], "warnings": [],
    }  # fmt: skip
