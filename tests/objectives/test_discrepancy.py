"""The discrepancy has expectation zero for equal distributions, and finds differences given the context."""

import pytest
import torch
from torch import Tensor

from crow.objectives.discrepancy import discrepancy


def latents(n: int = 400, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def test_has_expectation_zero_for_equal_distributions() -> None:
    c = torch.eye(2).repeat(30, 1)
    found = [float(discrepancy(latents(60, seed), latents(60, seed + 100), c)) for seed in range(60)]
    assert abs(sum(found) / 60) < 0.003 and min(found) < 0 < max(found)


def test_finds_a_difference_given_a_class() -> None:
    """Both sets have the same mixture, but only in one does the context give the component."""
    c = torch.eye(2).repeat(200, 1)
    moved = latents() + 4 * c[:, :1]
    shuffled = (latents(seed=1) + 4 * c[:, :1]).roll(1, 0)
    right = latents(seed=2) + 4 * c[:, :1]
    assert float(discrepancy(shuffled, moved, c)) > 0.1 > 0.01 > abs(float(discrepancy(right, moved, c)))


def test_finds_a_difference_given_a_number() -> None:
    age = latents(seed=3)[:, :1]
    moved, right, wrong = (latents(seed=s) + slope * age for s, slope in ((0, 1.5), (1, 1.5), (2, -1.5)))
    assert float(discrepancy(wrong, moved, age)) > 20 * abs(float(discrepancy(right, moved, age)))


def test_is_the_definition() -> None:
    z, y, c = latents(4).double(), latents(4, 1).double(), torch.eye(2).repeat(2, 1).double()
    squares = torch.stack([(z[i] - z[j]).square().sum() for i in range(4) for j in range(4)]).view(4, 4)
    other = torch.stack([(y[i] - y[j]).square().sum() for i in range(4) for j in range(4)]).view(4, 4)
    cross = torch.stack([(z[i] - y[j]).square().sum() for i in range(4) for j in range(4)]).view(4, 4)
    apart = ~torch.eye(4, dtype=torch.bool)
    m = other[apart].median()
    total = weight = 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                w = float(torch.exp(-2 * (c[i] - c[j]).square().sum()))
                h = m / (m + squares[i, j]) + m / (m + other[i, j]) - m / (m + cross[i, j]) - m / (m + cross[j, i])
                total, weight = total + w * float(h), weight + w
    assert float(discrepancy(z, y, c)) == pytest.approx(total / weight, rel=1e-10)


def test_is_zero_for_one_visit() -> None:
    assert float(discrepancy(latents(1), latents(1, 1), torch.eye(1))) == 0
