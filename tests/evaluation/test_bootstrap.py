"""The bootstrap over subjects, and the rule that quantiles of draws follow."""

import ast
from pathlib import Path

import numpy as np
import pytest

from crow.data.forecast import quantiles_of
from crow.evaluation.bootstrap import interval, resample_subjects

ROOT = Path(__file__).parents[2]
QUANTILES = {"quantile", "percentile", "nanquantile", "nanpercentile"}
# Quantiles of data, not of draws: intensities, colour limits, a table's own columns, fitted knots.
OF_DATA = {
    "crow/bijections/innovation_fit.py", "crow/models/classifier.py", "crow/representation/cross_sectional.py",
    "crow/representation/deformation.py", "crow/representation/moved_follow_up.py", "crow/scans/brain.py",
    "crow/scans/intensity.py", "crow/scans/linear.py", "crow/scans/picture.py", "crow/scans/prepare.py",
    "pipelines/check.py",
}  # fmt: skip


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = interval(values[resample_subjects(400, 4000, seed=1)].mean(1))
    assert [low, high] == pytest.approx([values.mean() - 0.196, values.mean() + 0.196], abs=0.02)


def test_resampling_is_reproducible_and_groups_are_independent() -> None:
    assert (resample_subjects(5, 20, seed=2) == resample_subjects(5, 20, seed=2)).all()
    rng = np.random.default_rng(2)
    assert (resample_subjects(5, 20, rng) != resample_subjects(5, 20, rng)).any()


def test_intervals_ignore_nan_and_are_nan_if_nothing_is_left() -> None:
    values = np.stack([np.arange(99.0), np.full(99, np.nan)], 1)
    values[::2, 0] = np.nan
    low, high = interval(values, 0.9)
    assert [low[0], high[0]] == pytest.approx(list(quantiles_of(values[1::2, 0], [0.05, 0.95], axis=0)))
    assert np.isnan(low[1]) and np.isnan(high[1])


def test_a_90_percent_interval_of_draws_contains_90_percent_of_new_draws() -> None:
    rng = np.random.default_rng(0)
    low, high = quantiles_of(rng.uniform(size=(4000, 19)), [0.05, 0.95], axis=1)
    new = rng.uniform(size=4000)
    assert ((low <= new) & (new <= high)).mean() == pytest.approx(0.9, abs=0.015)


def test_every_quantile_names_its_method_unless_it_is_one_of_data() -> None:
    """numpy's default makes intervals of draws too narrow: quantiles of draws come from `quantiles_of`."""
    found = []
    for path in sorted([*(ROOT / "crow").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]):
        name = path.relative_to(ROOT).as_posix()
        calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
        for call in calls:
            if isinstance(call.func, ast.Attribute) and call.func.attr in QUANTILES and name not in OF_DATA:
                method = next((k.value for k in call.keywords if k.arg in ("method", "interpolation")), None)
                if method is None:
                    found.append(f"{name}:{call.lineno}")
    assert not found, f"use crow.data.forecast.quantiles_of, or name the method of a quantile of data: {found}"
