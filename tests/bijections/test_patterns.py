"""Patterns of measured values are those that torch finds, in the same order."""

import pytest
import torch

from crow.bijections.patterns import patterns


@pytest.mark.parametrize("features", [1, 3, 31, 32, 70])
def test_patterns_are_the_distinct_rows_in_order(features: int) -> None:
    torch.manual_seed(features)
    present = torch.rand(6, features) < 0.5
    present = present[torch.randint(6, (20, 4))]
    each, index = patterns(present)
    expected, of_visits = torch.unique(present.flatten(0, 1), dim=0, return_inverse=True)
    assert torch.equal(each, expected)
    assert torch.equal(index, of_visits.view(20, 4))


def test_one_pattern() -> None:
    each, index = patterns(torch.ones(3, 2, 5, dtype=torch.bool))
    assert each.shape == (1, 5)
    assert not index.any()
