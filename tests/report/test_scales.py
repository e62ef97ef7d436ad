"""Axes have the unit of their region; large volumes in mm³ are shown in cm³."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from crow.cohort.units import scaled
from crow.report.scales import label_values, unit_of


@pytest.mark.parametrize(
    ("unit", "high", "label", "ticks"),
    [
        ("mm³", 7000.0, "cm³", ["5.0", "5.5", "6.0", "6.5", "7.0"]), ("mm³", 8.0, "mm³", None),
        ("SUVR", 8000.0, "SUVR", None), ("", 60000.0, "", ["10,000", "20,000", "30,000", "40,000", "50,000", "60,000"]),
    ],
)  # fmt: skip
def test_an_axis_has_its_unit_and_ticks_of_equal_digits(
    unit: str, high: float, label: str, ticks: list[str] | None
) -> None:
    axes = Figure().subplots()
    low = {7000.0: 5000.0, 60000.0: 10000.0}.get(high, 0.0)
    axes.set_ylim(low, high)
    axes.set_yticks([low + k * {7000.0: 500.0}.get(high, 10000.0) for k in range(len(ticks or []))])
    label_values(axes, unit)
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    assert axes.get_ylabel() == label
    assert ticks is None or [one.get_text() for one in axes.get_yticklabels()] == ticks


def test_one_unit_is_for_all_regions_and_a_mapping_for_each() -> None:
    assert unit_of("a", "mm3") == "mm³"
    assert unit_of("a", {"a": "ml"}) == "cm³" and unit_of("b", {"a": "ml"}) == ""
    assert scaled("mm³", -3e4) == ("cm³", 1000.0) and scaled("mm", 3e4) == ("mm", 1.0)
