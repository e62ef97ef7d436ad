"""The examples in the docstrings of simulations run as written."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("module", ["av45", "progression", "scan_cohort", "simulation", "wide"])
def test_examples_run(module: str) -> None:
    result = doctest.testmod(import_module(f"crow.simulate.{module}"))
    assert result.attempted > 0 and result.failed == 0
