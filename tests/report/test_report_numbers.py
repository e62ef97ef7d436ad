"""Numbers have the digits that their intervals allow; the first lines say what an evaluation found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crow.report.blocks import Metric, interval
from crow.report.evaluated import Evaluation
from crow.report.group_effects import change_in_size
from crow.report.numbers import decimals_of, fixed
from crow.report.sections.verdict import verdict


@pytest.mark.parametrize(
    ("values", "share", "texts"),
    [
        ((0.41024, 0.32853, 0.47344), True, ["41 %", "33 %", "47 %"]),
        ((0.99444, 0.98598, 0.99944), False, ["0.994", "0.986", "0.999"]),
        ((5.0, 4.0, 6.0), False, ["5", "4", "6"]),
        ((0.02, -0.001, 0.04), True, ["2 %", "0 %", "4 %"]),
    ],
)  # fmt: skip
def test_the_first_digit_of_the_interval_is_the_last_of_the_number(
    values: tuple[float, float, float], share: bool, texts: list[str]
) -> None:
    cell = interval(*(Metric(value, "a", "f", share) for value in values))
    assert isinstance(cell, tuple)
    assert [part.text for part in cell if isinstance(part, Metric)] == texts


def test_decimals_of_no_uncertainty_are_not_known() -> None:
    assert (decimals_of(0.0), decimals_of(float("nan")), decimals_of(12.0)) == (None, None, 0)
    assert fixed(-1234.56, 1) == "−1,234.6" and fixed(None, 2) == "–"
    assert [change_in_size(1.0, size) for size in (0.88, 1.0, 1.5)] == ["12 % smaller", "of equal size", "50 % larger"]


def evaluation(low: float, high: float, crps: dict[str, float], coverage: tuple[float, float]) -> Evaluation:
    models = {"crow": crps, "last visit": dict.fromkeys(crps, 0.2)}
    metrics: dict[str, Any] = {
        "skill": {"CRPS": {"reference": "last visit", "value": (low + high) / 2, "low": low, "high": high}},
        "forecast": {"crow": {"coverage 90 %": sum(coverage) / 2}},
        "calibration": {"coverage_low": {"90 %": coverage[0]}, "coverage_high": {"90 %": coverage[1]}},
        "by_horizon": {model: {h: {"CRPS": v} for h, v in each.items()} for model, each in models.items()},
        "by": {"sex": {"F": {"crow": {"CRPS": 0.3, "subjects": 9}, "last visit": {"CRPS": 0.2}},
                       "M": {"crow": {"CRPS": 0.1, "coverage 90 %": 0.71, "subjects": 9}, "last visit": {"CRPS": 0.2}},
                       "X": {"crow": {"CRPS": 0.1, "subjects": 1}, "last visit": {"CRPS": 0.2}}}},
    }  # fmt: skip
    return Evaluation(Path("run_evaluation"), metrics)


def answers(found: Evaluation) -> dict[str, str]:
    shown = verdict(found, follow_up=3.2)
    assert shown is not None
    parts = {name: cell if isinstance(cell, tuple) else (cell,) for name, cell in shown.rows}
    return {
        name: "".join(part.text if isinstance(part, Metric) else str(part) for part in cell)
        for name, cell in parts.items()
    }


@pytest.mark.parametrize(
    ("low", "high", "coverage", "word", "width"),
    [
        (0.2, 0.4, (0.7, 0.8), "Yes.", "too narrow"),
        (-0.1, 0.1, (0.85, 0.95), "Not shown.", "within that uncertainty"),
        (-0.3, -0.1, (0.92, 0.99), "No.", "too wide"),
    ],
)  # fmt: skip
def test_a_skill_is_shown_only_if_its_interval_excludes_zero(
    low: float, high: float, coverage: tuple[float, float], word: str, width: str
) -> None:
    text = answers(evaluation(low, high, {"0-1 y": 0.1}, coverage))["Is it good for forecasting?"]
    assert text.startswith(word) and width in text


def test_the_horizon_ends_before_the_first_period_that_is_no_better() -> None:
    found = answers(evaluation(0.2, 0.4, {"0-1 y": 0.1, "1-2 y": 0.1, "2-4 y": 0.3, ">4 y": 0.1}, (0.8, 0.95)))
    far = found["How far ahead?"]
    assert far.startswith("1 to 2 years ahead") and "not 2 to 4 years ahead" in far and "3.2 years" in far
    assert "Not even 0 to 1 years" in answers(evaluation(0.2, 0.4, {"0-1 y": 0.3}, (0.8, 0.95)))["How far ahead?"]


def test_groups_that_are_forecast_worse_are_named_and_small_ones_are_not_compared() -> None:
    text = answers(evaluation(0.2, 0.4, {"0-1 y": 0.1}, (0.8, 0.95)))["For which subjects not?"]
    assert "sex F (CRPS not lower" in text and "sex M (90 % intervals contain 71 %)" in text
    assert text.endswith("Too few test subjects to tell: sex X (1 subject).")
