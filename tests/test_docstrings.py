"""The examples in the docstrings of backbone modules run and print what they show."""

import doctest
import importlib

import pytest
import torch

MODULES = [
    "crow.bijections.affine",
    "crow.bijections.base",
    "crow.bijections.chain",
    "crow.bijections.coupling",
    "crow.bijections.dequantize",
    "crow.bijections.factor_out",
    "crow.bijections.haar",
    "crow.bijections.multiscale",
    "crow.bijections.normal",
    "crow.bijections.ode",
    "crow.bijections.priors",
    "crow.bijections.spline",
    "crow.flows.base",
    "crow.flows.caglow",
    "crow.flows.cglow",
    "crow.flows.cinn",
    "crow.flows.conditional_flow",
    "crow.flows.coupling",
    "crow.flows.glow",
    "crow.flows.infocnf",
    "crow.flows.semi_conditional",
    "crow.networks.conditioning",
    "crow.seeds",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    torch.manual_seed(0)
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted, f"{name} has no examples"
    assert not results.failed
